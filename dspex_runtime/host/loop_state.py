"""What all threads of a module process share: the lock, the mailbox, what runs, and why it is to end.

Owns the state and the rules that keep it whole; touched under `lock` only. Here is what whoever serves a request tells the
loop, on any thread; what the parent asks is in `loop_control`, who reads and runs what next in `server_loop`.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dspex_runtime.core.child_spec import LaunchSpec
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.host.calls import Calls
from dspex_runtime.host.channels import DataChannels
from dspex_runtime.host.deferred import Deferred
from dspex_runtime.host.dependencies import Dependencies
from dspex_runtime.host.hosted import Hosted
from dspex_runtime.host.idempotency import Answers
from dspex_runtime.host.intake import Intake
from dspex_runtime.host.mailbox import Mailbox, Request
from dspex_runtime.host.tally import Tally
from dspex_runtime.host.timers import Timers
from dspex_runtime.osproc.board import Slot
from dspex_runtime.wire.codec import Codec

if TYPE_CHECKING:
    from dspex_runtime.host.moving.holding import Holding

Owed = tuple[Request, Any]  # a reply to be sent between terminate() and the exit


class LoopState(ABC):
    """The state of one module process's loop.

    Args:
        on_max_calls: Called once, under the lock, with the number of calls.
        on_idle: Called under the lock when the last running call of a drain ended.
        on_end: Called on a thread that is not the main one when user code ended the process there; does not return.
        base: The sums of the incarnations before, see `Metrics`.
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
        base: Mapping[str, Any] | None = None,
    ) -> None:
        self.lock = threading.Lock()
        self.id = id
        self.mailbox = Mailbox(launch.limits.mailbox)
        self.tally = Tally(slot, base)
        self.answers = Answers(codec, hosted.idempotent_methods())
        self.deferred = Deferred()
        self.concurrency = 1 if hosted.serial else launch.concurrency
        self.calls = Calls(self, hosted, codec, id=id, incarnation=incarnation, alone=self.concurrency == 1)
        self.intake = Intake(self, ordered=hosted.serial)
        self.dependencies = Dependencies(self, hosted, id)
        self.parent_waits: Callable[[], threading.Event | None] = lambda: None  # see `turns.Turns.unserved`
        self.channels = channels
        self.refusing = False  # give back whatever has not begun
        self.in_flight_async = 0
        self.holding: Holding | None = None  # nothing begins for the parent's sake, which may move us to another process
        self.sealed = False  # what moves is being copied: no client is read, none written to, no timer fires
        self.elsewhere: Callable[[Request, Any], bool] | None = None  # we have moved: gives an answer there
        self.timers = Timers()
        self._idle_due: float | None = None  # when a server is told that nothing has come (its plain time-out)
        self._max_calls = launch.limits.max_calls
        self._on_max_calls, self._on_idle, self._on_end = on_max_calls, on_idle, on_end
        self._main = threading.get_ident()
        self._on_main: deque[Callable[[], None]] = deque()
        self._resumed = threading.Condition(self.lock)
        self._special = False  # something other than requests may have to be seen to
        self._suspended = False
        self._paused = False  # nothing begins: suspended or held
        self._later: list[Callable[[], None]] | None = None  # in a rehearsal: what is for the one who serves
        self._threads = 1
        self._parked = 0  # call threads that wait for the pause to end
        self._reading = False
        self._followers = 0
        self._streams = 0
        self._at_seal = 0  # threads of the user's that wait for the seal to be broken
        self._answering = 0  # calls that ended on another thread than the main one and whose answer is not out yet
        self._stopping: ExitReason | None = None
        self._over = False  # leave the loop, whatever runs
        self._ended: tuple[ExitReason, Owed | None] | None = None

    def counts(self) -> dict[str, Any]:
        """Return what is running, queued, begun and ended now."""
        with self.lock:
            return {
                "running": len(self.tally.running) + self._answering, "queued": self._queued(), "begun": self.tally.begun,
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
            if (self.refusing or self.holding is not None) and not self._answering and not self.tally.running:
                self._on_idle()
                self._wake_all()

    def answering(self, request: Request) -> bool:
        """Begin to answer a call whose callback kept the reply back, once; then `answered`. From any thread.

        While we are being copied this waits; by then it may be for `elsewhere`. False: it was answered before, or we have
        moved and it is terminate() that would answer: what it would end goes on elsewhere.
        """
        with self.lock:
            self._wait_sealed()
            if self.elsewhere is not None and threading.get_ident() == self._main:
                return False
            if request.replied or request.peer is None or not request.id:
                return False
            request.replied = True
            self._answering += 1
            return True

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

    def idle_after(self, due: float) -> None:
        """Tell the server at `due` (time.monotonic() seconds) that nothing has come, unless a message comes first."""
        if self._later is not None:
            return  # nothing comes to one that rehearses
        with self.lock:
            self._idle_due = due
            self._special = True

    # -- the queue, under the lock

    def holders(self) -> list[Request]:
        """Return what holds a call thread: nothing else can be run on it meanwhile."""
        following = self.calls.following
        held = [request for request in self.tally.running if not request.handed_over]
        return held if following is None else [*held, following]

    def _queued(self) -> int:
        return len(self.mailbox) - self.mailbox.errands

    def _settle_queue(self, taken: Request | None) -> None:
        """After the mailbox changed: tell those who wait, stamp its length, wake or start a thread for what is left."""
        if self.mailbox.lost:
            self.intake.accept_again()
        queued = self._queued()
        self.tally.queued(queued)
        self.intake.announce(taken)
        if queued > self.mailbox.parked and not self._paused:
            self._find_thread()

    def _wait_sealed(self) -> None:
        """What a thread of the user's changes here while we are copied would be lost: it waits. The main thread copies."""
        if not self.sealed or threading.get_ident() == self._main:
            return
        self._at_seal += 1
        while self.sealed:
            self._resumed.wait()
        self._at_seal -= 1
        if self._stopping is not None:
            self._wake_all()  # the main thread stays for us

    @abstractmethod
    def _find_thread(self) -> None:
        """See that somebody runs what is queued."""

    def _wake_all(self) -> None:
        self._special = True
        self.channels.wake_reader()
        self.channels.wake_followers(self._followers)
        self._resumed.notify_all()

    def _give_back(self) -> None:
        self.refusing = True
        for request in self.mailbox.take_calls():
            # Those that wait for the answer of the same key go, too: after a drain that is ended it would be on its way for ever.
            for each in (request, *self.answers.settle(request, None)):
                if each.peer is not None:
                    each.peer.give_back(each.id)
        self.tally.queued(self._queued())
