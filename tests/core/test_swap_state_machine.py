"""The swap machine under anything: answers in any order, refusals, deaths, aborts and the deadline at any time, several members.

The world checks every instruction and, after every event, that each member has one version that serves, that what failed is undone
and that nothing comes after the end.
"""

from __future__ import annotations

from typing import Any

from core.swap_world import ANSWERS, DEADLINE, SwapWorld
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from dspex_runtime.core import swap_events as ev
from dspex_runtime.core.swap_instructions import SwapPhase

MEMBERS = st.sampled_from("abc")


class AnySwap(RuleBasedStateMachine):
    """What comes of each instruction, and what gets in the way, is drawn; `patience` answers come in before there is trouble."""

    world: SwapWorld

    @initialize(count=st.integers(1, 3), patience=st.floats(0, 1), begins=st.booleans() | st.just(True))
    def create(self, count: int, patience: float, begins: bool) -> None:
        self.world = SwapWorld("abc"[:count])
        self.patience = round(patience * count * len(ANSWERS))
        if begins:
            self.world.tell(ev.Begin())

    def is_troubled(self) -> bool:
        answers = sum(map(len, self.world.given.values()))
        return answers >= self.patience or self.world.ending is not None

    def member(self, drawn: str) -> str:
        return drawn if drawn in self.world.members else "a"

    @rule()
    def begin(self) -> None:
        self.world.tell(ev.Begin())

    @precondition(lambda self: self.world.pending)
    @rule(picks=st.lists(st.integers(0, 9), min_size=1, max_size=5))
    def answer(self, picks: list[int]) -> None:
        for pick in picks:
            if self.world.pending:
                self.world.answer(pick % len(self.world.pending))

    @rule(kind=st.sampled_from(ANSWERS), drawn=MEMBERS)
    def answer_nobody_waits_for(self, kind: type[ev.Answer], drawn: str) -> None:
        answer = kind(self.member(drawn))
        if answer not in self.world.pending:
            assert self.world.tell(answer) == []

    @rule(seconds=st.sampled_from([0.0, 0.5, 3.0]))
    def wait(self, seconds: float) -> None:
        self.world.now = min(self.world.now + seconds, DEADLINE)

    @precondition(lambda self: self.is_troubled() and self.world.pending)
    @rule(data=st.data(), running=st.integers(0, 3))
    def refuse(self, data: st.DataObject, running: int) -> None:
        answer = self.world.pending.pop(data.draw(st.integers(0, len(self.world.pending) - 1)))
        is_late = isinstance(answer, ev.Held) and running > 0
        self.world.hurt(ev.Held(answer.member, running) if is_late else ev.Failed(answer.member, "refused", "no"))

    @precondition(lambda self: self.is_troubled())
    @rule(drawn=MEMBERS, kind=st.sampled_from([ev.OldStopping, ev.AbortAsked]))
    def get_in_the_way(self, drawn: str, kind: Any) -> None:
        self.world.hurt(kind(self.member(drawn)))

    @precondition(lambda self: self.is_troubled())
    @rule(drawn=MEMBERS)
    def kill_old(self, drawn: str) -> None:
        self.world.kill_old(self.member(drawn))

    @precondition(lambda self: self.is_troubled() and self.world.new)
    @rule(drawn=MEMBERS)
    def kill_new(self, drawn: str) -> None:
        self.world.kill_new(self.member(drawn))

    @precondition(lambda self: self.is_troubled() and self.world.timer is not None)
    @rule()
    def deadline(self) -> None:
        self.world.fire()

    def teardown(self) -> None:
        """A swap whose answers come in ends: well when nothing got in the way, whatever their order."""
        if not hasattr(self, "world"):
            return
        self.world.tell(ev.Begin())
        while self.world.pending:
            self.world.answer(-1)
        assert self.world.ending is not None
        assert self.world.ending.ok == (self.world.commits == 1)
        if self.world.quiet:
            assert self.world.ending.ok
            assert self.world.machine.phase is SwapPhase.DONE


def test_a_swap_holds_its_invariants_under_anything() -> None:
    run_state_machine_as_test(
        AnySwap, settings=settings(max_examples=250, stateful_step_count=40, derandomize=True, deadline=None, database=None)
    )
