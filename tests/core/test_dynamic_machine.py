"""OTP semantics §1.11: the dynamic supervisor as a whole; its answers, deaths and ends are in the test_dynamic_* beside this."""

from __future__ import annotations

from typing import Any

import pytest
from core.world import World, child, children, dynamic

from dspex_runtime.core import events as ev
from dspex_runtime.core.child_spec import SupervisorSpec
from dspex_runtime.core.dynamic_machine import DynamicMachine
from dspex_runtime.core.dynamic_supervision import DynamicSupervision
from dspex_runtime.core.dynamic_work import Job, Work
from dspex_runtime.core.events import TimerId, TimerKind
from dspex_runtime.core.instructions import Exited
from dspex_runtime.core.invariants import InvariantError
from dspex_runtime.types import AutoShutdown, ChildId, Incarnation, State, Strategy


def test_1_11_it_boots_at_once_and_has_no_children() -> None:
    world = World([], dynamic=True)
    assert world.phase() == "new"
    world.boot()
    assert world.booted
    assert world.phase() == "running"
    assert world.machine.children == ()


def test_requests_before_the_boot_are_answered_after_it() -> None:
    world = World([], dynamic=True)
    request = world.ask(ev.CountChildrenAsked)
    assert world.outcome(request) == "waiting"
    world.boot()
    assert world.outcome(request)["specs"] == 0


@pytest.mark.parametrize(
    "spec",
    [
        SupervisorSpec(dynamic=True, children=tuple(children("a"))),
        SupervisorSpec(Strategy.ONE_FOR_ALL, dynamic=True),
        SupervisorSpec(dynamic=True, auto_shutdown=AutoShutdown.ANY_SIGNIFICANT),
    ],
    ids=["children", "strategy", "auto_shutdown"],
)
def test_1_11_strategies_auto_shutdown_and_children_of_its_own_are_rejected(spec: SupervisorSpec) -> None:
    with pytest.raises(ValueError, match="a dynamic supervisor has no children of its own"):
        DynamicMachine(spec, next_incarnation=lambda _: Incarnation(1), random=lambda: 0.5)


def test_views_follow_a_child_through_its_life() -> None:
    world = dynamic(children("ab"))
    world.crash("a")
    view = world.machine.child(ChildId("a"))
    assert view is not None
    assert (view.incarnation, view.restarts, view.last_exit, view.pid, view.state) == (2, 1, "killed", 100, State.READY)
    assert world.states["a"] == [State.STARTING, State.READY, State.STARTING, State.READY]
    world.answer(ev.TerminateChildAsked, "a")
    assert world.machine.child(ChildId("a")) is None


def test_the_phase_says_when_it_ends() -> None:
    world = dynamic(children("a"))
    world.stubborn = {"a"}
    world.shutdown()
    assert world.phase() == "stopping"
    world.die("a")
    assert world.phase() == "done"
    assert world.ending == Exited("shutdown")


def test_ten_thousand_children_go_up_and_down_without_recursion() -> None:
    world = World([], dynamic=True, max_restarts=0).boot()
    machine = world.machine
    specs = [child(f"c{n}") for n in range(10_000)]
    for number, spec in enumerate(specs):
        machine.handle(ev.StartChildAsked(number, spec), 0.0)
    for spec in specs:
        machine.handle(ev.ChildReady(spec.id, Incarnation(1), 1), 0.0)
    machine.handle(ev.ChildExited(specs[0].id, Incarnation(1), "killed"), 0.0)
    assert machine.phase.value == "stopping"
    for spec in specs[1:]:
        machine.handle(ev.ChildExited(spec.id, Incarnation(1), "shutdown"), 0.0)
    assert machine.phase.value == "done"


# the invariants


def break_life(sup: DynamicSupervision) -> None:
    next(iter(sup.table)).life = next(iter(sup.table)).life.UNDEFINED


def break_restarting(sup: DynamicSupervision) -> None:
    record = next(iter(sup.table))
    record.life, record.pid = record.life.RESTARTING, None


def break_work(sup: DynamicSupervision) -> None:
    sup.work[ChildId("x")] = Work(Job.START)


def break_timer(sup: DynamicSupervision) -> None:
    sup.out.armed[TimerId(TimerKind.START, ChildId("a"), Incarnation(99))] = 1.0


def break_limit(sup: DynamicSupervision) -> None:
    sup.spec = SupervisorSpec(dynamic=True, max_children=1)


def break_turns(sup: DynamicSupervision) -> None:
    sup.turns.append(ev.CountChildrenAsked(1))


def break_leaving(sup: DynamicSupervision) -> None:
    sup.leaving.add(ChildId("a"))


def break_done(sup: DynamicSupervision) -> None:
    sup.done = True


def break_ending(sup: DynamicSupervision) -> None:
    sup.ending = Exited("shutdown")
    sup.leaving = {ChildId("a")}


BREAKS: list[tuple[Any, str]] = [
    (break_life, "was not forgotten"),
    (break_restarting, "nothing will restart it"),
    (break_work, "there is work on 'x', which is gone"),
    (break_timer, "armed for an incarnation that is gone"),
    (break_limit, "2 children, max_children is 1"),
    (break_turns, "had no turn"),
    (break_leaving, "by a supervisor that does not end"),
    (break_done, "the machine is done, but"),
    (break_ending, "while the supervisor ends"),
]


@pytest.mark.parametrize(("damage", "text"), BREAKS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_broken_machine_says_what_is_wrong_and_how_it_came_to_it(damage: Any, text: str) -> None:
    world = dynamic(children("ab"))
    assert isinstance(world.machine, DynamicMachine)
    damage(world.machine._supervision)
    with pytest.raises(InvariantError, match=text) as caught:
        world.machine.validate()
    assert "Boot()" in str(caught.value)
