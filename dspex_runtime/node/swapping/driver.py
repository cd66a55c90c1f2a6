"""One swap, carried out: feeds `core.swap_machine` what happens and does what it answers, to its end.

Until the commit nothing has happened and everything can be given up; after it the members are what they became, whoever waits.
The commit itself is one step of the loop. Decides nothing but whether both processes of a member are still there when it is asked.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, assert_never

from dspex_runtime.core import swap_events as ev
from dspex_runtime.core import swap_instructions as do
from dspex_runtime.core.swap_machine import SwapMachine
from dspex_runtime.errors import DspexError, SwapError
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.node.event_loop import Timer
from dspex_runtime.node.swapping.beside import Beside
from dspex_runtime.node.swapping.faults import error_of
from dspex_runtime.node.swapping.flip import flip
from dspex_runtime.node.swapping.member import Member
from dspex_runtime.node.swapping.order import Order
from dspex_runtime.node.swapping.results import Outcome
from dspex_runtime.types import State

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node
    from dspex_runtime.node.registry import Record

__all__ = ["Done", "Swap"]

log = logging.getLogger(__name__)

Facts: TypeAlias = dict[str, Any]
Done: TypeAlias = Callable[[list[Facts] | None, DspexError | None], None]  #: (fields of `types.SwapResult`, why not)


class Swap:
    """See the module docstring.

    Args:
        node: The runtime.
        orders: What is wanted of each member, callers first.
        drain_s: How long what runs has to finish; None: each child's own `shutdown.drain_s`.
        timeout_s: For all of it.
        who: Who asked.
        tell: Told how it goes.
        done: Called once, when the members serve as what they became, or are what they were.
        beside: Knows of the processes that are no child's.
        over: Called when the swap is decided: no member is part of one any more.
    """

    def __init__(
        self,
        node: Node,
        orders: Sequence[Order],
        *,
        drain_s: float | None,
        timeout_s: float,
        who: str,
        tell: Callable[[Facts], None],
        done: Done,
        beside: Beside,
        over: Callable[[Swap], None],
    ) -> None:
        self._node = node
        self._who = who
        self._tell = tell
        self._done = done
        self._beside = beside
        self._over = over
        self._events: deque[ev.SwapEvent] = deque()
        self._is_feeding = False
        self._timer: Timer | None = None
        self._unserved = 0
        self._fault: tuple[Member, Facts] | None = None  #: of a new one that could not serve
        self.members: dict[str, Member] = {}
        drains: dict[str, float] = {}
        for order in orders:
            record = node.registry.resolve(order.id)
            assert record.process is not None
            self.members[record.id] = Member(node, record, record.process, order, self.feed, beside)
            drains[record.id] = record.spec.shutdown.drain_s if drain_s is None else drain_s
        self._machine = SwapMachine(list(self.members), drain_s=drains, deadline=node.loop.now() + timeout_s)
        self._outcome = Outcome(node, self._machine)

    def begin(self) -> None:
        """Rehearse; the rest follows."""
        for member in self.members.values():
            self._node.reports.emit(
                "swap_started",
                member.id,
                incarnation=member.old.incarnation,
                who=self._who,
                version=member.old_version,
                to=member.order.to,
            )
        self.feed(ev.Begin())

    def shown(self, record: Record) -> Facts:
        """Return what `info` says of a member."""
        member = self.members[record.id]
        return {"phase": None if member.phase is None else member.phase.value, "since": member.since, "to": member.order.to}

    def give_up(self, why: str | None = None) -> None:
        """Have nothing come of it, unless it is decided already."""
        self.feed(ev.AbortAsked(why))

    def look(self, record: Record) -> None:
        """A member's record changed: one that is stopping is not swapped."""
        if self._machine.finished is None and not self._is_feeding and self._stops(self.members[record.id]):
            self.feed(ev.OldStopping(record.id))

    def ended(self, id: str, reason: ExitReason) -> None:
        """A member's process has ended by itself."""
        self.feed(ev.OldEnded(id, reason))

    # -- the machine ------------------------------------------------------------------------------------------------

    def feed(self, event: ev.SwapEvent) -> None:
        """Tell the machine what happened, now or after what is being carried out."""
        self._events.append(event)
        if self._is_feeding:
            return
        self._is_feeding = True
        try:
            while self._events:
                event = self._events.popleft()
                if self._is_late(event):
                    continue
                for instruction in self._machine.handle(event, self._node.loop.now()):
                    self._try(instruction)
        finally:
            self._is_feeding = False

    def _is_late(self, event: ev.SwapEvent) -> bool:
        """Return whether an answer, which may be the last one before the commit, comes of a swap that somebody is gone from.

        That somebody is gone is told by itself: now of one that stops, with its reason when the exit of a new one is reported.
        """
        if not isinstance(event, ev.Prepared | ev.Packed):
            return False
        stopping = [id for id, member in self.members.items() if self._stops(member)]
        self._events.extend(ev.OldStopping(id) for id in stopping[:1])
        return bool(stopping) or not all(member.new.lives for member in self.members.values())

    @staticmethod
    def _stops(member: Member) -> bool:
        record, old = member.record, member.old
        return record.process is not old or not old.serving or record.state not in (State.READY, State.SWAPPING)

    def _try(self, instruction: do.SwapInstruction) -> None:
        try:
            self._carry_out(instruction)
        except Exception as exc:  # no descriptors are left, or a bug of ours: nobody must be held because of it
            log.exception("a swap could not do %s", instruction)
            id = getattr(instruction, "member", None) or next(iter(self.members))
            text = f"the runtime could not go on with the swap: {str(exc) or type(exc).__name__}"
            self._events.append(ev.Failed(id, "swap", text))

    def _carry_out(self, instruction: do.SwapInstruction) -> None:
        match instruction:
            case do.StartNew(id):
                self.members[id].start_new()
                self._calm(True)  # it has taken a spare
            case do.TakeSnapshot(id):
                self.members[id].take_snapshot()
            case do.Rehearse(id):
                self.members[id].rehearse()
            case do.ShowPhase(id, phase):
                self._show(self.members[id], phase)
            case do.Hold(id, drain_s):
                self._calm(True)
                self.members[id].hold(drain_s)
            case do.Move(id):
                self._calm(True)
                self.members[id].move()
            case do.Commit(ids):
                self._commit([self.members[id] for id in ids])
            case do.Unhold(id):
                self.members[id].unhold()
            case do.KillNew(id):
                self.members[id].kill_new()
            case do.SetTimer(at):
                self._timer = self._node.loop.call_at(at, lambda: self.feed(ev.TimerFired()))
            case do.CancelTimer():
                self._cancel_timer()
            case do.Finished():
                self._finished(instruction)
            case _:
                assert_never(instruction)

    def _show(self, member: Member, phase: do.SwapPhase) -> None:
        member.phase, member.since = phase, time.time()
        self._tell({"type": "swap", "id": member.id, "phase": phase.value})

    def _calm(self, is_calm: bool) -> None:
        """Have the cores left to the swap, or not any more. A matter of time only: nothing depends on it."""
        if self._node.launcher is not None:
            self._node.launcher.calm(self, is_calm=is_calm)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- the end ----------------------------------------------------------------------------------------------------

    def _commit(self, members: Sequence[Member]) -> None:
        self._over(self)  # first: what follows from it sees children like any others
        self._unserved = len(members)
        self._outcome.committed()
        for finish in [flip(member, self._served(member), self._beside) for member in members]:
            finish()
        for member in members:
            member.close()

    def _served(self, member: Member) -> Callable[[Any, Facts | None], None]:
        def served(value: Any, fault: Facts | None) -> None:
            process = member.new.process
            if fault is not None and not process.ended:
                # There is no way back, and no point in going on: its next incarnation begins with what is kept.
                self._fault = self._fault or (member, fault)
                process.kill(("error", "SwapError", f"it could not take over: {fault.get('message')}", ""))
            self._outcome.served(member, value if fault is None else {})
            self._unserved -= 1
            if not self._unserved:
                self._calm(False)
                # Not now: an answer that came at once is from within the commit.
                self._node.loop.call_soon(self._answer)

        return served

    def _answer(self) -> None:
        if self._fault is None:
            self._done(self._outcome.results(self.members.values()), None)
            return
        member, fault = self._fault
        text = f"{member.id!r} was swapped, but its new version could not take over and is restarted: {fault.get('message')}"
        self._done(None, SwapError(text, code="move", id=member.id, remote_traceback=fault.get("traceback") or None))

    def _finished(self, finished: do.Finished) -> None:
        if finished.ok:
            return
        self._cancel_timer()
        self._calm(False)
        self._over(self)
        for member in self.members.values():
            member.close()
        error = error_of(finished, None if any(map(self._stops, self.members.values())) else _serve_on(list(self.members)))
        waiting = 0 if finished.code != "drain_timeout" or finished.member is None else self.members[finished.member].waiting
        if waiting:
            error.hint = f"{waiting} of them wait for a `dx.reply`: answer them, or keep their `from_` in the state, which moves"
        for member in self.members.values():
            phase = None if member.phase is None else member.phase.value
            facts = {"code": finished.code, "message": finished.message, "phase": phase, "member": finished.member}
            self._node.reports.emit("swap_failed", member.id, incarnation=member.old.incarnation, **facts)
        self._done(None, error)


def _serve_on(ids: list[str]) -> str:
    """Say how the members are now, for whoever reads why they are not what they were to be."""
    return f"{ids[0]!r} serves on as it was" if len(ids) == 1 else "all of them serve on as they were"
