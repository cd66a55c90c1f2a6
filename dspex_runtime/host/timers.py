"""Timers of one process: a heap of due messages. No thread and no clock of its own; the idle loop sleeps until the next.

A timer that is pickled (a server's state, when that moves to another process) becomes a handle of the same timer there: whose
timers they are, and its number among them. In a process that never had it the handle leads nowhere, as that of one that fired.
"""

from __future__ import annotations

import heapq
import os
import threading
from collections.abc import Iterable
from itertools import count
from time import monotonic
from typing import Any, Final

_naming: Final = threading.Lock()  # a value may be pickled on any thread


class Row:
    """One row of numbered timers. It has a name only once one of them has left: few do, and the name costs a system call."""

    __slots__ = ("_name",)

    def __init__(self, name: str | None = None) -> None:
        self._name = name

    @property
    def name(self) -> str:
        """What no other row is called."""
        with _naming:
            if self._name is None:
                self._name = os.urandom(8).hex()
            return self._name

    def is_same(self, other: Row) -> bool:
        """Return whether both are the same row, be one of them a copy that came from elsewhere."""
        return self is other or (self._name is not None and self._name == other._name)


class Timer:
    """A message that is on its way; the handle for `dx.cancel_timer`."""

    __slots__ = ("due", "message", "number", "row")

    def __init__(self, due: float, number: int, message: Any, row: Row) -> None:
        self.due = due
        self.number = number
        self.message = message
        self.row = row

    def __lt__(self, other: Timer) -> bool:
        # Two timers due at the same instant fire in the order they were started.
        return (self.due, self.number) < (other.due, other.number)

    def is_same(self, other: Timer) -> bool:
        """Return whether both are handles of one timer."""
        return self is other or (self.number == other.number and self.row.is_same(other.row))

    def __repr__(self) -> str:
        return f"<timer {self.number}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return handle, (self.row.name, self.number)


def handle(row: str, number: int) -> Timer:
    """Return what cancels a timer that is, or will be, among those of this process."""
    return Timer(0.0, number, None, Row(row))


class Timers:
    """Pending timers, soonest first. Whoever calls holds the loop's lock."""

    __slots__ = ("_heap", "_numbers", "_row")

    def __init__(self) -> None:
        self._heap: list[Timer] = []
        self._numbers = count(1)
        self._row = Row()

    def __bool__(self) -> bool:
        return bool(self._heap)

    def start(self, due: float, message: Any) -> Timer:
        """Add a timer due at an absolute monotonic time."""
        timer = Timer(due, next(self._numbers), message, self._row)
        heapq.heappush(self._heap, timer)
        return timer

    def adopt(self, timers: Iterable[Timer]) -> None:
        """Add timers of other rows: whoever has a handle of one can cancel it here."""
        for timer in timers:
            heapq.heappush(self._heap, timer)

    def pending(self) -> list[Timer]:
        """Return those that have not fired, soonest first."""
        return sorted(self._heap)

    def cancel(self, timer: Timer, now: float) -> float | None:
        """Take a timer out; the seconds it had left, or None when it has fired or was cancelled before."""
        found = next((each for each in self._heap if each.is_same(timer)), None)
        if found is None:
            return None
        self._heap.remove(found)
        heapq.heapify(self._heap)
        return max(0.0, found.due - now)

    def wait_s(self) -> float:
        """Return the seconds until the next timer is due; there must be one."""
        return max(0.0, self._heap[0].due - monotonic())

    def take_due(self, now: float) -> list[Any]:
        """Take the messages that are due, in order."""
        due: list[Any] = []
        while self._heap and self._heap[0].due <= now:
            due.append(heapq.heappop(self._heap).message)
        return due
