"""The notices of one connection's monitors, from the reader thread to whoever waits.

A notice is kept by the one who claimed its number, and by nobody else. It may come first: while anybody expects a number, what
comes for an unknown one is kept. Else such a notice has no taker any more, and is dropped. Thread-safe. Never sends, never waits.

Invariant: there is an entry only for a monitor that is alive and whose notice has not come.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from dspex_runtime.types import Down


def settle(answer: Future[Any], value: Any) -> bool:
    """Settle a future unless it was given up or settled before; returns whether it was settled here."""
    try:
        if isinstance(value, BaseException):
            answer.set_exception(value)
        else:
            answer.set_result(value)
    except InvalidStateError:
        return False
    return True


@dataclass(frozen=True, slots=True, eq=False)
class Notice:
    """A notice to come. The future gets the `Down`, or None when the monitor was ended, or the error that ended the connection."""

    ref: int
    down: Future[Down | None] = field(default_factory=Future)


@dataclass(slots=True, eq=False)
class _Early:
    came: dict[int, Down] = field(default_factory=dict)


class Downs:
    """Who waits for which notice. Holds nobody: a monitor that is forgotten, and its notice, leave nothing here."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._awaited: WeakValueDictionary[int, Future[Down | None]] = WeakValueDictionary()
        self._expecting: list[_Early] = []

    def __len__(self) -> int:
        return len(self._awaited)

    @contextmanager
    def expecting(self) -> Iterator[Callable[[int], Notice]]:
        """Keep the notices that come until the block is left; gives what is called with the number once it is known."""
        early = _Early()
        with self._lock:
            self._expecting.append(early)
        try:
            yield lambda ref: self._claim(ref, early)
        finally:
            with self._lock:
                self._expecting.remove(early)

    def _claim(self, ref: int, early: _Early) -> Notice:
        notice = Notice(ref)
        with self._lock:
            down = early.came.get(ref)
            if down is None:
                self._awaited[ref] = notice.down
        if down is not None:
            settle(notice.down, down)
        return notice

    def came(self, ref: int, down: Down) -> None:
        """Tell who waits (reader thread); drop it when nobody does and nobody will."""
        with self._lock:
            awaited = self._awaited.pop(ref, None)
            if awaited is None:
                for early in self._expecting:
                    early.came[ref] = down
        if awaited is not None:
            settle(awaited, down)

    def forget(self, ref: int) -> None:
        """The monitor was ended; whoever still waits for its notice gets None."""
        with self._lock:
            awaited = self._awaited.pop(ref, None)
        if awaited is not None:
            settle(awaited, None)

    def end(self) -> list[Future[Down | None]]:
        """Forget all; returns those whose notice will not come."""
        with self._lock:
            left = list(self._awaited.values())
            self._awaited.clear()
        return left
