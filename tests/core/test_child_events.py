"""What a fact about a child means, whichever kind of supervisor it has."""

from __future__ import annotations

import pytest
from core.world import ERROR, World, child, children, dynamic, scripted

from dspex_runtime.core import events as ev
from dspex_runtime.core.child_spec import INFINITY, Backoff, ChildSpec
from dspex_runtime.types import ChildId, Incarnation

A, ONE, TWO = ChildId("a"), Incarnation(1), Incarnation(2)
KINDS = ["static", "dynamic"]
STALE = [
    ev.ChildReady(A, ONE, 1),
    ev.ChildIgnored(A, ONE),
    ev.StartFailed(A, ONE, ERROR),
    ev.ChildExited(A, ONE, "killed"),
    ev.ChildExited(ChildId("stranger"), ONE, "killed"),
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
