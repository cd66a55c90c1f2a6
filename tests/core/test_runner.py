import pytest
from core.world import ERROR, World, child, children, scripted

from dspex_runtime.core import events as ev
from dspex_runtime.core.child_spec import Backoff
from dspex_runtime.core.instructions import BootFailed, Exited, Started
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


# the start window


def test_with_a_start_window_children_start_together_in_start_order() -> None:
    world = scripted(World(children("abcde"), start_window=3), a="hang", b="hang", c="hang").boot()
    assert world.did() == ["start a", "start b", "start c"]
    world.ready("b")
    assert world.did() == ["start d", "start e"]
    world.ready("c")
    assert not world.booted
    world.ready("a")
    assert world.booted


@pytest.mark.parametrize("strategy", ["rest_for_one", "one_for_all"])
def test_only_one_for_one_starts_children_together(strategy: str) -> None:
    world = scripted(World(children("abc"), strategy, start_window=3), a="hang").boot()
    assert world.did() == ["start a"]


def test_a_failed_boot_with_a_start_window_stops_started_and_starting_children_in_reverse() -> None:
    world = scripted(World(children("abcdef"), start_window=4), b="hang", c="hang", d="hang", e="hang").boot()
    world.did()
    world.fail("c")
    assert world.did() == ["stop e", "stop d", "stop b", "stop a"]
    assert world.ending == BootFailed(ChildId("c"), ERROR)


def test_a_second_failure_during_the_rollback_is_absorbed() -> None:
    world = scripted(World(children("abcd"), start_window=4), b="hang", c="hang", d="hang").boot()
    world.stubborn = {"d"}
    world.did()
    world.fail("c")
    world.fail("b")
    assert world.did() == ["stop d"]
    world.die("d")
    assert world.did() == ["stop a"]
    assert world.ending == BootFailed(ChildId("c"), ERROR)


def test_with_a_start_window_restarts_do_not_wait_for_a_sibling_that_hangs_in_its_start() -> None:
    world = World(children("abc"), start_window=2, max_restarts=9).boot()
    scripted(world, a="hang")
    world.did()
    world.crash("a")
    world.crash("b")
    world.crash("b")
    assert world.did() == ["start a", "start b", "start b"]
    assert world.shown() == "a:STARTING b:READY c:READY"


def test_restarts_that_run_together_never_overtake_a_request() -> None:
    world = World(children("abc"), start_window=2, max_restarts=9).boot()
    scripted(world, a="hang")
    world.crash("a")
    request = world.ask(ev.TerminateChildAsked, "a")
    world.crash("b")
    assert world.outcome(request) == "waiting"
    assert world.state("b") == "BACKOFF"
    world.ready("a")
    assert world.outcome(request) is None
    assert world.shown() == "a:STOPPED b:READY c:READY"


def test_a_request_is_answered_by_its_own_child_when_restarts_run_together() -> None:
    world = World([child("a", backoff=Backoff()), *children("bc")], start_window=3, max_restarts=9).boot()
    world.crash("a")
    world.crash("a")
    scripted(world, a="hang")
    request = world.ask(ev.CycleChildAsked, "a")
    world.crash("b")
    scripted(world, c="fail")
    world.crash("c")
    assert world.outcome(request) == "waiting"
    assert world.shown() == "a:STARTING b:READY c:READY"
    world.ready("a")
    assert isinstance(world.outcome(request), Started)


def test_a_child_that_dies_during_a_boot_with_a_start_window_waits_for_its_end_too() -> None:
    world = scripted(World(children("abc"), start_window=3), c="hang").boot()
    world.crash("a")
    assert world.did() == ["start a", "start b", "start c"]
    world.ready("c")
    assert world.did() == ["start a"]


def test_giving_up_while_restarts_run_together_stops_those_that_are_starting() -> None:
    world = World(children("abc"), start_window=2, max_restarts=1).boot()
    scripted(world, a="hang")
    world.did()
    world.crash("a")
    world.crash("c")
    assert world.did() == ["start a", "stop b", "stop a"]
    assert world.ending == Exited("shutdown", gave_up=True)


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
