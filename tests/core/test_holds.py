"""What a supervisor does for its children's dependencies: restarts that wait, restarts and stops because of another's."""

from __future__ import annotations

from typing import Any

import pytest
from core.world import World, child, children, dynamic, scripted

from dspex_runtime.core import events as ev
from dspex_runtime.core.child_spec import Backoff
from dspex_runtime.types import ChildId, Incarnation

BACKOFF = Backoff(initial_s=1.0, factor=2.0, jitter=0.0, max_s=30.0)
BOTH = pytest.mark.parametrize("kind", ["static", "dynamic"])


def held(world: World, id: str, is_held: bool = True) -> None:
    world.deliver(ev.ChildHeld(ChildId(id), is_held))


def released(world: World, id: str) -> None:
    held(world, id, False)


def asked(world: World, kind: type[Any], id: str, incarnation: int | None = None) -> None:
    view = world.machine.child(ChildId(id))
    known = 1 if view is None else view.incarnation
    world.deliver(kind(ChildId(id), Incarnation(known if incarnation is None else incarnation)))


def made(kind: str, ids: str, restart: str = "permanent", **fields: Any) -> World:
    """Return a supervisor of either kind that runs these."""
    specs = children(ids, restart, **fields)
    world = dynamic(specs) if kind == "dynamic" else World(specs).boot()
    world.did()
    return world


# holds


@BOTH
def test_a_restart_of_a_held_child_is_counted_and_begins_when_it_is_released(kind: str) -> None:
    world = made(kind, "ab")
    held(world, "a")
    world.crash("a")
    assert world.did() == []
    assert world.state("a") == "PENDING"
    assert world.machine.restarts_within(world.now) == 1
    world.advance(100)
    assert world.state("a") == "PENDING"
    released(world, "a")
    assert world.did() == ["start a"]
    assert world.shown() == "a:READY b:READY"


@BOTH
def test_a_hold_does_not_touch_what_runs_and_ends_with_the_release(kind: str) -> None:
    world = made(kind, "a")
    held(world, "a")
    released(world, "a")
    world.crash("a")
    assert world.did() == ["start a"]


@BOTH
def test_a_back_off_and_a_hold_are_waited_for_both(kind: str) -> None:
    world = made(kind, "a", backoff=BACKOFF)
    world.crash("a")
    assert world.did() == ["start a"]
    held(world, "a")
    world.crash("a")  # the second of a row: in a second
    assert world.state("a") == "PENDING"
    world.advance(0.25)
    released(world, "a")
    assert world.state("a") == "BACKOFF"
    world.advance(0.5)
    assert world.did() == []
    world.advance(0.25)
    assert world.did() == ["start a"]


@BOTH
def test_a_back_off_that_is_over_while_the_child_is_held_ends_in_waiting(kind: str) -> None:
    world = made(kind, "a", backoff=BACKOFF)
    world.crash("a")
    world.crash("a")
    assert world.did() == ["start a"]
    held(world, "a")
    assert world.state("a") == "BACKOFF"
    world.advance(2)
    assert (world.did(), world.state("a")) == ([], "PENDING")
    released(world, "a")
    assert world.did() == ["start a"]


@BOTH
def test_a_release_and_a_hold_before_the_restart_begins_leave_it_waiting(kind: str) -> None:
    world = made(kind, "a", backoff=BACKOFF)
    world.crash("a")
    held(world, "a")
    world.crash("a")
    released(world, "a")
    held(world, "a")
    world.advance(5)
    assert world.state("a") == "PENDING"
    released(world, "a")
    assert world.state("a") == "READY"


@BOTH
def test_a_start_that_fails_waits_before_it_is_tried_again(kind: str) -> None:
    world = scripted(made(kind, "a"), a="hang")
    world.crash("a")
    held(world, "a")
    world.fail("a")
    assert (world.did(), world.state("a")) == (["start a"], "PENDING")
    released(world, "a")
    assert world.did() == ["start a"]
    assert world.machine.restarts_within(world.now) == 2


@BOTH
def test_a_child_that_waits_can_be_stopped_and_is_stopped_with_its_supervisor(kind: str) -> None:
    world = made(kind, "ab")
    held(world, "a")
    held(world, "b")
    world.crash("a", "b")
    assert world.answer(ev.TerminateChildAsked, ChildId("a")) is None
    released(world, "a")
    assert world.did() == []
    world.shutdown()
    assert world.ending is not None


@BOTH
def test_somebody_who_restarts_a_child_that_waits_does_not_wait(kind: str) -> None:
    """Whoever asks on behalf of a user has looked at its dependencies before."""
    world = made(kind, "a")
    held(world, "a")
    world.crash("a")
    assert world.answer(ev.CycleChildAsked, ChildId("a")).child_id == "a"
    assert world.did() == ["start a"]


@BOTH
def test_one_restart_too_many_ends_the_supervisor_held_or_not(kind: str) -> None:
    world = made(kind, "a")
    held(world, "a")
    for _ in range(3):
        world.crash("a")
        world.answer(ev.CycleChildAsked, ChildId("a"))
    world.crash("a")
    assert world.ending is not None


