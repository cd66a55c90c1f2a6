"""What the runtime pushes: a bounded queue between the connection's reader thread and whoever iterates, in a thread or a loop."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

MAX_WAITING: Final = 10_000  # events held for a slow reader; then the oldest go, and one "skipped" event says how many


class Subscription:
    """Payloads of one subscription, in order; ends when the runtime says so, the connection ends or it is closed.

    A slow reader gets the latest `MAX_WAITING` payloads, preceded by `{"type": "skipped", "count": n}`.
    """

    def __init__(self, cancel: Callable[[], None]) -> None:
        self._cancel = cancel
        self._items: deque[Any] = deque()
        self._skipped = 0
        self._changed = threading.Condition()
        self._wake: Callable[[], None] | None = None
        self._ended = False
        self._error: BaseException | None = None

    def push(self, payload: Any) -> None:
        """Add a payload (reader thread)."""
        with self._changed:
            if len(self._items) >= MAX_WAITING:
                self._items.popleft()
                self._skipped += 1
            self._items.append(payload)
            self._notify()

    def end(self, error: BaseException | None = None) -> None:
        """No more payloads come; with an error, iterating raises it after what is still waiting."""
        with self._changed:
            if not self._ended:
                self._ended, self._error = True, error
            self._notify()

    def _notify(self) -> None:
        self._changed.notify_all()
        if self._wake is not None:
            self._wake()

    def on_change(self, wake: Callable[[], None] | None) -> None:
        """Call `wake` from the reader thread at every change; an event loop passes a call_soon_threadsafe."""
        with self._changed:
            self._wake = wake

    def take(self) -> tuple[bool, Any]:
        """Return (True, payload), or (False, None) when nothing waits.

        Raises:
            EOFError: It ended, and all was taken.
        """
        with self._changed:
            if self._skipped:
                count, self._skipped = self._skipped, 0
                return True, {"type": "skipped", "count": count}
            if self._items:
                return True, self._items.popleft()
            if not self._ended:
                return False, None
            if self._error is not None:
                raise self._error
            raise EOFError

    def wait(self, timeout_s: float | None = None) -> None:
        """Return when there is something to take, or it ended, or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._ended, timeout_s)

    def close(self) -> None:
        """Tell the runtime to stop sending; what waits is dropped. Closing twice is fine."""
        with self._changed:
            ended, self._ended, self._error = self._ended, True, None
            self._items.clear()
            self._skipped = 0
            self._notify()
        if not ended:
            self._cancel()
