"""What follows from the facts about the children of a supervisor with a strategy; what both kinds have: test_child_events."""

import pytest
from core.world import World, child, children, scripted

from dspex_runtime.core import events as ev
from dspex_runtime.core.instructions import BootFailed, Exited
from dspex_runtime.types import ChildId, Incarnation, Kind

A, ONE = ChildId("a"), Incarnation(1)


def test_a_start_that_takes_too_long_is_killed_and_fails_for_that_reason() -> None:
    world = scripted(World([child("a", start_timeout_s=2.0)]), a="hang").boot()
    world.advance(1.9)
    assert world.did() == ["start a"]
    world.advance(0.1)
    assert world.did() == ["kill a"]
    assert world.kills == [("a", ("limit", "start_timeout", 2.0))]
    assert world.ending == BootFailed(A, ("limit", "start_timeout", 2.0))


def test_a_child_that_becomes_ready_after_its_start_timed_out_has_failed_all_the_same() -> None:
    world = scripted(World([child("a", start_timeout_s=2.0)]), a="hang").boot()
    world.undying = {"a"}
    world.advance(2)
    world.ready("a")
    assert world.state("a") == "STARTING"
    world.die("a", "killed")
    assert world.ending == BootFailed(A, ("limit", "start_timeout", 2.0))


def test_an_exit_of_a_child_that_is_starting_is_a_failed_start() -> None:
    world = scripted(World(children("ab")), b="hang").boot()
    world.die("b", "normal")
    assert world.ending == BootFailed(ChildId("b"), "normal")


def test_the_exit_of_a_process_that_had_ignored_is_no_news() -> None:
    world = scripted(World(children("ab")), a="ignore").boot()
    assert world.machine.handle(ev.ChildExited(A, ONE, "normal"), world.now) == []
    assert world.shown() == "a:EXITED b:READY"


@pytest.mark.parametrize("strategy", ["one_for_one", "rest_for_one", "one_for_all"])
def test_a_restart_that_ignores_keeps_the_spec_and_goes_on(strategy: str) -> None:
    world = World(children("abc"), strategy).boot()
    scripted(world, b="ignore")
    world.crash("b")
    assert world.shown() == "a:READY b:EXITED c:READY"


def test_a_child_that_ignores_while_it_is_stopped_has_stopped() -> None:
    world = scripted(World(children("a")), a="hang").boot()
    world.stubborn = {"a"}
    world.shutdown()
    del world.alive[A]
    world.deliver(ev.ChildIgnored(A, ONE))
    assert world.ending == Exited("shutdown")


def test_a_death_that_has_to_wait_is_shown_at_once_as_what_will_come_of_it() -> None:
    world = World([child("a"), child("t", "transient"), child("b")]).boot()
    scripted(world, b="hang")
    world.crash("b")
    world.crash("a")
    world.crash("t", reason="normal")
    assert world.shown() == "a:BACKOFF t:EXITED b:STARTING"
    world.ready("b")
    assert world.shown() == "a:READY t:EXITED b:READY"


def test_a_nested_supervisor_that_gave_up_is_a_child_that_ended_with_shutdown() -> None:
    group = child("group", kind=Kind.SUPERVISOR, start_timeout_s=None)
    transient = child("other", "transient", kind=Kind.SUPERVISOR, start_timeout_s=None)
    world = World([group, transient]).boot()
    world.did()
    world.crash("group", reason="shutdown")
    world.crash("other", reason="shutdown")
    assert world.did() == ["start group"]
    assert world.shown() == "group:READY other:EXITED"
