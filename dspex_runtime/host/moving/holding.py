"""A hold of the loop: nothing begins, what runs goes on; sealed, it is as still as a copy of it needs it to be.

    held      clients are read (requests queue, CREDIT and CANCEL are heard), writes of parameters that are served at once are
              made; no request, message or time-out begins. A user's own `suspend` is another matter, and moves with the process
    quiet     nothing runs any more: no call, no continuation, no answer is on its way, and nobody waits for an answer that only
              this process could give
    sealed    no client is read or written to, no timer fires, no parameter is written for a client

Owns what it takes to undo all of that, exactly. Never decides when: `leaving` does. Runs on the control thread, unless it says so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Final

from dspex_runtime.errors import SwapError
from dspex_runtime.host import context
from dspex_runtime.host.hosted import NO_STATE

if TYPE_CHECKING:
    from dspex_runtime.host.hosted import Hosted
    from dspex_runtime.host.server_loop import ServerLoop
    from dspex_runtime.wire.codec import Codec

__all__ = ["Holding"]

log = logging.getLogger("dspex_runtime.host")

SETTLE_S: Final = 5.0  # for what began before the seal: writes that wait for the disk, an answer that a client is slow to read


class Holding:
    """One hold, from `begin` to `end`, or to a stop.

    Attributes:
        open_calls: Calls that nothing which moves could answer, when `running` was asked last.
        packed: All was copied, and the new process has it: from now on only the parent knows which of the two goes on.

    Args:
        loop: What is held.
        hosted: What it runs.
        codec: Packs its state.
        on_over: Called, under the loop's lock, when the hold ends in whatever way.
    """

    def __init__(self, loop: ServerLoop, hosted: Hosted, codec: Codec, on_over: Callable[[], None]) -> None:
        self.packed = False
        self.open_calls = 0
        self._loop = loop
        self._hosted = hosted
        self._codec = codec
        self._on_over = on_over
        self._quiet = False
        self._looked_for_open_calls = False

    def begin(self) -> None:
        """Let nothing begin.

        Raises:
            SwapError: "old_ended": it is about to end.
        """
        loop = self._loop
        with loop.lock:
            if loop._stopping is not None or loop._ended is not None or loop._over:
                raise SwapError("the process is about to end", code="old_ended")
            loop.holding = self
            loop._paused = True
            loop._wake_all()

    def running(self) -> int:
        """Return how much is not over yet; once that was 0 it stays so. `open_calls` of it are waiting for an answer only."""
        loop = self._loop
        with loop.lock:
            if self._quiet:
                return 0
            running, self.open_calls = len(loop.tally.running) + loop._answering, 0
            if running or loop._parked < loop._threads:  # a continuation is no call, but it keeps its thread
                return max(running, 1)
            open_calls = loop.deferred.only_here()
            self._quiet, self.open_calls = not open_calls, len(open_calls)
        if open_calls and not self._looked_for_open_calls:
            self._looked_for_open_calls = True
            loop.run_on_main(self._look_for_open_calls)
        return len(open_calls)

    def seal(self) -> None:
        """Keep everybody from the channels, the timers and the mailbox until `end`, a stop, or for good."""
        loop = self._loop
        with loop.lock:
            loop._settle_queue(None)  # those who wait are told so before they move
            loop.sealed = True
            loop.channels.disarm()

    def settle(self) -> None:
        """On the main thread, when sealed: wait for what had begun before.

        Raises:
            SwapError: "move": something did not come to its end.
        """
        loop, until = self._loop, monotonic() + SETTLE_S
        if not loop.calls.settle_writes(SETTLE_S):
            raise SwapError("writes of parameters are still waiting to be made", code="move")
        with loop.lock:
            if not loop._resumed.wait_for(lambda: not loop._answering, max(0.0, until - monotonic())):
                raise SwapError("an answer is still being sent to a client that is slow to read it", code="move")
        changes = context.Process.changes
        if changes is not None and not changes.pause(max(0.0, until - monotonic())):
            raise SwapError("a change of a parameter that this process watches is still being read", code="move")

    def is_packed(self) -> bool:
        """On the main thread: all was copied; False when the hold has ended meanwhile, and the copy is worth nothing."""
        with self._loop.lock:
            self.packed = self._loop.holding is self
            return self.packed

    def end(self) -> None:
        """Go on as if nothing had happened."""
        loop = self._loop
        with loop.lock:
            if loop.holding is self:
                self.over()
            loop._wake_all()

    def over(self) -> None:
        """The hold is over; under the loop's lock, by whoever wakes its threads then."""
        loop = self._loop
        loop.holding, loop.sealed, loop._paused = None, False, loop._suspended
        self._on_over()

    def _look_for_open_calls(self) -> None:
        """Pickle what moves of the server, once: a call whose `from_` is in it can be answered by the new process."""
        loop, hosted = self._loop, self._hosted
        try:
            state = hosted.get_user_state()
            messages = [timer.message for timer in loop.timers.pending()]
            own = [[request.args, request.kwargs] for request in loop.mailbox.requests() if request.peer is None]
            self._codec.pack([hosted.get_state() if state is NO_STATE else state, messages, own])
        except BaseException as exc:  # the user's get_state, or a state that cannot be pickled: packing it will say so
            log.debug("the state could not be looked through for open calls: %s", exc)
            with loop.lock:
                self._quiet = True
