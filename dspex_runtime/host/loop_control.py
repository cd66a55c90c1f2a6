"""What the control thread does with the loop: reads in place of busy call threads, passes on what the parent asks.

Decides nothing: when to stop and why is the parent's, through `control`. Never runs user code: that waits for the main
thread, between two callbacks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.host.loop_state import LoopState
from dspex_runtime.host.mailbox import Request
from dspex_runtime.host.peer import Peer
from dspex_runtime.host.timers import Timer, Timers

# How long the control thread looks away when requests come in while every call thread is at work. Shorter calls are
# never disturbed by it: each look costs the call thread the GIL, and a pipelined client would cause one per request.
TAKE_OVER_DELAY_S: Final = 0.001

# How often the pipes are read before a message of the parent is queued: 16 MiB each, more than any holds. A bound, because
# living clients may go on writing.
MAX_READS_BEFORE_MESSAGE: Final = 64


class ControlledLoop(LoopState):
    """A loop as the control thread sees it."""

    def take_over(self) -> None:
        """Read in place of the call threads, all of which are at work. Called when armed channels have something to read."""
        begun = self.tally.begun
        if not self._streams:  # a stream waits for its credit; nothing else suffers from a millisecond
            time.sleep(TAKE_OVER_DELAY_S)
        with self.lock:
            # A call thread that begins calls all the time reads by itself in a moment; what is unread is safe, it counts as
            # not begun. Only calls that take long, or as many as there are threads, make us read for them.
            if not self._reading and not self.sealed and (begun == self.tally.begun or self._streams or self._paused):
                self._queue_due()
                self.intake.look()
                self._settle_queue(None)

    def hear_signals(self) -> None:
        """A signal has come, whose handler is the main thread's to run: that may wait for the end of a pause, on a lock."""
        with self.lock:
            if self._parked:
                self._resumed.notify_all()

    def add_channel(self, peer: Peer) -> None:
        """Serve a new client."""
        with self.lock:
            if self._later is not None:
                self._later.append(lambda: self.add_channel(peer))
            else:
                self.channels.add(peer)

    def rehearse(self) -> None:
        """Keep what comes from others until `begin_to_serve`: this process is to take the place of one that is alive."""
        self._later = []

    def begin_to_serve(self) -> None:
        """Take in what came during the rehearsal."""
        with self.lock:
            later, self._later = self._later, None
        for function in later or ():
            function()

    def put(self, request: Request) -> None:
        """Queue a request that came by another way than a client's channel."""
        with self.lock:
            self.mailbox.put_own(request)
            self._settle_queue(request)
            self._wake_all()

    def put_own(self, request: Request, client: str) -> None:
        """Queue a message of this process to itself, behind everything that was sent to it before; one that stops takes none in.

        `client` is what it calls itself as a client.
        """
        with self.lock:
            self._wait_sealed()
            if self.refusing or self._stopping is not None or self._over:
                return
            self._take_in()
            self.mailbox.own_client = client
            self.mailbox.put_own(request)
            self._settle_queue(None)
            if threading.get_ident() != self._main or self.concurrency > 1:
                self._wake_all()

    def adopt(self, timers: Timers, waiting: list[Request], client: str | None) -> None:
        """Take over what this process sent to itself before there was a loop, `client` as in `put_own`."""
        with self.lock:
            self.mailbox.own_client = client
            if self.timers:
                self.timers.adopt(timers.pending())
            else:
                self.timers = timers
            self._special = True
            for request in waiting:
                self.mailbox.put_own(request)
            self._settle_queue(None)

    def deliver(self, message: Any, key: str | None = None) -> None:
        """Queue a message of the parent for handle_info, behind everything that was sent to us before it.

        What a process had sent is in its pipe when its end is told: the pipes are read first (otp-semantics §2.7). One that
        stops takes nothing in any more.
        """
        with self.lock:
            if self._stopping is not None or self._over:
                return
            if self._later is not None:
                self._later.append(lambda: self.deliver(message, key))
                return
            self._take_in()
            self.mailbox.put_own(Request(None, 0, "$info", [message], {}, key=key))
            self._settle_queue(None)
            self._wake_all()  # also: our look may have taken a wake that was meant for the reader

    def drop_messages(self, unwanted: Callable[[Any], bool]) -> int:
        """Take messages of the parent out of the mailbox; return how many."""
        with self.lock:
            dropped = self.mailbox.drop_messages(unwanted)
            self._settle_queue(None)
            return dropped

    def count_messages(self, wanted: Callable[[Any], bool]) -> int:
        """Return how many messages of the parent are in the mailbox."""
        with self.lock:
            return self.mailbox.count_messages(wanted)

    def run_on_main(self, function: Callable[[], None]) -> None:
        """Run something on the main thread between two callbacks, before what is queued, also while suspended."""
        with self.lock:
            self._on_main.append(function)
            self._wake_all()

    def run_behind(self, client: str, function: Callable[[], None]) -> None:
        """Run something on the main thread between two callbacks: behind what this client has sent, before all else.

        A system message: a long queue of others does not delay it, and a suspended server serves it at once; yet a client's
        own casts are done when it asks for the state.
        """
        with self.lock:
            self._take_in()
            if self._suspended or not self.mailbox.put_behind(client, function):  # what is set aside is not waited for
                self._on_main.append(function)
            self._settle_queue(None)
            self._wake_all()

    def suspend(self, suspended: bool) -> None:
        """Take no more requests (they queue up), or go on; going on also ends a drain. Suspending twice is suspending once."""
        with self.lock:
            self._suspended = suspended
            self._paused = suspended or self.holding is not None
            if suspended:
                self._on_main.extend(self.mailbox.take_errands())  # what they were to wait for does not run now
            elif self._stopping is None:
                self.refusing = False
            self._wake_all()

    def depend(self, table: Mapping[str, Any]) -> None:
        """Go by what the parent tells of what this module depends on."""
        with self.lock:
            self.dependencies.tell(table)
            self._settle_queue(None)
            self._wake_all()

    def drain(self) -> None:
        """Give back everything that has not begun, and from now on whatever comes in."""
        with self.lock:
            self._give_back()

    def stop(self, reason: ExitReason, *, run_queued: bool = False) -> None:
        """Begin to stop; the first reason stays.

        Args:
            reason: Why.
            run_queued: Run what was sent to us before, calls too, as OTP does with a shutdown that is a message among
                others. Else calls that have not begun are given back. What comes later is never run. A suspended server
                answers nothing but its parent: nothing queued is run.
        """
        with self.lock:
            if self.holding is not None:
                self.holding.over()
            first, keeps = self._stopping is None, run_queued and not self._suspended
            self.refusing = self.refusing or not keeps
            if first:
                self._take_in()
                self._stopping = reason
            if not keeps or self.mailbox.parking:
                self._give_back()
            self.dependencies.dropped(len(self.mailbox.take_parked()))
            if self._suspended:
                self.mailbox.clear()
                self._suspended = self._paused = False
            self.refusing = True
            if first:
                self._settle_queue(None)
            self._wake_all()

    def give_up(self) -> None:
        """The drain is over: idle threads leave the loop although calls run; async ones are cancelled."""
        with self.lock:
            self._over = True
            self._wake_all()
        self.calls.cancel_async()

    # -- timers of a GenServer, from any thread

    def limit(self, limits: Mapping[str, Any]) -> None:
        """Go by other limits from now on, "mailbox" and "max_calls"; what is queued stays, and what was begun counts."""
        with self.lock:
            if "mailbox" in limits:
                self.mailbox.limit = limits["mailbox"]
            if "max_calls" in limits:
                most = limits["max_calls"]
                self._max_calls = None if most is None else max(most, self.tally.begun + 1)

    def start_timer(self, seconds: float, message: Any) -> Timer:
        """Send a message to ourselves later."""
        with self.lock:
            self._wait_sealed()
            timer = self.timers.start(time.monotonic() + seconds, message)
            self._special = True
            if threading.get_ident() != self._main:
                self._wake_all()  # its wait is too long now
            return timer

    def cancel_timer(self, timer: Timer) -> float | None:
        """Return the seconds it had left, or None when it was too late."""
        with self.lock:
            self._wait_sealed()
            return self.timers.cancel(timer, time.monotonic())

    # -- under the lock

    def _queue_due(self) -> None:
        """Queue the messages of timers that are due: before what is read now, which came later."""
        if self.timers and self._stopping is None and not self.sealed:
            for message in self.timers.take_due(time.monotonic()):
                self.mailbox.put_own(Request(None, 0, "$info", [message], {}))

    def _take_in(self) -> None:
        """Read the pipes until they are empty: what was sent before now is in the mailbox then."""
        self._queue_due()
        for _ in range(MAX_READS_BEFORE_MESSAGE):
            if self.sealed or not self.intake.look():
                return
