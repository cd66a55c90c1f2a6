"""OTP semantics §1.11: how a dynamic supervisor gives up and ends."""

from __future__ import annotations

import pytest
from core.world import ERROR, World, child, children, dynamic, scripted

from dspex_runtime.core import events as ev
from dspex_runtime.core.child_spec import BRUTAL_KILL, INFINITY, Backoff, Shutdown
from dspex_runtime.core.instructions import Exited
from dspex_runtime.core.restart_policy import is_clean_dynamic_stop
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.types import RestartType

# the parallel stop


def test_1_11_all_children_are_told_at_the_same_time_each_has_its_own_time_and_then_is_killed() -> None:
    specs = [
        child("a", shutdown=Shutdown(timeout_s=1.0)),
        child("b", shutdown=BRUTAL_KILL),
        child("c", shutdown=Shutdown(timeout_s=3.0)),
        child("d", shutdown=INFINITY),
        child("e", shutdown=Shutdown(timeout_s=0.0)),
    ]
    world = dynamic(specs)
    world.stubborn = {"a", "c", "d", "e"}
    world.did()
    world.shutdown()
    assert sorted(world.did()) == ["kill b", "kill e", "stop a", "stop c", "stop d", "stop e"]
    world.advance(1)
    assert world.did() == ["kill a"]
    world.advance(2)
    assert world.did() == ["kill c"]
    world.advance(1_000_000)
    assert world.ending is None
    world.die("d", "shutdown")
    assert world.ending == Exited("shutdown")
    assert world.shown() == "a:STOPPED b:STOPPED c:STOPPED d:STOPPED e:STOPPED"


def test_1_8_after_the_kill_the_death_is_waited_for_without_limit() -> None:
    world = dynamic([child("a", shutdown=Shutdown(timeout_s=1.0))])
    world.stubborn = world.undying = {"a"}
    world.shutdown()
    world.advance(1_000_000)
    assert world.ending is None
    world.die("a")
    assert world.ending == Exited("shutdown")


def test_1_11_children_that_are_restarting_are_skipped() -> None:
    world = dynamic([child("a", backoff=Backoff()), child("b")], max_restarts=9)
    world.crash("a")
    world.crash("a")
    world.did()
    world.shutdown()
    assert world.did() == ["stop b"]
    assert world.ending == Exited("shutdown")
    assert world.shown() == "a:STOPPED b:STOPPED"


def test_children_that_are_starting_are_stopped_and_their_start_child_is_refused() -> None:
    world = scripted(dynamic(children("a")), b="hang")
    starting = world.ask(ev.StartChildAsked, child("b"))
    waiting = world.ask(ev.TerminateChildAsked, "b")
    world.did()
    world.shutdown()
    assert sorted(world.did()) == ["stop a", "stop b"]
    assert [world.outcome(number) for number in (starting, waiting)] == ["shutdown", "shutdown"]
    assert world.ending == Exited("shutdown")


def test_a_terminate_child_that_is_under_way_is_answered_when_its_child_is_dead() -> None:
    world = dynamic(children("ab"))
    world.stubborn = {"a"}
    terminating = world.ask(ev.TerminateChildAsked, "a")
    waiting = world.ask(ev.TerminateChildAsked, "a")
    world.shutdown()
    assert [world.outcome(number) for number in (terminating, waiting)] == ["waiting", "shutdown"]
    assert world.answer(ev.CountChildrenAsked) == "shutdown"
    world.die("a")
    assert world.outcome(terminating) is None
    assert world.ending == Exited("shutdown")
    assert world.deleted == ["a"]


def test_a_cycle_that_is_under_way_starts_nothing_any_more() -> None:
    world = dynamic(children("a"))
    world.stubborn = {"a"}
    request = world.ask(ev.CycleChildAsked, "a")
    world.shutdown()
    world.did()
    world.die("a", "shutdown")
    assert world.did() == []
    assert world.outcome(request) == "shutdown"
    assert world.ending == Exited("shutdown")


def test_children_that_die_by_themselves_meanwhile_are_not_restarted() -> None:
    world = dynamic(children("ab"))
    world.stubborn = {"a", "b"}
    world.shutdown()
    world.did()
    world.die("b", ERROR)
    world.die("a", "shutdown")
    assert world.did() == []
    assert ("shutdown_error", "b", ERROR) in world.reports


