"""What a process sends to itself before it has a mailbox: messages and timers of `init`, in order, to be handled after it.

Later all that goes to the loop at once. Never sends, never waits, runs no callback.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from dspex_runtime.host.mailbox import Request
from dspex_runtime.host.timers import Timer, Timers

if TYPE_CHECKING:
    from dspex_runtime.host.loop_control import ControlledLoop


class OwnMail:
    """Where `dx.send_after` and messages to oneself go, from any thread; `hand_to` ends the waiting."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._timers = Timers()
        self._waiting: list[Request] = []
        self._client: str | None = None
        self._loop: ControlledLoop | None = None

    def put(self, client: str, method: str, args: list[Any], kwargs: dict[str, Any]) -> None:
        """Queue a message to ourselves; `client` is what this process calls itself as a client."""
        request = Request(None, 0, method, args, kwargs)
        with self._lock:
            if self._loop is None:
                self._queue_due()
                self._waiting.append(request)
                self._client = client
                return
        self._loop.put_own(request, client)

    def start_timer(self, seconds: float, message: Any) -> Timer:
        """Send a message to ourselves later; the time counts from now, not from the end of `init`."""
        with self._lock:
            if self._loop is None:
                return self._timers.start(time.monotonic() + seconds, message)
        return self._loop.start_timer(seconds, message)

    def cancel_timer(self, timer: Timer) -> float | None:
        """Return the seconds it had left, or None when it was too late."""
        with self._lock:
            if self._loop is None:
                self._queue_due()
                return self._timers.cancel(timer, time.monotonic())
        return self._loop.cancel_timer(timer)

    def start_over(self) -> None:
        """Forget what was sent before there is a loop: that of the process whose place this one takes comes instead."""
        with self._lock:
            if self._loop is None:
                self._timers = Timers()
                self._waiting.clear()

    def hand_to(self, loop: ControlledLoop) -> None:
        """Give everything to the loop that is there now, before anything of others is in its mailbox. Once; again is nothing."""
        with self._lock:
            if self._loop is not None:
                return
            self._queue_due()
            loop.adopt(self._timers, self._waiting, self._client)
            self._loop = loop

    def _queue_due(self) -> None:
        """Queue what is due: it came before what is sent now."""
        self._waiting += [Request(None, 0, "$info", [message], {}) for message in self._timers.take_due(time.monotonic())]
