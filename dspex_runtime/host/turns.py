"""Whether the control thread has something of the parent's left to do; whoever must not get ahead of that waits for it here.

A new pipe of a client is announced on the control pipe. Its client may have written to it, and then to an older pipe, before
the control thread has seen the announcement. Owns who waits; never reads the pipe and never blocks: whoever waits does so on
the event it was given, under no lock of this file.
"""

from __future__ import annotations

import select
import threading
from collections.abc import Callable


class Turns:
    """The turns of the control thread: it waits, then serves what has come, then ends the turn.

    Args:
        fileno: The control pipe.
        wake: Makes the control thread end its wait.
    """

    def __init__(self, fileno: int, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()  # of what follows: the control thread takes what a call thread adds to
        self._poller = select.poll()
        self._poller.register(fileno, select.POLLIN)
        self._busy = True  # until it waits for the first time
        self._waiting: list[threading.Event] = []
        self._due: list[threading.Event] = []  # those who were here when this turn began

    def unserved(self) -> threading.Event | None:
        """Return what is set when everything that had come from the parent is served; None: it is. One thread at a time."""
        readable = bool(self._poller.poll(0))  # before the flag is looked at: it goes up before the pipe is read
        with self._lock:
            if not readable and not self._busy:
                return None
            served = threading.Event()
            self._waiting.append(served)
        self._wake()
        return served

    def begin(self) -> bool:
        """The control thread's wait is over; it has read nothing yet. True when it has to look into the pipe for somebody."""
        with self._lock:
            self._busy = True
            self._due, self._waiting = self._waiting, []
            return bool(self._due)

    def end(self) -> None:
        """The control thread has served what had come, and waits now."""
        with self._lock:
            self._busy = False
            due, self._due = self._due, []
        for served in due:
            served.set()
