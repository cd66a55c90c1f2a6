"""A monitor: one incarnation of one child is watched, its end is told once."""

from __future__ import annotations

from typing import Any

from dspex_runtime.client.ops import awaited_down, demonitored
from dspex_runtime.client.session import Session
from dspex_runtime.client.steps import Steps
from dspex_runtime.types import Down


class Monitoring:
    """What the synchronous and the asyncio monitor share. Waiting again after the notice gives the same notice."""

    def __init__(self, session: Session, id: str, ref: int | None, down: Down | None) -> None:
        self.id = id
        self._session = session
        self._ref = ref
        self._down = down

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

    def ending(self, *, flush: bool) -> Steps[None]:
        """Watch no longer. A notice that came before stays to be waited for, unless flushed (OTP demonitor)."""
        ref, self._ref = self._ref, None
        if ref is not None:
            came: Any = self._session.connection.down(ref)
            yield from demonitored(self._session, ref)
            if came.done() and came.exception() is None:
                self._down = came.result()
        if flush:
            self._down = None
