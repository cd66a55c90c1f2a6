"""Call threads: who waits, who reads, who runs what next. Owns the lock, the mailbox and what ends the loop.

    a call thread     takes from the mailbox, else becomes the reader: waits on all channels and runs what it read itself
    other idle ones   wait as followers
    nobody idle       the control thread reads (`take_over`): fills the mailbox, refuses, hears cancellations and EOFs

Exactly one thread reads at any moment, so requests keep their order. State is touched under `lock` only.
Never decides why to stop: the parent, the user's code and `ending.py` do. Source: DESIGN §2; leader/followers (Schmidt).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from dspex_runtime.core.child_spec import LaunchSpec
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.host.calls import Calls
from dspex_runtime.host.channels import DataChannels
from dspex_runtime.host.context import current_request
from dspex_runtime.host.hosted import Hosted
from dspex_runtime.host.idempotency import Answers
from dspex_runtime.host.intake import Intake
from dspex_runtime.host.mailbox import Mailbox, Request
from dspex_runtime.host.peer import Peer
from dspex_runtime.host.tally import Tally
from dspex_runtime.host.timers import Timer, Timers
from dspex_runtime.osproc.board import Slot
from dspex_runtime.wire.codec import Codec

log = logging.getLogger("dspex_runtime.host")

# How long the control thread looks away when requests come in while every call thread is at work. Shorter calls are
# never disturbed by it: each look costs the call thread the GIL, and a pipelined client would cause one per request.
TAKE_OVER_DELAY_S: Final = 0.001

LONGEST_WAIT_S: Final = 3600.0  # epoll takes at most 24 days; a timer may be set for later

Owed = tuple[Request, Any]  # a reply to be sent between terminate() and the exit


class ServerLoop:
    """The loop of one module process.

    Args:
        on_max_calls: Called once, under the lock, with the number of calls.
        on_idle: Called under the lock when the last running call of a drain ended.
        on_end: Called on a thread that is not the main one when user code ended the process there; does not return.
    """

    def __init__(
        self,
        hosted: Hosted,
        launch: LaunchSpec,
        channels: DataChannels,
        slot: Slot,
        codec: Codec,
        *,
        id: str,
        incarnation: int,
        on_max_calls: Callable[[int], None],
        on_idle: Callable[[], None],
        on_end: Callable[[ExitReason, Owed | None], None],
    ) -> None:
        self.lock = threading.Lock()
        self.mailbox = Mailbox(launch.limits.mailbox)
        self.tally = Tally(slot)
        self.answers = Answers(codec, hosted.idempotent_methods())
        self._concurrency = 1 if hosted.serial else launch.concurrency
        self.calls = Calls(self, hosted, codec, id=id, incarnation=incarnation, alone=self._concurrency == 1)
        self.intake = Intake(self)
        self.channels = channels
        self.refusing = False  # give back whatever has not begun
        self.in_flight_async = 0
        self._timers = Timers()
        self._max_calls = launch.limits.max_calls
        self._on_max_calls, self._on_idle, self._on_end = on_max_calls, on_idle, on_end
        self._main = threading.get_ident()
        self._on_main: deque[Callable[[], None]] = deque()
        self._resumed = threading.Condition(self.lock)
        self._special = False  # something other than requests may have to be seen to
        self._suspended = False
        self._threads = 1
        self._reading = False
        self._followers = 0
        self._streams = 0
        self._answering = 0  # calls that ended on another thread than the main one and whose answer is not out yet
        self._stopping: ExitReason | None = None
        self._over = False  # leave the loop, whatever runs
        self._ended: tuple[ExitReason, Owed | None] | None = None

    # -- call threads

    def run(self) -> tuple[ExitReason, Owed | None]:
        """Serve on the calling thread, the main one, until something ends the process.

        Returns:
            The exit reason, and the reply that is still owed to the caller who caused it.
        """
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
                if self._suspended:
                    self._settle_queue(None)
                    self.channels.arm(0)
                    self._resumed.wait()
                elif mailbox and (request := mailbox.take(time.monotonic())) is not None:
                    self._begin(request)
                    return request
                elif self.calls.held is not None:
                    self.calls.flush()
                elif self._reading:
                    self._follow()
                else:
                    self._read()
            return None

    def _leaves(self) -> bool:
        """Do what goes before requests; True when this thread is to leave the loop. Only asked while `_special` is set."""
        self.calls.flush()
        on_main = threading.get_ident() == self._main
        self._special = bool(self._timers) or self._over or self._ended is not None or self._stopping is not None
        if self._on_main:
            if not on_main:
                self._special = True
            else:
                self._run_on_main()
        if self._timers:
            for message in self._timers.take_due(time.monotonic()):
                self.mailbox.put_own(Request(None, 0, "$info", [message], {}))
        if self._over or self._ended is not None:
            return True
        if self._stopping is None or self.mailbox:
            return False
        # The main thread stays for what still runs elsewhere.
        return not on_main or not (self.tally.running or self._answering)

    def _run_on_main(self) -> None:
        while self._on_main:
            function = self._on_main.popleft()
            self.lock.release()
            current_request.set(None)  # a hook of the user's must not run under the last call's deadline
            try:
                function()
            finally:
                self.lock.acquire()

    def _read(self) -> None:
        """Be the reader: wait for channels, then take in what they hold."""
        self._reading = True
        self.channels.disarm()
        timeout_s = min(self._timers.wait_s(), LONGEST_WAIT_S) if self._timers else None
        self.lock.release()
        try:
            ready = self.channels.wait(timeout_s)
        finally:
            self.lock.acquire()
            self._reading = False
        if ready:
            self.intake.read(ready)

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
        if self._special:
            # Pass it on: wakes that come in a row are one event to the kernel, and it might have been for the main thread.
            self.channels.wake_followers(min(1, self._followers))

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
        if request.fresh and not self.mailbox:
            self.intake.fresh.clear()  # the common case: it was read by this thread, and nothing else came with it
        else:
            self._settle_queue(request)
        if not self._reading:
            self.channels.arm(self._followers)

    def _settle_queue(self, taken: Request | None) -> None:
        """After the mailbox changed: tell those who wait, stamp its length, wake or start a thread for what is left."""
        if self.mailbox.lost:
            self.intake.accept_again()
        queued = len(self.mailbox)
        self.tally.queued(queued)
        self.intake.announce(taken)
        if not queued or self._suspended:
            return
        if self._followers:
            self.channels.wake_followers(1)
        elif self._threads < self._concurrency and not self._reading:
            self._threads += 1
            threading.Thread(target=self._serve_thread, name=f"dspex-call-{self._threads}", daemon=True).start()

    def _wake_all(self) -> None:
        self._special = True
        self.channels.wake_reader()
        self.channels.wake_followers(self._followers)
        self._resumed.notify_all()

    def _give_back(self) -> None:
        self.refusing = True
        for request in self.mailbox.take_calls():
            if request.peer is not None:
                request.peer.give_back(request.id)
        self.tally.queued(len(self.mailbox))

    # -- for the control thread

    def take_over(self) -> None:
        """Read in place of the call threads, all of which are at work. Called when armed channels have something to read."""
        begun = self.tally.begun
        if not self._streams:  # a stream waits for its credit; nothing else suffers from a millisecond
            time.sleep(TAKE_OVER_DELAY_S)
        with self.lock:
            # A call thread that begins calls all the time reads by itself in a moment; what is unread is safe, it counts as
            # not begun. Only calls that take long, or as many as there are threads, make us read for them.
            if not self._reading and (begun == self.tally.begun or self._streams or self._suspended):
                self.intake.read(self.channels.ready())
                self._settle_queue(None)

    def add_channel(self, peer: Peer) -> None:
        """Serve a new client."""
        with self.lock:
            self.channels.add(peer)

    def put(self, request: Request) -> None:
        """Queue a request that came by another way than a client's channel."""
        with self.lock:
            self.mailbox.put_own(request)
            self._settle_queue(request)
            self._wake_all()

    def run_on_main(self, function: Callable[[], None]) -> None:
        """Run something on the main thread between two callbacks, before what is queued, also while suspended."""
        with self.lock:
            self._on_main.append(function)
            self._wake_all()

    def suspend(self, suspended: bool) -> None:
        """Take no more requests (they queue up), or go on; going on also ends a drain."""
        with self.lock:
            self._suspended = suspended
            if not suspended and self._stopping is None:
                self.refusing = False
            self._wake_all()

    def drain(self) -> None:
        """Give back everything that has not begun, and from now on whatever comes in."""
        with self.lock:
            self._give_back()

    def stop(self, reason: ExitReason) -> None:
        """Begin to stop: give back what has not begun, let the rest end. Stopping already: nothing changes."""
        with self.lock:
            if self._stopping is None:
                self._stopping = reason
                self._suspended = False
                self._give_back()
                self._wake_all()

    def give_up(self) -> None:
        """The drain is over: idle threads leave the loop although calls run; async ones are cancelled."""
        with self.lock:
            self._over = True
            self._wake_all()
        self.calls.cancel_async()

    def counts(self) -> dict[str, Any]:
        """Return what is running, queued, begun and ended now."""
        with self.lock:
            return {
                "running": len(self.tally.running) + self._answering, "queued": len(self.mailbox), "begun": self.tally.begun,
                "ended": self.tally.metrics.count, "clients": len(self.channels.peers), "threads": self._threads,
                "suspended": self._suspended, "draining": self.refusing,
            }  # fmt: skip

    # -- for whoever serves a request, on any thread

    def ended(self, request: Request, error: str | None) -> bool:
        """Note that a request ended; True: this thread has to say so when it has sent the answer (`answered`).

        Without that the main thread, seeing nothing run any more, could end the process before the answer is out.
        """
        with self.lock:
            if not self.tally.end(request, error):
                return False
            if request.id and request.peer is not None:
                request.peer.running.pop(request.id, None)
            if request.handed_over:
                self.in_flight_async -= 1
            if threading.get_ident() == self._main:
                if self.refusing and not self.tally.running:
                    self._on_idle()
                return False
            self._answering += 1
            return True

    def answered(self) -> None:
        """Note that an answer is out; see `ended`."""
        with self.lock:
            self._answering -= 1
            if self.refusing and not self._answering and not self.tally.running:
                self._on_idle()
                self._wake_all()

    def hand_over(self, request: Request) -> None:
        """Note that a request goes on without a call thread."""
        with self.lock:
            request.handed_over = True
            self.in_flight_async += 1

    def lost(self, request: Request) -> None:
        """A request left unbegun or unanswered: let one of those that wait for its key be the first."""
        with self.lock:
            self.mailbox.lost.append(request)
            self._settle_queue(None)
            self._wake_all()

    def amend(self, error: str) -> None:
        """Note that the request just ended failed after all."""
        with self.lock:
            self.tally.amend(error)

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """While a stream runs, its credit is read without delay."""
        with self.lock:
            self._streams += 1
        try:
            yield
        finally:
            with self.lock:
                self._streams -= 1

    def end(self, reason: ExitReason, owed: Owed | None = None) -> None:
        """User code ended the process. On the main thread the loop returns; on another one this does not."""
        with self.lock:
            if self._ended is None:
                self._ended = (reason, owed)
            self._wake_all()
        if threading.get_ident() != self._main:
            self._on_end(reason, owed)

    # -- timers of a GenServer, from any thread

    def start_timer(self, seconds: float, message: Any) -> Timer:
        """Send a message to ourselves later."""
        with self.lock:
            timer = self._timers.start(time.monotonic() + seconds, message)
            self._special = True
            if threading.get_ident() != self._main:
                self._wake_all()  # its wait is too long now
            return timer

    def cancel_timer(self, timer: Timer) -> float | None:
        """Return the seconds it had left, or None when it was too late."""
        with self.lock:
            return self._timers.cancel(timer, time.monotonic())
