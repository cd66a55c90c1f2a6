"""Counts, latencies and the last executions of one module. Owns a bounded ring; nothing here grows with the number of calls.

Percentiles are made when somebody asks, never per call: recording one call costs under half a microsecond.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Final

RING: Final = 1000  # executions kept; 150 kB when full


class Metrics:
    """What happened in this process. Recording is done under the loop's lock."""

    __slots__ = ("_epoch_offset_s", "_ring", "busy_ns", "count", "failures", "last_error")

    def __init__(self) -> None:
        self.count = 0
        self.failures = 0
        self.busy_ns = 0
        self.last_error: str | None = None
        #: method, began_ns, duration_ns, error
        self._ring: deque[tuple[str, int, int, str | None]] = deque(maxlen=RING)
        self._epoch_offset_s = time.time() - time.monotonic()

    def record(self, method: str, began_ns: int, duration_ns: int, error: str | None) -> None:
        """Count one ended call."""
        self.count += 1
        self.busy_ns += duration_ns
        if error is not None:
            self.failures += 1
            self.last_error = error
        self._ring.append((method, began_ns, duration_ns, error))

    def amend(self, error: str) -> None:
        """The call just recorded as good has a result that cannot be sent: it failed after all."""
        self.failures += 1
        self.last_error = error
        if self._ring:
            self._ring[-1] = (*self._ring[-1][:3], error)

    def summary(self) -> dict[str, Any]:
        """Return count, failures, success rate and latencies in milliseconds (of the last RING calls)."""
        durations = sorted(entry[2] for entry in tuple(self._ring))
        return {
            "count": self.count,
            "failures": self.failures,
            "success_rate": (self.count - self.failures) / self.count if self.count else None,
            "avg_ms": self.busy_ns / self.count / 1e6 if self.count else None,
            "p50_ms": percentile_ms(durations, 0.50),
            "p99_ms": percentile_ms(durations, 0.99),
            "busy_s": self.busy_ns / 1e9,
            "last_error": self.last_error,
        }

    def executions(self, n: int = 20) -> list[dict[str, Any]]:
        """Return the last n calls, newest first."""
        newest = list(self._ring)[: -n - 1 : -1] if n > 0 else []
        return [
            {
                "method": method,
                "started_at": self._epoch_offset_s + began_ns / 1e9,
                "duration_ms": duration_ns / 1e6,
                "ok": error is None,
                "error": error,
            }
            for method, began_ns, duration_ns, error in newest
        ]


def percentile_ms(ordered_ns: list[int], share: float) -> float | None:
    """Return the nearest-rank percentile of sorted durations, in milliseconds; None of none."""
    if not ordered_ns:
        return None
    rank = min(len(ordered_ns) - 1, max(0, -(-len(ordered_ns) * share // 1).__int__() - 1))
    return ordered_ns[rank] / 1e6