def test_a_boot_and_a_child_that_is_added_do_not_mind_a_hold() -> None:
    world = World(children("ab"))
    held(world, "a")
    held(world, "c")
    world.boot()
    world.ask(ev.StartChildAsked, child("c"))
    assert world.did() == ["start a", "start b", "start c"]


def test_a_child_that_is_added_is_held_by_what_was_told_before() -> None:
    world = dynamic([])
    held(world, "a")
    world.ask(ev.StartChildAsked, child("a"))
    world.crash("a")
    assert world.state("a") == "PENDING"


@pytest.mark.parametrize("strategy", ["rest_for_one", "one_for_all"])
def test_a_sweep_begins_only_when_its_pivot_is_released(strategy: str) -> None:
    world = World(children("abc"), strategy).boot()
    world.did()
    held(world, "a")
    world.crash("a")
    assert (world.did(), world.shown()) == ([], "a:PENDING b:READY c:READY")
    released(world, "a")
    assert world.did() == ["stop c", "stop b", "start a", "start b", "start c"]


@pytest.mark.parametrize("strategy", ["rest_for_one", "one_for_all"])
def test_a_sweep_takes_along_a_child_that_waits(strategy: str) -> None:
    world = World(children("abc"), strategy).boot()
    world.did()
    held(world, "b")
    world.crash("b")
    world.crash("a")
    assert world.did() == ["stop c", "start a", "start b", "start c"]
    assert world.shown() == "a:READY b:READY c:READY"
    released(world, "b")
    assert world.did() == []


def test_a_pivot_does_not_wait_for_what_its_own_sweep_brings_back() -> None:
    """a was stopped by request: a sweep starts it, before b, and for that b is held."""
    specs = [child("a"), child("b", after=frozenset({ChildId("a")}))]
    world = World(specs, "one_for_all").boot()
    world.answer(ev.TerminateChildAsked, ChildId("a"))
    world.did()
    held(world, "b")
    world.crash("b")
    assert world.did() == ["start a", "start b"]
    assert world.shown() == "a:READY b:READY"


@pytest.mark.parametrize("order", ["ab", "ba"])
@pytest.mark.parametrize("strategy", ["one_for_one", "rest_for_one", "one_for_all"])
def test_a_child_that_dies_with_what_it_waits_for_starts_after_it_once(strategy: str, order: str) -> None:
    specs = [child("a"), child("b", after=frozenset({ChildId("a")}))]
    world = World(specs, strategy).boot()
    world.did()
    held(world, "b")
    world.crash(*order)
    assert world.did()[0] == "start a"
    released(world, "b")
    assert world.did() in ([], ["start b"])
    assert world.shown() == "a:READY b:READY"
    assert [view.incarnation for view in world.machine.children] == [2, 2]


def test_a_sweep_that_is_under_way_does_not_stop_half_way_for_a_hold() -> None:
    """It stopped a itself, for which b is held; and nobody else would start that again."""
    specs = [child("a", backoff=BACKOFF), child("b", after=frozenset({ChildId("a")}), backoff=BACKOFF)]
    world = World(specs, "one_for_all").boot()
    world.crash("b")
    world.crash("b")
    held(world, "b")
    assert world.shown() == "a:PENDING b:BACKOFF"
    world.did()
    world.advance(1)
    assert world.did() == ["start a", "start b"]


def test_a_pivot_waits_for_a_sibling_that_waits_itself() -> None:
    """What that one waits for is elsewhere; when it is there, its sweep takes both along."""
    specs = [child("a"), child("b", after=frozenset({ChildId("a")}))]
    world = World(specs, "one_for_all").boot()
    world.did()
    held(world, "a")
    world.crash("a")
    held(world, "b")
    world.crash("b")
    assert (world.did(), world.shown()) == ([], "a:PENDING b:PENDING")
    released(world, "a")
    assert world.did() == ["start a", "start b"]
    released(world, "b")
    assert world.shown() == "a:READY b:READY"
    assert world.did() == []


# restarts because of a dependency


@BOTH
def test_a_child_is_restarted_because_of_its_dependency_without_being_counted(kind: str) -> None:
    world = made(kind, "ab")
    asked(world, ev.RestartAsked, "a")
    assert world.did() == ["stop a", "start a"]
    view = world.machine.child(ChildId("a"))
    assert view is not None
    assert (view.state.value, view.restarts, view.incarnation) == ("READY", 1, 2)
    assert world.machine.restarts_within(world.now) == 0


@BOTH
@pytest.mark.parametrize("restart", ["transient", "temporary"])
def test_whatever_its_restart_type_is(kind: str, restart: str) -> None:
    world = made(kind, "a", restart)
    asked(world, ev.RestartAsked, "a")
    assert world.did() == ["stop a", "start a"]


@pytest.mark.parametrize("strategy", ["rest_for_one", "one_for_all"])
def test_no_sibling_is_taken_along(strategy: str) -> None:
    world = World(children("abc"), strategy).boot()
    world.did()
    asked(world, ev.RestartAsked, "a")
    assert world.did() == ["stop a", "start a"]