def test_without_children_it_ends_at_once_with_the_reason_it_was_told() -> None:
    world = dynamic([])
    world.shutdown("normal")
    assert world.ending == Exited("normal")
    world.shutdown("shutdown")
    assert world.answer(ev.StartChildAsked, child("a")) == "noproc"


def test_a_shutdown_before_the_boot_ends_at_once_and_refuses_what_waits() -> None:
    world = World([], dynamic=True)
    request = world.ask(ev.StartChildAsked, child("a"))
    world.shutdown()
    world.boot()
    assert world.ending == Exited("shutdown")
    assert not world.booted
    assert world.outcome(request) == "shutdown"


# which ends are reported

STOPS = [
    # restart, brutal, reason, clean
    *[(restart, False, reason, True) for restart in RestartType for reason in ("shutdown", ("shutdown", 1))],
    ("permanent", False, "normal", False),
    ("transient", False, "normal", True),
    ("temporary", False, "normal", True),
    *[(restart, False, reason, False) for restart in RestartType for reason in ("killed", ERROR, ("exit_status", 1))],
    *[(restart, True, "killed", True) for restart in RestartType],
    *[(restart, True, reason, False) for restart in RestartType for reason in ("shutdown", "normal", ("shutdown", 1))],
]


@pytest.mark.parametrize(("restart", "brutal", "reason", "clean"), STOPS, ids=str)
def test_1_11_shutdown_reasons(restart: str, brutal: bool, reason: ExitReason, clean: bool) -> None:
    assert is_clean_dynamic_stop(RestartType(restart), brutal=brutal, reason=reason) is clean
    shutdown = BRUTAL_KILL if brutal else Shutdown()
    world = dynamic([child("a", restart, shutdown=shutdown)])
    world.stubborn = world.undying = {"a"}
    request = world.ask(ev.TerminateChildAsked, "a")
    world.die("a", reason)
    assert world.outcome(request) is None
    assert (("shutdown_error", "a", reason) in world.reports) is not clean


# giving up


def test_1_11_one_restart_too_many_and_it_gives_up() -> None:
    world = dynamic(children("abc"), max_restarts=2)
    world.crash("a")
    world.crash("b")
    world.did()
    world.crash("b")
    assert sorted(world.did()) == ["stop a", "stop c"]
    assert world.ending == Exited("shutdown", gave_up=True)
    assert world.shown() == "a:FAILED b:FAILED c:FAILED"
    assert world.reports[-2:] == [("child_terminated", "b", "killed"), ("shutdown", "b", "reached_max_restart_intensity")]


def test_1_11_the_window_is_shared_by_all_children_and_slides() -> None:
    world = dynamic(children("ab"), max_restarts=1, max_seconds=5.0)
    world.crash("a")
    world.advance(5.01)
    world.crash("b")
    assert world.ending is None
    world.advance(5.0)
    world.crash("a")
    assert world.ending == Exited("shutdown", gave_up=True)


def test_1_4_with_intensity_n_a_child_that_cannot_start_gets_n_attempts() -> None:
    world = scripted(dynamic(children("a"), max_restarts=3), a="fail fail fail ready")
    world.did()
    world.crash("a")
    assert world.did() == ["start a", "start a", "start a"]
    assert world.ending == Exited("shutdown", gave_up=True)


def test_giving_up_refuses_what_waits() -> None:
    world = dynamic(children("ab"), max_restarts=0)
    scripted(world, c="hang")
    starting = world.ask(ev.StartChildAsked, child("c"))
    world.crash("a")
    assert world.outcome(starting) == "shutdown"
    assert world.ending == Exited("shutdown", gave_up=True)


def test_1_4_start_child_terminate_child_and_cycles_never_count() -> None:
    world = dynamic([], max_restarts=0)
    for _ in range(10):
        world.ask(ev.StartChildAsked, child("a"))
        world.answer(ev.CycleChildAsked, "a")
        world.answer(ev.TerminateChildAsked, "a")
    assert world.ending is None
