"""Counts, latencies and the last executions of one module. Owns a bounded ring; nothing here grows with the number of calls.

Percentiles are made when somebody asks, never per call: recording one call costs under half a microsecond.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Final, TypeAlias

RING: Final = 1000  # executions kept; 150 kB when full

# As they are recorded: method, began_ns, duration_ns, error, whether it was answered degraded.
Call: TypeAlias = tuple[str, int, int, str | None, bool]


class Metrics:
    """What happened in this process, and the sums of those before it. Recording is done under the loop's lock.

    Attributes:
        count, failures, busy_ns: Of this process alone.

    Args:
        base: What `totals` of the last incarnation was, as far as anybody knows.
    """

    __slots__ = ("_base", "_epoch_offset_s", "_ring", "_taken", "busy_ns", "count", "failures", "last_error")

    def __init__(self, base: Mapping[str, Any] | None = None) -> None:
        self._base = base or {}
        self._taken = 0  # how many were handed out by `take_new`
        self.count = 0
        self.failures = 0
        self.busy_ns = 0
        self.last_error: str | None = self._base.get("last_error")
        self._ring: deque[Call] = deque(maxlen=RING)
        self._epoch_offset_s = time.time() - time.monotonic()

    def record(self, method: str, began_ns: int, duration_ns: int, error: str | None, degraded: bool = False) -> None:
        """Count one ended call; `degraded`: something was down that it should have been answered with."""
        self.count += 1
        self.busy_ns += duration_ns
        if error is not None:
            self.failures += 1
            self.last_error = error
        self._ring.append((method, began_ns, duration_ns, error, degraded))

    def amend(self, error: str) -> None:
        """The call just recorded as good has a result that cannot be sent: it failed after all."""
        self.failures += 1
        self.last_error = error
        if self._ring:
            method, began_ns, duration_ns, _, degraded = self._ring[-1]
            self._ring[-1] = (method, began_ns, duration_ns, error, degraded)

    @property
    def has_new(self) -> bool:
        """Whether calls were recorded since `take_new` was asked last."""
        return self.count > self._taken

    def kept(self) -> tuple[list[Call], int]:
        """Return the calls that are kept, oldest first, and how many of them `take_new` has not handed out."""
        return list(self._ring), min(self.count - self._taken, len(self._ring))

    def adopt(self, base: Mapping[str, Any], calls: Sequence[Call], new: int) -> None:
        """Begin anew, behind the calls of another process of this incarnation; the last `new` of them are handed out here."""
        self._base = base
        self.count = self.failures = self.busy_ns = 0
        self.last_error = base.get("last_error")
        self._ring = deque(calls, maxlen=RING)
        self._taken = -new

    def totals(self) -> dict[str, Any]:
        """Return the sums over all incarnations: calls, failures, busy_ns, last_error."""
        base = self._base
        return {
            "calls": base.get("calls", 0) + self.count,
            "failures": base.get("failures", 0) + self.failures,
            "busy_ns": base.get("busy_ns", 0) + self.busy_ns,
            "last_error": self.last_error,
        }

    def summary(self) -> dict[str, Any]:
        """Return count, failures and success rate of all incarnations, latencies in ms of this one's last RING calls."""
        durations = sorted(entry[2] for entry in tuple(self._ring))
        totals = self.totals()
        count, failures, busy_ns = totals["calls"], totals["failures"], totals["busy_ns"]
        return {
            "count": count,
            "failures": failures,
            "success_rate": (count - failures) / count if count else None,
            "avg_ms": busy_ns / count / 1e6 if count else None,
            "p50_ms": percentile_ms(durations, 0.50),
            "p99_ms": percentile_ms(durations, 0.99),
            "busy_s": busy_ns / 1e9,
            "last_error": self.last_error,
        }

    def executions(self, n: int = 20) -> list[dict[str, Any]]:
        """Return the last n calls, newest first."""
        return [self.shown(call) for call in islice(reversed(self._ring), max(0, n))]

    def take_new(self) -> list[Call]:
        """Return the calls recorded since this was asked last, oldest first, as far as they are kept."""
        fresh = list(islice(reversed(self._ring), self.count - self._taken))
        self._taken = self.count
        fresh.reverse()
        return fresh

    def shown(self, call: Call) -> dict[str, Any]:
        """Return a recorded call as people and the store get it."""
        method, began_ns, duration_ns, error, degraded = call
        shown = {
            "method": method,
            "started_at": self._epoch_offset_s + began_ns / 1e9,
            "duration_ms": duration_ns / 1e6,
            "ok": error is None,
            "error": error,
        }
        return shown | {"degraded": True} if degraded else shown


def percentile_ms(ordered_ns: list[int], share: float) -> float | None:
    """Return the nearest-rank percentile of sorted durations, in milliseconds; None of none."""
    if not ordered_ns:
        return None
    rank = min(len(ordered_ns) - 1, max(0, -(-len(ordered_ns) * share // 1).__int__() - 1))
    return ordered_ns[rank] / 1e6