@BOTH
def test_a_start_that_fails_then_counts_as_any_failed_restart(kind: str) -> None:
    world = scripted(made(kind, "a"), a="fail fail")
    asked(world, ev.RestartAsked, "a")
    assert world.did() == ["stop a", "start a", "start a", "start a"]
    assert world.machine.restarts_within(world.now) == 2
    assert world.state("a") == "READY"


def test_a_temporary_one_that_does_not_start_then_is_gone() -> None:
    world = scripted(made("static", "a", "temporary"), a="fail")
    asked(world, ev.RestartAsked, "a")
    assert world.state("a") == "gone"
    assert world.ending is None


@BOTH
@pytest.mark.parametrize("event", [ev.RestartAsked, ev.StopAsked])
def test_what_is_another_incarnation_by_now_is_left_alone(kind: str, event: type[Any]) -> None:
    world = made(kind, "a")
    world.crash("a")
    world.did()
    asked(world, event, "a", 1)
    asked(world, event, "unknown")
    assert world.did() == []


@BOTH
def test_a_child_is_restarted_once_however_often_it_is_asked_for(kind: str) -> None:
    world = made(kind, "a")
    world.stubborn.add("a")
    asked(world, ev.RestartAsked, "a")
    asked(world, ev.RestartAsked, "a")
    world.die("a", "shutdown")
    assert world.did() == ["stop a", "start a"]


@BOTH
def test_a_restart_that_would_have_to_wait_is_not_begun(kind: str) -> None:
    world = made(kind, "a")
    held(world, "a")
    asked(world, ev.RestartAsked, "a")
    assert world.did() == []
    assert world.state("a") == "READY"


@BOTH
def test_a_restart_whose_dependency_goes_down_again_waits_half_way(kind: str) -> None:
    world = made(kind, "a")
    world.stubborn.add("a")
    asked(world, ev.RestartAsked, "a")
    held(world, "a")
    world.die("a", "shutdown")
    assert world.did() == ["stop a"]
    assert world.state("a") == "PENDING"
    released(world, "a")
    assert world.did() == ["start a"]
    assert world.machine.restarts_within(world.now) == 0


@BOTH
def test_a_shutdown_ends_it(kind: str) -> None:
    world = made(kind, "a")
    world.stubborn.add("a")
    asked(world, ev.RestartAsked, "a")
    world.shutdown()
    asked(world, ev.RestartAsked, "a")
    asked(world, ev.StopAsked, "a")
    world.die("a", "shutdown")
    assert world.ending is not None
    assert world.did() == ["stop a"]


def test_before_the_boot_it_waits() -> None:
    world = World(children("a"))
    asked(world, ev.StopAsked, "a")
    world.boot()
    assert world.did() == ["start a"]


# stops because of a dependency


@BOTH
def test_a_child_is_stopped_as_by_request(kind: str) -> None:
    world = made(kind, "ab")
    asked(world, ev.StopAsked, "a")
    assert world.did() == ["stop a"]
    assert world.state("a") == ("STOPPED" if kind == "static" else "gone")
    if kind == "static":
        world.answer(ev.RestartChildAsked, ChildId("a"))
        assert world.state("a") == "READY"


@BOTH
def test_one_that_is_starting_is_stopped_when_that_is_through(kind: str) -> None:
    world = scripted(made(kind, "a"), a="hang")
    world.crash("a")
    asked(world, ev.StopAsked, "a", 2)
    assert world.did() == ["start a"]
    world.ready("a")
    assert world.did() == ["stop a"]


@BOTH
def test_one_whose_restart_is_due_is_not_restarted(kind: str) -> None:
    world = made(kind, "a")
    held(world, "a")
    world.crash("a")
    asked(world, ev.StopAsked, "a")
    released(world, "a")
    assert world.did() == []
    assert world.state("a") == ("STOPPED" if kind == "static" else "gone")


def test_a_sweep_that_brings_it_back_wins() -> None:
    world = World(children("ab"), "one_for_all").boot()
    world.did()
    incarnation = Incarnation(1)
    world.stubborn.add("b")
    world.crash("a")
    world.deliver(ev.StopAsked(ChildId("b"), incarnation))
    world.die("b", "shutdown")
    assert world.did() == ["stop b", "start a", "start b"]
    assert world.shown() == "a:READY b:READY"


# what comes back


@BOTH
@pytest.mark.parametrize(
    ("event", "again"),
    [(ev.RestartAsked, True), (ev.CycleChildAsked, True), (ev.StopAsked, False), (ev.TerminateChildAsked, False)],
)
def test_a_supervisor_knows_whether_what_it_stops_is_started_again(kind: str, event: type[Any], again: bool) -> None:
    world = made(kind, "ab")
    assert not world.machine.starts_again(ChildId("a"))
    world.stubborn.add("a")
    if event in (ev.RestartAsked, ev.StopAsked):
        asked(world, event, "a")
    else:
        world.ask(event, ChildId("a"))
    assert world.machine.starts_again(ChildId("a")) == again
    assert not world.machine.starts_again(ChildId("b"))
    assert not world.machine.starts_again(ChildId("unknown"))
