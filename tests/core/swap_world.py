"""A fake shell of one swap: two processes for each member, answers that are under way, and a check of every instruction.

Nothing happens by itself: the test decides what is answered when, what fails, and who dies.
"""

from __future__ import annotations

from collections.abc import Sequence

from dspex_runtime.core import swap_events as ev
from dspex_runtime.core import swap_instructions as do
from dspex_runtime.core.swap_instructions import SwapPhase
from dspex_runtime.core.swap_machine import SwapMachine

DRAIN_S = 5.0
DEADLINE = 60.0
ANSWERS: list[type[ev.Answer]] = [ev.SnapshotTaken, ev.NewReady, ev.Rehearsed, ev.Held, ev.Packed, ev.Prepared]
BY_NEW = (ev.NewReady, ev.Rehearsed, ev.Prepared)


class Process:
    """One process of a member.

    Attributes:
        serves: It is the one that takes calls.
        held: It takes no new ones, for the time being.
    """

    def __init__(self, *, serves: bool) -> None:
        self.alive = True
        self.serves = serves
        self.held = False


class SwapWorld:
    """One machine and its members' processes. After every event everything is checked.

    Attributes:
        pending: What was asked and is not answered yet: the answers that may come, in any order.
        given: What was asked and answered, by member.
        asked: What was to be done, by member, each at most once.
        quiet: Nothing went wrong so far.
    """

    def __init__(self, members: Sequence[str]) -> None:
        self.now = 0.0
        self.members = list(members)
        self.machine = SwapMachine(members, drain_s=DRAIN_S, deadline=DEADLINE)
        self.old = {member: Process(serves=True) for member in members}
        self.new: dict[str, Process] = {}
        self.pending: list[ev.Answer] = []
        self.given: dict[str, set[type[ev.Answer]]] = {member: set() for member in members}
        self.asked: set[tuple[str, type[do.SwapInstruction]]] = set()
        self.phases: dict[str, list[SwapPhase]] = {member: [] for member in members}
        self.timer: float | None = None
        self.commits = 0
        self.quiet = True
        self.ending: do.Finished | None = None

    # -- what happens

    def tell(self, event: ev.SwapEvent) -> list[do.SwapInstruction]:
        """Deliver one event and carry out what comes of it."""
        was_over = self.ending is not None
        instructions = self.machine.handle(event, self.now)
        assert not (was_over and instructions), f"{instructions} after {self.ending}"
        for instruction in instructions:
            assert self.ending is None, f"{instruction} after {self.ending}"
            self._execute(instruction)
        self._check()
        return instructions

    def hurt(self, event: ev.SwapEvent) -> None:
        """Deliver what ends the swap, if that is not through."""
        self.quiet = False
        self.tell(event)
        assert self.ending is not None

    def answer(self, number: int) -> None:
        """Let something come out well that was asked; a dead process answers nothing, but an answer may be under way."""
        answer = self.pending.pop(number)
        process = self.new[answer.member] if isinstance(answer, BY_NEW) else self.old[answer.member]
        if process.alive or self.ending is not None:
            self.given[answer.member].add(type(answer))
            self.tell(answer)

    def kill_old(self, member: str) -> None:
        self.old[member].alive = False
        self.hurt(ev.OldEnded(member, "killed"))

    def kill_new(self, member: str) -> None:
        self.new[member].alive = False
        self.hurt(ev.NewEnded(member, "killed"))

    def fire(self) -> None:
        """Let the deadline pass."""
        assert self.timer is not None
        self.now, self.timer = self.timer, None
        self.hurt(ev.TimerFired())

    # -- what must hold

    def _check(self) -> None:
        for member in self.members:
            processes = (self.old[member], self.new.get(member))
            assert sum(process is not None and process.serves for process in processes) == 1, f"of {member} not one version serves"
            shown = [list(SwapPhase).index(phase) for phase in self.phases[member]]
            assert shown == list(range(len(shown))), f"{member} is shown as {self.phases[member]}"
        assert self.machine.finished is self.ending
        if self.ending is not None:
            assert self.timer is None
            assert self.ending.ok == (self.commits == 1)
            self._check_done() if self.ending.ok else self._check_undone()

    def _check_done(self) -> None:
        for member in self.members:
            assert self.new[member].serves
            assert (member, do.Unhold) not in self.asked
            assert (member, do.KillNew) not in self.asked
            assert self.phases[member] == list(SwapPhase)

    def _check_undone(self) -> None:
        for member in self.members:
            assert self.old[member].serves
            assert not self.old[member].held, f"{member} is held for ever"
            assert member not in self.new or (member, do.KillNew) in self.asked, f"the new {member} lives on"

    # -- instructions

    def _execute(self, instruction: do.SwapInstruction) -> None:
        match instruction:
            case do.SetTimer(at):
                assert self.timer is None
                self.timer = at
            case do.CancelTimer():
                self.timer = None
            case do.Commit(members):
                self._commit(members)
            case do.Finished():
                self.ending = instruction
            case do.ShowPhase(member, phase):
                self.phases[member].append(phase)
            case _:
                once = (instruction.member, type(instruction))
                assert once not in self.asked, f"{instruction} for the second time"
                self.asked.add(once)
                self._execute_once(instruction)

    def _execute_once(
        self, instruction: do.StartNew | do.TakeSnapshot | do.Rehearse | do.Hold | do.Move | do.Unhold | do.KillNew
    ) -> None:
        member = instruction.member
        match instruction:
            case do.StartNew():
                self.new[member] = Process(serves=False)
                self.pending.append(ev.NewReady(member))
            case do.TakeSnapshot():
                self.pending.append(ev.SnapshotTaken(member))
            case do.Rehearse():
                assert self.given[member] == {ev.NewReady, ev.SnapshotTaken}
                self.pending.append(ev.Rehearsed(member))
            case do.Hold(_, drain_s):
                assert drain_s == DRAIN_S
                self._hold(member)
            case do.Move():
                assert all(ev.Held in given for given in self.given.values()), "moves before all are held"
                self.pending += [ev.Packed(member), ev.Prepared(member)]
            case do.Unhold():
                assert self.old[member].held, f"{member} was never held"
                self.old[member].held = False
            case do.KillNew():
                self.new[member].alive = False

    def _hold(self, member: str) -> None:
        assert all(ev.Rehearsed in given for given in self.given.values()), "holds before all are rehearsed"
        for earlier in self.members[: self.members.index(member)]:
            assert ev.Held in self.given[earlier], f"{member} is held before {earlier} is at rest"
        self.old[member].held = True
        self.pending.append(ev.Held(member))

    def _commit(self, members: tuple[str, ...]) -> None:
        assert members == tuple(self.members)
        assert self.quiet
        for member in members:
            assert self.given[member] == set(ANSWERS), f"commits with {self.given[member]} of {member}"
            assert self.old[member].alive
            assert self.old[member].held
            assert self.new[member].alive
            self.old[member].serves, self.new[member].serves = False, True
        self.commits += 1
