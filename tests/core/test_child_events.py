"""What a fact about a child means, whichever kind of supervisor it has."""

from __future__ import annotations

from dataclasses import replace

import pytest
from core.world import ERROR, World, child, children, dynamic, scripted
from hypothesis import given
from hypothesis import strategies as st

from dspex_runtime.core import events as ev
from dspex_runtime.core.child_spec import INFINITY, Backoff, ChildSpec, Shutdown
from dspex_runtime.core.instructions import ChildState
from dspex_runtime.types import ChildId, Incarnation, State

A, ONE, TWO = ChildId("a"), Incarnation(1), Incarnation(2)
KINDS = ["static", "dynamic"]
V2 = child("a", version="2")
STALE = [
    ev.ChildReady(A, ONE, 1),
    ev.ChildIgnored(A, ONE),
    ev.StartFailed(A, ONE, ERROR),
    ev.ChildExited(A, ONE, "killed"),
    ev.ChildSwapped(A, ONE, V2, 7),
    ev.ChildExited(ChildId("stranger"), ONE, "killed"),
    ev.ChildSwapped(ChildId("stranger"), ONE, child("stranger"), 7),
    ev.TimerFired(ev.TimerId(ev.TimerKind.START, A, ONE)),
    ev.TimerFired(ev.TimerId(ev.TimerKind.BACKOFF, A, ONE)),
    ev.TimerFired(ev.TimerId(ev.TimerKind.SHUTDOWN, A, TWO)),
]


def running(kind: str, *specs: ChildSpec, max_restarts: int = 3) -> World:
    """Return a supervisor of this kind with these children up."""
    return dynamic(specs, max_restarts=max_restarts) if kind == "dynamic" else World(specs, max_restarts=max_restarts).boot()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("event", STALE, ids=lambda event: type(event).__name__)
def test_what_is_said_of_a_past_incarnation_or_a_stranger_is_ignored(kind: str, event: ev.Event) -> None:
    world = running(kind, *children("ab"))
    world.crash("a")
    before = world.machine.children
    assert world.machine.handle(event, world.now) == []
    assert world.machine.children == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_restart_that_times_out_is_retried(kind: str) -> None:
    world = running(kind, child("a", start_timeout_s=2.0))
    scripted(world, a="hang ready")
    world.did()
    world.crash("a")
    world.advance(2)
    assert world.did() == ["start a", "kill a", "start a"]
    assert world.state("a") == "READY"
    assert ("start_error", "a", ("limit", "start_timeout", 2.0)) in world.reports


@pytest.mark.parametrize("kind", KINDS)
def test_one_that_becomes_ready_while_it_is_stopped_is_no_longer_killed_for_its_start(kind: str) -> None:
    world = running(kind, child("a", start_timeout_s=2.0, shutdown=INFINITY))
    world.stubborn = {"a"}
    scripted(world, a="hang")
    world.crash("a")
    world.shutdown()
    world.ready("a")
    world.advance(100)
    assert world.kills == []
    world.die("a", "shutdown")
    assert world.ending is not None


@pytest.mark.parametrize("kind", KINDS)
def test_a_back_off_that_is_over_begins_the_restart(kind: str) -> None:
    world = running(kind, child("a", backoff=Backoff(initial_s=1.0, jitter=0.0)), max_restarts=9)
    world.crash("a")
    world.crash("a")
    assert world.state("a") == "BACKOFF"
    world.advance(1)
    assert world.state("a") == "READY"


# a swap


@pytest.mark.parametrize("kind", KINDS)
def test_a_swapped_child_is_the_same_incarnation_of_another_spec_in_another_process(kind: str) -> None:
    world = running(kind, *children("ab"))
    world.crash("a")
    before = world.machine.child(A)
    assert before is not None
    shown = ChildState(A, State.READY, TWO, {"swapped": True})
    assert world.machine.handle(ev.ChildSwapped(A, TWO, V2, 7), world.now) == [shown]
    assert world.machine.child(A) == replace(before, spec=V2, pid=7)
    world.machine.validate()


