"""A monitor, or this client's side of a link: one incarnation of one child is watched, its end is told once."""

from __future__ import annotations

from typing import Any

from dspex_runtime.client.ops import awaited_down, demonitored
from dspex_runtime.client.session import Session
from dspex_runtime.client.steps import Steps
from dspex_runtime.types import Down


class Monitoring:
    """What the synchronous and the asyncio monitor share. Waiting again after the notice gives the same notice.

    Of a link, ending it removes the link, when no other `Monitor` of the same link is left.
    """

    def __init__(self, session: Session, id: str, ref: int) -> None:
        self.id = id
        self._session = session
        self._ref: int | None = ref
        self._down: Down | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id!r} {self._down or 'up'}>"

    def awaiting(self, timeout: float | None = None) -> Steps[Down | None]:
        """Wait for the notice; None when it has not come after `timeout` (None: for ever), or the monitor was ended.

        Raises:
            RuntimeUnreachableError: The runtime is gone, and with it whoever would tell.
        """
        if self._down is None and self._ref is not None:
            self._down = yield from awaited_down(self._session, self._ref, timeout)
        return self._down

    def ending(self, *, flush: bool) -> Steps[bool]:
        """Watch no longer; True when it was still active. A notice that came before stays to be waited for, unless flushed."""
        ref, self._ref = self._ref, None
        active = False
        if ref is not None:
            came: Any = self._session.connection.down(ref)
            active = yield from demonitored(self._session, ref)
            if came.done() and came.exception() is None:
                self._down = came.result()
        if flush:
            self._down = None
        return active
