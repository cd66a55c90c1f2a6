"""Timers of one process: a heap of due messages. No thread and no clock of its own; the idle loop sleeps until the next."""

from __future__ import annotations

import heapq
from itertools import count
from time import monotonic
from typing import Any


class Timer:
    """A message that is on its way; the handle for `dx.cancel_timer`."""

    __slots__ = ("cancelled", "due", "message", "number")

    def __init__(self, due: float, number: int, message: Any) -> None:
        self.due = due
        self.number = number
        self.message = message
        self.cancelled = False

    def __lt__(self, other: Timer) -> bool:
        # Two timers due at the same instant fire in the order they were started.
        return (self.due, self.number) < (other.due, other.number)

    def __repr__(self) -> str:
        return f"<timer {self.number}>"


class Timers:
    """Pending timers, soonest first. Whoever calls holds the loop's lock."""

    __slots__ = ("_heap", "_numbers")

    def __init__(self) -> None:
        self._heap: list[Timer] = []
        self._numbers = count(1)

    def __bool__(self) -> bool:
        return bool(self._heap)

    def start(self, due: float, message: Any) -> Timer:
        """Add a timer due at an absolute monotonic time."""
        timer = Timer(due, next(self._numbers), message)
        heapq.heappush(self._heap, timer)
        return timer

    def cancel(self, timer: Timer, now: float) -> float | None:
        """Take a timer out; the seconds it had left, or None when it has fired or was cancelled before."""
        if timer.cancelled or timer not in self._heap:
            return None
        timer.cancelled = True
        self._heap.remove(timer)
        heapq.heapify(self._heap)
        return max(0.0, timer.due - now)

    def wait_s(self) -> float:
        """Return the seconds until the next timer is due; there must be one."""
        return max(0.0, self._heap[0].due - monotonic())

    def take_due(self, now: float) -> list[Any]:
        """Take the messages that are due, in order."""
        due: list[Any] = []
        while self._heap and self._heap[0].due <= now:
            due.append(heapq.heappop(self._heap).message)
        return due