@pytest.mark.parametrize("kind", KINDS)
def test_everything_afterwards_goes_by_the_new_spec(kind: str) -> None:
    world = running(kind, *children("ab"))
    world.swap("a", child("a", version="2", shutdown=Shutdown(timeout_s=9.0)))
    assert world.answer(ev.GetChildSpecAsked, A).version == "2"
    assert world.answer(ev.WhichChildAsked, A)[1] == 200
    world.crash("a")  # the world refuses a start from the old spec
    world.stubborn = {"a"}
    world.shutdown()
    world.advance(8)
    assert world.kills == []
    world.advance(1)
    assert world.kills == [("a", "killed")]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("restart", "is_started"), [("permanent", True), ("transient", False), ("temporary", False)])
def test_a_swap_may_change_the_restart_type(kind: str, restart: str, is_started: bool) -> None:
    world = running(kind, child("a", "transient" if restart == "permanent" else "permanent"))
    world.swap("a", child("a", restart))
    world.did()
    world.crash("a", reason="normal")
    assert world.did() == (["start a"] if is_started else [])


@pytest.mark.parametrize("kind", KINDS)
def test_a_swap_neither_adds_to_a_crash_loop_nor_ends_it(kind: str) -> None:
    fields = {"backoff": Backoff(initial_s=1.0, jitter=0.0, stable_after_s=10.0)}
    world = running(kind, child("a", **fields), max_restarts=9)
    world.crash("a")
    world.swap("a", child("a", version="2", **fields))
    world.crash("a")
    assert world.state("a") == "BACKOFF"  # the second crash in a row
    world.advance(1)
    world.advance(9)
    world.swap("a", child("a", version="3", **fields))
    world.advance(1)
    world.did()
    world.crash("a")
    assert world.did() == ["start a"]  # ready for ten seconds, in two processes
    assert world.machine.restarts_within(world.now) == 1


def test_a_swapped_child_that_is_swept_comes_back_as_its_new_version() -> None:
    world = World(children("abc"), "one_for_all").boot()
    world.swap("a", V2)
    world.crash("c")
    view = world.machine.child(A)
    assert view is not None
    assert (view.spec, view.incarnation, world.shown()) == (V2, TWO, "a:READY b:READY c:READY")


def test_a_child_that_waits_to_be_swept_can_still_be_swapped() -> None:
    world = World(children("abc"), "one_for_all").boot()
    world.stubborn = {"b"}
    world.crash("c")
    world.swap("a", V2)
    world.die("b", "shutdown")
    view = world.machine.child(A)
    assert view is not None
    assert view.spec == V2
    assert view.incarnation == TWO


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stage", ["starting", "stopping", "backoff"])
def test_only_a_running_child_is_swapped(kind: str, stage: str) -> None:
    world = running(kind, child("a", backoff=Backoff()), max_restarts=9)
    match stage:
        case "starting":
            scripted(world, a="hang")
            world.crash("a")
        case "stopping":
            world.stubborn = {"a"}
            world.ask(ev.TerminateChildAsked, A)
        case "backoff":
            world.crash("a")
            world.crash("a")
    before = world.machine.child(A)
    assert before is not None
    assert world.machine.handle(ev.ChildSwapped(A, before.incarnation, V2, 7), world.now) == []
    assert world.machine.child(A) == before


def test_a_swap_keeps_the_id() -> None:
    world = World(children("ab")).boot()
    with pytest.raises(ValueError, match="'a' cannot be swapped for 'b'"):
        world.swap("a", child("b"))


@pytest.mark.parametrize("kind", KINDS)
@given(crashes=st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["killed", "normal"]), st.floats(0.1, 4.0)), max_size=8))
def test_a_supervisor_decides_the_same_whether_its_children_are_swapped_or_not(
    kind: str, crashes: list[tuple[str, str, float]]
) -> None:
    plain, swapped = (running(kind, child("a"), child("b", "transient")) for _ in range(2))
    for id, reason, seconds in crashes:
        for world in (plain, swapped):
            world.advance(seconds)
            if world is swapped:
                for running_id in list(world.alive):
                    view = world.machine.child(running_id)
                    assert view is not None
                    world.swap(running_id, replace(view.spec, version="2"))
            if id in world.alive:
                world.crash(id, reason=reason)
    assert plain.log == swapped.log
    assert plain.shown() == swapped.shown()
    assert plain.ending == swapped.ending
