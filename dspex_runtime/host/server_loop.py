"""Call threads: who waits, who reads, who runs what next.

    a call thread     takes from the mailbox, else becomes the reader: waits on all channels and runs what it read itself
    other idle ones   wait as followers
    nobody idle       the control thread reads (`take_over`): fills the mailbox, refuses, hears cancellations and EOFs

Exactly one thread reads at any moment, so requests keep their order. State is touched under `lock` only (`loop_state`).
Never decides why to stop: the parent, the user's code and `ending.py` do. Source: DESIGN §2; leader/followers (Schmidt).
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.host.context import current_request
from dspex_runtime.host.loop_control import ControlledLoop
from dspex_runtime.host.loop_state import Owed as Owed
from dspex_runtime.host.mailbox import Request

log = logging.getLogger("dspex_runtime.host")

LONGEST_WAIT_S: Final = 3600.0  # epoll takes at most 24 days; a timer may be set for later


class ServerLoop(ControlledLoop):
    """The loop of one module process; see `LoopState` for its arguments."""

    def run(self) -> tuple[ExitReason, Owed | None]:
        """Serve on the calling thread, the main one, until something ends the process.

        Returns:
            The exit reason, and the reply that is still owed to the caller who caused it.
        """
        self.calls.follow_up()  # what `init` asked for
        self._serve_all()
        return self._ended or (self._stopping or "normal", None)

    def _serve_all(self) -> None:
        serve = self.calls.serve
        while (request := self._next()) is not None:
            serve(request)

    def _serve_thread(self) -> None:
        try:
            self._serve_all()
        except BaseException as exc:
            # Ours to blame, no user code's: a module with a call thread less and a call that never ends is worse than a clear end.
            log.critical("a call thread failed", exc_info=exc)
            self._on_end(("error", type(exc).__name__, f"call thread: {exc}", ""), None)

    def _next(self) -> Request | None:
        """Wait for a request to run on this thread; None: the loop is over for it."""
        mailbox = self.mailbox
        with self.lock:
            while not (self._special and self._leaves()):
                if self._paused:
                    self._park()
                elif mailbox:
                    if self.intake.order.early and mailbox.is_early():
                        self._look()
                    elif (request := mailbox.take(time.monotonic())) is not None:
                        self._begin(request)
                        return request
                elif mailbox.lost:
                    self._settle_queue(None)  # or the next of the same key would wait for one that is not there
                elif self.calls.held is not None:
                    self.calls.flush()
                elif self._reading:
                    self._follow()
                else:
                    self.read()
            return None

    def _park(self) -> None:
        """Nothing is to begin: wait until that may have changed. The control thread reads meanwhile."""
        self._settle_queue(None)
        if not self.sealed:
            self.channels.arm(0)
        self._parked += 1
        if self.holding is not None:
            self._on_idle()
        self._resumed.wait()
        self._parked -= 1

    def _leaves(self) -> bool:
        """Do what goes before requests; True when this thread is to leave the loop. Only asked while `_special` is set."""
        self.calls.flush()
        on_main = threading.get_ident() == self._main
        self._special = bool(
            self.timers
            or self._over
            or self._ended is not None
            or self._stopping is not None
            or self._idle_due is not None
            or self.mailbox.errands
        )
        while (errand := self.mailbox.take_errand()) is not None:
            self._on_main.append(errand)
        if self._on_main:
            if not on_main:
                self._special = True
            else:
                self._run_on_main()
        self._queue_due()
        if self._idle_due is not None and not self._paused and self._stopping is None:
            self._look_if_idle(self._idle_due)
        if self._over or self._ended is not None:
            return True
        if self._stopping is None or self.mailbox:
            return False
        # The main thread stays for what still runs elsewhere.
        return not on_main or not (self.tally.running or self._answering or self._at_seal)

    def _run_on_main(self) -> None:
        while self._on_main:
            function = self._on_main.popleft()
            self.lock.release()
            current_request.set(None)  # a hook of the user's must not run under the last call's deadline
            try:
                function()
            finally:
                self.lock.acquire()

    def _look_if_idle(self, due: float) -> None:
        """Queue the plain time-out when it is due and no message has come; a message that came ends the wait for it."""
        is_due = time.monotonic() >= due
        if is_due and not self.mailbox and not self._reading:
            self.intake.read(self.channels.ready())  # one that is queued beats a time-out of 0
        if self.mailbox:
            self._idle_due = None
        elif is_due:
            self._idle_due = None
            self.mailbox.put_own(Request(None, 0, "$info", ["timeout"], {}))

    def read(self) -> None:
        """Be the reader: wait for channels, then take in what they hold. With the lock, which is let go meanwhile."""
        self._reading = True
        self.channels.disarm()
        timeout_s = self._wait_s() if self._special else None
        self.lock.release()
        try:
            ready = self.channels.wait(timeout_s)
        finally:
            self.lock.acquire()
            self._reading = False
        if ready:
            if self.timers:
                self._queue_due()
            self.intake.read(ready)
            if self.mailbox.parking:
                self._settle_queue(None)  # nobody is about to take it

    def _wait_s(self) -> float | None:
        if self._stopping is not None:
            return None  # nothing that comes later is run
        waits = [self.timers.wait_s()] if self.timers else []
        if self._idle_due is not None:
            waits.append(max(0.0, self._idle_due - time.monotonic()))
        return min(*waits, LONGEST_WAIT_S) if waits else None

    def _follow(self) -> None:
        """Be a follower: wait to be needed."""
        self._followers += 1
        followers = self.channels.followers()
        self.lock.release()
        try:
            self.channels.follow(followers)
        finally:
            self.lock.acquire()
            self._followers -= 1
        self.channels.followed()
        if self._special or self._paused:
            # Pass it on: wakes that come in a row are one event to the kernel, and it might have been for the main thread. Paused,
            # all are to park, and who did so before has perhaps found nothing special any more.
            self.channels.wake_followers(min(1, self._followers))

    def _look(self) -> None:
        """See that nothing that was sent before what is the first in the queue is still on its way."""
        early = list(self.intake.order.early)
        served = self.parent_waits()
        if served is not None:  # a pipe, perhaps, that we do not watch yet
            self.calls.flush()
            self.lock.release()
            try:
                served.wait()
            finally:
                self.lock.acquire()
        self.intake.look(early)

    def _begin(self, request: Request) -> None:
        """Note that a request begins on this thread, and see that somebody watches the channels meanwhile."""
        tally = self.tally
        tally.begin(request)
        if request.peer is not None and request.id:
            request.peer.running[request.id] = request
        if tally.begun == self._max_calls and self._stopping is None:
            self._stopping = ("limit", "max_calls", tally.begun)
            self._special = True
            self._give_back()
            self._on_max_calls(tally.begun)
        # Its length, not its truth: what is set aside is not to be taken, but its clients are to be told that it waits.
        if request.fresh and len(self.mailbox) == 0 and not self.mailbox.lost:
            self.intake.fresh.clear()  # the common case: it was read by this thread, and nothing else came with it
        else:
            self._settle_queue(request)
        if not self._reading:
            self.channels.arm(self._followers)

    def _find_thread(self) -> None:
        if self._followers:
            self.channels.wake_followers(1)
        elif self._threads < self.concurrency and not self._reading:
            self._threads += 1
            threading.Thread(target=self._serve_thread, name=f"dspex-call-{self._threads}", daemon=True).start()
