"""What can go wrong at an endpoint, and for which requests. Pure: it decides, the server acts."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["BadMarkers", "Cut", "Fault", "FaultPlan", "Latency", "Status"]


@dataclass(frozen=True, slots=True)
class Latency:
    """The answer comes so much later; together with another fault, that one does."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Status:
    """An error instead of an answer: 429 (with `retry_after` seconds, if given), 500, 401, ..."""

    code: int
    retry_after: float | None = None
    message: str = "a fault was asked for"


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection is reset after so many bytes of the response; 0: before any."""

    after_bytes: int = 0


@dataclass(frozen=True, slots=True)
class BadMarkers:
    """An answer that no adapter can read."""

    text: str = "I would rather just talk about it."


Fault: TypeAlias = Latency | Status | Cut | BadMarkers


@dataclass(slots=True)
class _Entry:
    fault: Fault
    times: int | None
    every: int
    seen: int = 0


class FaultPlan:
    """Which requests meet which faults. Safe from many threads: each request is counted once."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault, *, times: int | None, every: int) -> None:
        """Plan a fault for every `every`-th request from now on, `times` times; None: until cleared.

        Raises:
            ValueError: A count is below 1.
        """
        if every < 1 or (times is not None and times < 1):
            raise ValueError(f"a fault happens at least once, at every first request or less often; got {times=}, {every=}")
        with self._lock:
            self._entries.append(_Entry(fault, times, every))

    def clear(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._entries.clear()

    def take(self) -> tuple[Fault, ...]:
        """Return the faults that the next request meets, in the order they were planned."""
        met = []
        with self._lock:
            for entry in self._entries:
                entry.seen += 1
                if entry.seen % entry.every == 0:
                    met.append(entry.fault)
                    entry.times = None if entry.times is None else entry.times - 1
            self._entries = [entry for entry in self._entries if entry.times != 0]
        return tuple(met)
