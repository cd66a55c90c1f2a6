import pytest
from core.world import ERROR, World, child, children, scripted

from dspex_runtime.core import events as ev
from dspex_runtime.core.instructions import BootFailed, Exited
from dspex_runtime.types import ChildId, State

# boot


@pytest.mark.parametrize("strategy", ["one_for_one", "rest_for_one", "one_for_all"])
def test_children_start_one_after_the_other_and_stop_in_reverse(strategy: str) -> None:
    world = scripted(World(children("abcde"), strategy), b="hang").boot()
    assert world.did() == ["start a", "start b"]
    assert not world.booted
    assert world.phase() == "booting"
    world.ready("b")
    assert world.did() == ["start c", "start d", "start e"]
    assert world.booted
    world.shutdown()
    assert world.did() == ["stop e", "stop d", "stop c", "stop b", "stop a"]
    assert world.ending == Exited("shutdown", gave_up=False)
    assert world.shown() == "a:STOPPED b:STOPPED c:STOPPED d:STOPPED e:STOPPED"


def test_a_supervisor_without_children_boots_and_ends() -> None:
    world = World([]).boot()
    assert world.booted
    world.shutdown("normal")
    assert world.ending == Exited("normal")


@pytest.mark.parametrize("strategy", ["one_for_one", "rest_for_one", "one_for_all"])
def test_a_failed_boot_stops_everything_in_reverse_and_does_not_retry(strategy: str) -> None:
    world = scripted(World(children("abcde"), strategy, max_restarts=100), c="fail").boot()
    assert world.did() == ["start a", "start b", "start c", "stop b", "stop a"]
    assert world.ending == BootFailed(ChildId("c"), ERROR, {"class": "StartError"})
    assert not world.booted
    assert world.shown() == "a:STOPPED b:STOPPED c:FAILED d:STOPPED e:STOPPED"
    assert ("start_error", "c", ERROR) in world.reports


def test_a_child_that_ignores_is_no_error_and_a_temporary_one_is_forgotten() -> None:
    world = scripted(World([child("a"), child("b"), child("t", "temporary")]), b="ignore", t="ignore").boot()
    assert world.booted
    assert world.shown() == "a:READY b:EXITED"
    assert world.deleted == ["t"]


def test_a_child_that_dies_during_the_boot_is_restarted_after_it() -> None:
    world = scripted(World(children("abc")), c="hang").boot()
    world.crash("a")
    assert world.did() == ["start a", "start b", "start c"]
    assert world.state("a") == "BACKOFF"
    world.ready("c")
    assert world.did() == ["start a"]


def test_a_child_that_died_during_a_boot_that_fails_is_not_stopped_again() -> None:
    world = scripted(World(children("abc")), c="hang").boot()
    world.crash("a")
    world.fail("c")
    assert world.did() == ["start a", "start b", "start c", "stop b"]
    assert isinstance(world.ending, BootFailed)


# shutdown in each phase


def test_a_shutdown_before_the_boot_ends_at_once() -> None:
    world = World(children("ab"))
    world.shutdown()
    world.boot()
    assert world.did() == []
    assert world.ending == Exited("shutdown")
    assert world.phase() == "done"


def test_a_shutdown_during_the_boot_stops_what_was_started_and_is_no_boot_failure() -> None:
    world = scripted(World(children("abc")), b="hang").boot()
    world.shutdown()
    assert world.did() == ["start a", "start b", "stop b", "stop a"]
    assert world.ending == Exited("shutdown")
    assert world.shown() == "a:STOPPED b:STOPPED c:STOPPED"


def test_a_shutdown_during_a_sweep_lets_the_stop_under_way_finish_and_starts_nothing() -> None:
    world = World(children("abcd"), "one_for_all").boot()
    world.stubborn = {"c"}
    world.did()
    world.crash("a")
    assert world.did() == ["stop d", "stop c"]
    assert world.phase() == "sweeping"
    world.shutdown()
    assert world.did() == []
    assert world.phase() == "stopping"
    world.die("c")
    assert world.did() == ["stop b"]
    assert world.ending == Exited("shutdown")


def test_a_shutdown_during_a_restart_stops_the_child_that_is_starting() -> None:
    world = World(children("ab")).boot()
    scripted(world, a="hang")
    world.crash("a")
    assert world.phase() == "starting"
    world.did()
    world.shutdown()
    assert world.did() == ["stop b", "stop a"]
    assert world.ending == Exited("shutdown")


def test_a_shutdown_overtakes_the_queue_and_refuses_what_waits() -> None:
    world = World(children("abc")).boot()
    world.stubborn = {"a"}
    terminating = world.ask(ev.TerminateChildAsked, "a")
    waiting = [world.ask(ev.WhichChildrenAsked), world.ask(ev.StartChildAsked, child("x"))]
    world.shutdown()
    assert [world.outcome(request) for request in waiting] == ["shutdown", "shutdown"]
    assert world.outcome(terminating) == "waiting"
    assert world.answer(ev.CountChildrenAsked) == "shutdown"
    world.die("a")
    assert world.outcome(terminating) is None
    assert world.ending == Exited("shutdown")
    assert world.answer(ev.CountChildrenAsked) == "noproc"


@pytest.mark.parametrize("request_type", [ev.CycleChildAsked, ev.RestartChildAsked])
def test_a_shutdown_refuses_the_start_that_is_under_way(request_type: type[object]) -> None:
    world = World(children("ab")).boot()
    world.answer(ev.TerminateChildAsked, "b")
    scripted(world, b="hang")
    request = world.ask(request_type, "b")
    world.shutdown()
    assert world.outcome(request) == "shutdown"
    assert world.ending == Exited("shutdown")


def test_a_second_shutdown_changes_nothing() -> None:
    world = World(children("ab")).boot()
    world.stubborn = {"b"}
    world.did()
    world.shutdown("normal")
    world.shutdown("shutdown")
    world.die("b")
    world.shutdown("shutdown")
    assert world.did() == ["stop b", "stop a"]
    assert world.ending == Exited("normal")


def test_a_child_that_dies_during_the_shutdown_is_not_stopped_again() -> None:
    world = World(children("abc")).boot()
    world.stubborn = {"c"}
    world.did()
    world.shutdown()
    world.crash("a")
    world.die("c")
    assert world.did() == ["stop c", "stop b"]
    assert ("shutdown_error", "a", "killed") in world.reports
    assert world.states["a"] == [State.STARTING, State.READY, State.STOPPED]
    assert world.ending == Exited("shutdown")
