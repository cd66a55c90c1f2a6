"""Stops and drains of one process: the first reason stays, and the clock of those that wait. Runs on the control thread.

Never runs user code: the main thread leaves its loop and ends the process, or, when a module's drain is over while its main
thread is stuck in a call, this one does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.host.hosted import Hosted
from dspex_runtime.wire import messages as m

if TYPE_CHECKING:
    from dspex_runtime.host.ending import Ending
    from dspex_runtime.host.loop_control import ControlledLoop


class Stopping:
    """What the parent asked for, and until when it is waited for."""

    def __init__(
        self, loop: ControlledLoop, hosted: Hosted, ending: Ending, *, trap_exit: bool, send: Callable[[list[Any]], None]
    ) -> None:
        self._loop = loop
        self._hosted = hosted
        self._ending = ending
        self._trap_exit = trap_exit
        self._send = send
        self._reason: ExitReason | None = None
        self._until: float | None = None  # when a stop no longer waits for running calls
        self._drains: list[tuple[int, float | None]] = []  # requests to be told when nothing runs: id, until

    def stop(self, reason: ExitReason, drain_s: float | None) -> None:
        """End for the parent, in order; at once and without terminate() where exits are not trapped."""
        if not self._trap_exit:
            self._ending.exit(reason, run_terminate=False)
        self.begin(reason, drain_s)

    def begin(self, reason: ExitReason, drain_s: float | None) -> None:
        """End in order. Asked again, only a shorter patience counts."""
        until = None if drain_s is None else time.monotonic() + drain_s
        if self._reason is None:
            self._reason, self._until = reason, until
            # To a server a shutdown is a message among others: what was sent to it before is run first.
            self._loop.stop(reason, run_queued=self._hosted.serial and drain_s != 0)
        elif until is not None and (self._until is None or until < self._until):
            self._until = until

    def drain(self, id: int, timeout_s: float | None) -> None:
        """Give back what has not begun; answer request `id` when nothing runs any more, or after `timeout_s`."""
        self._loop.drain()
        self._drains.append((id, None if timeout_s is None else time.monotonic() + timeout_s))

    def times(self) -> list[float]:
        """Return the moments at which `look` has something to do."""
        times = [until for _, until in self._drains if until is not None]
        return times if self._until is None else [*times, self._until]

    def look(self) -> None:
        """Answer the drains that are over, end the stop that has waited long enough."""
        if self._drains:
            self._answer_drains()
        if self._until is not None and time.monotonic() >= self._until:
            self._until = None
            self._end_drain()

    def _answer_drains(self) -> None:
        running = self._loop.counts()["running"]
        now = time.monotonic()
        waiting = []
        for id, until in self._drains:
            if running == 0 or (until is not None and now >= until):
                self._send([m.REPLY, id, {"running": running}])
            else:
                waiting.append((id, until))
        self._drains = waiting

    def _end_drain(self) -> None:
        assert self._reason
        if self._hosted.serial:
            # terminate() must not run beside a callback. It has until the parent's own time-out, then it is killed.
            self._loop.drain()
            return
        self._loop.give_up()
        # The main thread may be in a call that never returns, so this one ends the process; whoever comes first does.
        self._ending.exit(self._reason)
