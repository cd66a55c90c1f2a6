"""The restart budget, whichever kind of supervisor has it."""

from __future__ import annotations

import pytest
from core.world import World, child, children, dynamic, scripted

from dspex_runtime.core.child_spec import Backoff, SupervisorSpec
from dspex_runtime.core.child_table import Life
from dspex_runtime.core.instructions import Report, ReportKind
from dspex_runtime.core.supervision_state import SupervisionState
from dspex_runtime.types import Incarnation, State


def state(max_restarts: int) -> SupervisionState:
    spec = SupervisorSpec(max_restarts=max_restarts, max_seconds=5.0)
    return SupervisionState(spec, next_incarnation=lambda _: Incarnation(1), random=lambda: 0.5)


def test_a_restart_within_the_budget_is_counted_and_delayed_by_its_back_off() -> None:
    sup = state(max_restarts=2)
    record = sup.table.add(child("a", backoff=Backoff(initial_s=1.0, jitter=0.0)))
    assert [sup.count_restart(record, 0.0), sup.count_restart(record, 1.0)] == [0.0, 1.0]
    assert (sup.restarts_within(1.0), record.attempts, sup.out.take()) == (2, 2, [])


def test_one_too_many_is_reported_and_the_child_has_failed() -> None:
    sup = state(max_restarts=0)
    record = sup.table.add(child("a"))
    record.life = Life.RESTARTING
    assert sup.count_restart(record, 0.0) is None
    assert (record.life, record.state) == (Life.UNDEFINED, State.FAILED)
    gave_up, _ = sup.out.take()
    assert isinstance(gave_up, Report)
    assert (gave_up.kind, gave_up.child_id) == (ReportKind.SHUTDOWN, "a")


@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_what_was_used_of_the_window_can_be_asked(kind: str) -> None:
    world = dynamic(children("ab"), max_restarts=3) if kind == "dynamic" else World(children("ab"), max_restarts=3).boot()
    world.crash("a")
    scripted(world, b="fail")
    world.crash("b")
    assert world.machine.restarts_within(world.now) == 3
