"""A monitor, or this client's side of a link: one incarnation of one child is watched, its end is told once. Owns its notice."""

from __future__ import annotations

from dspex_runtime.client.downs import Notice
from dspex_runtime.client.session import Session
from dspex_runtime.client.signal_ops import awaited_down, demonitored
from dspex_runtime.client.steps import Steps
from dspex_runtime.types import Down


class Monitoring:
    """What the synchronous and the asyncio monitor share. Waiting again after the notice gives the same notice.

    Of a link, ending it removes the link, when no other `Monitor` of the same link is left.
    """

    def __init__(self, session: Session, id: str, notice: Notice) -> None:
        self.id = id
        self._session = session
        self._notice: Notice | None = notice
        self._down: Down | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id!r} {self._down or 'up'}>"

    def awaiting(self, timeout: float | None = None) -> Steps[Down | None]:
        """Wait for the notice; None when it has not come after `timeout` (None: for ever), or the monitor was ended.

        Raises:
            RuntimeUnreachableError: The runtime is gone, and with it whoever would tell.
        """
        if self._down is None and (notice := self._notice) is not None:
            self._down = yield from awaited_down(self._session, notice, timeout)
        return self._down

    def ending(self, *, flush: bool) -> Steps[bool]:
        """Watch no longer; True when it was still active. A notice that came before stays to be waited for, unless flushed."""
        notice, self._notice = self._notice, None
        active = False
        if notice is not None:
            active = yield from demonitored(self._session, notice.ref)
            if notice.down.done() and notice.down.exception() is None:
                self._down = notice.down.result()
        if flush:
            self._down = None
        return active
