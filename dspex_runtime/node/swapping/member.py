"""One member of a swap, as the runtime process has it: the old process, the new one, and what is said to each. Decides nothing.

Each method does one instruction of `core.swap_machine` and tells `feed` what came of it. What comes too late, or of a process that
is gone, the machine passes over.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dspex_runtime.core import swap_events as ev
from dspex_runtime.core.swap_instructions import SwapPhase
from dspex_runtime.node.ending import Ending
from dspex_runtime.node.event_loop import Timer
from dspex_runtime.node.module_process import ModuleProcess
from dspex_runtime.node.readiness import asked, refused
from dspex_runtime.node.swapping.beside import Beside
from dspex_runtime.node.swapping.faults import told
from dspex_runtime.node.swapping.holding_back import QUICK, HoldingBack
from dspex_runtime.node.swapping.order import Order
from dspex_runtime.node.swapping.understudy import Understudy
from dspex_runtime.osproc.channel import pair
from dspex_runtime.osproc.liveness import has_exited

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node
    from dspex_runtime.node.registry import Record

__all__ = ["Member"]

MOVE_TIMEOUT_S: Final = 30.0  # callers wait: what was rehearsed takes no longer than this
HOLD_GRACE_S: Final = 5.0  # beyond the drain, for the answer
STORE_WAIT_S: Final = 0.25  # for the disk, before anything is held; a slow one is not waited for

Facts: TypeAlias = dict[str, Any]


class Member:
    """See the module docstring.

    Args:
        node: The runtime.
        record: Of the child.
        old: Its process, which serves.
        order: What is wanted.
        feed: Takes what came of an instruction.
        beside: Knows of the processes that are no child's.
    """

    def __init__(
        self,
        node: Node,
        record: Record,
        old: ModuleProcess,
        order: Order,
        feed: Callable[[ev.SwapEvent], None],
        beside: Beside,
    ) -> None:
        self.node = node
        self.id = record.id
        self.record = record
        self.old = old
        self.order = order
        self.phase: SwapPhase | None = None
        self.since = 0.0  #: when the phase began, in seconds since the epoch
        self.old_version = record.version or record.spec.version
        self.packed: Facts = {}  #: how much has moved
        self.waiting = 0  #: calls whose answer was kept back, and that nothing which moves could give
        self.number = 0  #: of the version that it became
        self._storing = False  #: the snapshot is on its way to the disk
        self._when_stored: Callable[[], None] | None = None
        self._feed = feed
        self._beside = beside
        self._image: int | None = None
        self._is_over = False
        self._drain: Timer | None = None
        self._held: HoldingBack | None = None
        self._shown = False  #: as one that is being swapped
        self.understudy: Understudy | None = None

    @property
    def new(self) -> Understudy:
        """The new process, once it was started."""
        assert self.understudy is not None
        return self.understudy

    @property
    def version(self) -> str | None:
        """What the new version is called: as whoever wants it says, else as its code does."""
        return self.order.spec.version or self.new.process.version

    # -- the rehearsal ----------------------------------------------------------------------------------------------

    def start_new(self) -> None:
        """Start the new version beside the old one."""
        assert self.node.supervision is not None
        above = self.node.supervision.owner(self.id)
        spec = self.order.spec if above is None else above.launched(self.order.spec)
        self.understudy = Understudy(
            self.node,
            self.record,
            spec,
            on_ready=self._ready,
            on_end=self._ended,
            on_gone=lambda: self._beside.remove(self.new.process),
        )
        self._beside.add(self.new.process)
        self.understudy.start()

    def _ready(self) -> None:
        new, old = self.new.process, self.old
        if new.kind is not old.kind:
            text = f"{self.id!r} is a {old.kind}, its new version a {new.kind}: their callers speak another language"
            self._feed(ev.Failed(self.id, "kind", text))
        else:
            self._feed(ev.NewReady(self.id))

    def _ended(self, ending: Ending) -> None:
        if ending.ignored:
            self._feed(ev.Failed(self.id, "start", f"the new version of {self.id!r} asks to be left out (dx.Ignore)"))
        else:
            self._feed(ev.NewEnded(self.id, ending.reason, ending.fault))

    def take_snapshot(self) -> None:
        """Have the old one write an image of itself: to rehearse on, and to be kept as it was before the swap."""

        def imaged(_value: Any, fault: Facts | None, fd: int | None) -> None:
            if fault is not None or fd is None:
                self._failed(self.old, "migrate", f"the state of {self.id!r} cannot be had", fault)
                return
            if self._is_over:
                os.close(fd)
                return
            self._image = os.dup(fd)
            # A disk that is full is no reason to go on with the old version: it is reported, and what moves needs no disk.
            self._storing = True
            self.node.checkpointing.store(self.old, "before_swap", fd, self._stored)
            self._feed(ev.SnapshotTaken(self.id))

        self.old.request_fd("checkpoint", {"kind": "before_swap", **self.order.way}, None, imaged)

    def _stored(self, _info: Facts | None, fault: Facts | None) -> None:
        if fault is not None:
            self.node.checkpointing.failed(self.old, fault)
        self._storing = False
        self._go_on()

    def _go_on(self) -> None:
        waiting, self._when_stored = self._when_stored, None
        if waiting is not None:
            waiting()

    def _rehearsed(self, facts: Any) -> None:
        """Tell that it is rehearsed: when the image is on the disk, or that takes long.

        Writing 1 MB takes the keeper 5 to 10 ms of a core: here nobody waits for it, a moment later all callers do.
        """
        self._when_stored = lambda: self._feed(ev.Rehearsed(self.id, facts))
        if self._storing:
            self.node.loop.call_later(STORE_WAIT_S, self._go_on)
        else:
            self._go_on()

    def rehearse(self) -> None:
        """Have the new one take over the snapshot and be verified."""
        assert self._image is not None
        image, self._image = self._image, None
        order = self.order
        args = {"old_version": self.old_version, "migrate": order.migrate, "extra": order.extra, "verify": order.verify}

        def rehearsed(value: Any, fault: Facts | None) -> None:
            readiness = self.new.process.launch.readiness
            if fault is not None:
                self._failed(self.new.process, "migrate", f"the new version of {self.id!r} failed its rehearsal", fault)
            elif readiness is None:
                self._rehearsed(value)
            else:
                # Only now: what it is asked may be about the state that it has taken over.
                self.new.process.request(*asked(readiness), lambda said, fault: self._is_ready(value, said, fault))

        self.new.process.request("rehearse", args, None, rehearsed, (image,))

    def _is_ready(self, facts: Any, said: Any, fault: Facts | None) -> None:
        readiness = self.new.process.launch.readiness
        assert readiness is not None
        if fault is None and said is not False:
            self._rehearsed(facts)
        elif not self.new.process.ended:
            self._feed(ev.Failed(self.id, "verify", f"the new version of {self.id!r}: {refused(readiness, fault)}", fault))

    # -- the move ---------------------------------------------------------------------------------------------------

    def hold(self, drain_s: float) -> None:
        """Have the old one begin nothing new; it is asked when it owes the runtime no answer that needs a callback."""
        assert self.node.supervision is not None
        self.node.supervision.states.swapping(self.record, swaps=True)
        until = self.node.loop.now() + drain_s
        self._shown = True

        def over() -> None:
            self._feed(ev.Held(self.id, max(1, len(self.old.asked))))

        def begin() -> None:
            if self._is_over or not self._shown:
                return  # it was given up meanwhile
            if self.old.held_back is not None:  # it is saved together with others: in a moment it is not
                self.old.held_back.then(begin)
                return
            self._held = self.old.held_back = HoldingBack(self.node.loop)
            self.old.when_answered(QUICK, quiet)

        def quiet() -> None:
            if self._drain is not None:
                self._drain.cancel()
            if self._held is not None:  # else it was given up meanwhile
                left_s = max(0.0, until - self.node.loop.now())
                self.old.request_now("hold", {"drain_s": left_s}, left_s + HOLD_GRACE_S, answered)

        def answered(value: Any, fault: Facts | None) -> None:
            if fault is not None:
                self._failed(self.old, "drain_timeout", f"{self.id!r} could not be held", fault)
            else:
                self.waiting = int(value.get("open", 0))
                self._feed(ev.Held(self.id, int(value["running"])))

        self._drain = self.node.loop.call_later(drain_s, over)
        begin()

    def move(self) -> None:
        """Have the old one send itself to the new one over a pipe of their own; what is meant for it is kept from now on."""
        assert self.old.held_back is not None
        ours, theirs = (sock.detach() for sock in pair())

        def packed(value: Any, fault: Facts | None) -> None:
            if fault is not None:
                self._failed(self.old, "move", f"{self.id!r} could not hand over what it is", fault)
            else:
                self.packed = value
                self._feed(ev.Packed(self.id))

        def prepared(value: Any, fault: Facts | None) -> None:
            if fault is not None:
                self._failed(self.new.process, "move", f"the new version of {self.id!r} could not take over", fault)
            else:
                self._feed(ev.Prepared(self.id, value))

        self.old.request_now("pack", self.order.way, MOVE_TIMEOUT_S, packed, (ours,))
        self.old.held_back.everything = True
        self.node.subscriptions.move(self.old.peer, self.old.held_back.peer)
        self.new.process.request("prepare", {}, MOVE_TIMEOUT_S, prepared, (theirs,))

    # -- back -------------------------------------------------------------------------------------------------------

    def unhold(self) -> None:
        """Have the old one go on, with what was kept."""
        assert self.node.supervision is not None
        if self._drain is not None:
            self._drain.cancel()
        held, self._held = self._held, None
        if held is not None:
            self.old.held_back = None
            if self.old.ended:
                self.node.subscriptions.unfollow(held.peer)  # what it followed went with it
            else:
                self.old.request("unhold", {}, None, lambda _value, _fault: None)
                self.node.subscriptions.move(held.peer, self.old.peer)
            held.release(self.old)
        if self._shown:
            self._shown = False
            self.node.supervision.states.swapping(self.record, swaps=False)

    def kill_new(self) -> None:
        """End the new one, or its start."""
        if self.understudy is not None:
            self.understudy.kill()

    def close(self) -> None:
        """It is decided: let go of what is of no use any more, also of what is still to come."""
        self._is_over = True
        if self._image is not None:
            os.close(self._image)
            self._image = None

    def _failed(self, process: ModuleProcess, code: str, text: str, fault: Facts | None) -> None:
        """Tell what failed; where one of the two has died, how it ended is told in a moment, and says more."""
        if not process.ended and not self._has_died():
            self._feed(ev.Failed(self.id, *told(fault, code, text), fault))

    def _has_died(self) -> bool:
        there = (self.old, self.understudy.process) if self.understudy is not None else (self.old,)
        return any(process.pid is not None and has_exited(process.pid) for process in there)
