"""OTP semantics §1.11: what a dynamic supervisor does when a child ends, ignores, or takes too long."""

from __future__ import annotations

import pytest
from core.world import ERROR, child, children, dynamic, scripted

from dspex_runtime.core import events as ev
from dspex_runtime.core.child_spec import INFINITY, Backoff
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.types import ChildId, Incarnation, State

CLEAN: list[ExitReason] = ["normal", "shutdown", ("shutdown", "done")]
ABNORMAL: list[ExitReason] = ["killed", "noproc", ("signal", "SEGV"), ("exit_status", 3), ERROR]
DEATHS = [
    # restart type, reasons, restarted, reported
    ("permanent", CLEAN + ABNORMAL, True, True),
    ("transient", CLEAN, False, False),
    ("transient", ABNORMAL, True, True),
    ("temporary", CLEAN, False, False),
    ("temporary", ABNORMAL, False, True),
]


@pytest.mark.parametrize(
    ("restart", "reason", "restarted", "reported"),
    [(r, why, again, rep) for r, whys, again, rep in DEATHS for why in whys],
    ids=str,
)
def test_1_11_what_a_childs_death_does(restart: str, reason: ExitReason, restarted: bool, reported: bool) -> None:
    world = dynamic([child("a", restart), child("b")])
    world.did()
    world.crash("a", reason=reason)
    assert world.did() == (["start a"] if restarted else [])
    assert world.deleted == ([] if restarted else ["a"])
    assert world.shown() == ("a:READY b:READY" if restarted else "b:READY")
    assert (("child_terminated", "a", reason) in world.reports) is reported


def test_what_became_of_a_child_is_shown_before_it_is_forgotten() -> None:
    world = dynamic([child("a", "transient")])
    world.crash("a", reason="normal")
    assert world.states["a"][-1] is State.EXITED
    assert world.deleted == ["a"]


def test_1_11_each_death_is_a_restart_of_its_own() -> None:
    world = dynamic(children("abc"), max_restarts=2)
    world.crash("a", "b")
    assert world.running() == "abc"
    world.crash("c")
    assert world.ending is not None


def test_a_death_does_not_wait_for_the_start_of_another_child() -> None:
    world = dynamic(children("ab"))
    scripted(world, a="hang")
    world.did()
    world.crash("a")
    world.crash("b")
    assert world.did() == ["start a", "start b"]
    assert world.shown() == "a:STARTING b:READY"


def test_1_11_a_restart_that_ignores_drops_the_child() -> None:
    world = scripted(dynamic(children("ab")), a="ignore")
    world.crash("a")
    assert world.shown() == "b:READY"
    assert world.deleted == ["a"]


def test_1_11_a_failed_restart_is_reported_retried_and_counted() -> None:
    world = scripted(dynamic(children("a"), max_restarts=3), a="fail fail ready")
    world.did()
    world.crash("a")
    assert world.did() == ["start a", "start a", "start a"]
    assert world.reports.count(("start_error", "a", ERROR)) == 2
    world.crash("a")
    assert world.ending is not None


def test_1_11_a_failed_restart_keeps_the_child_as_restarting() -> None:
    world = scripted(dynamic([child("a", backoff=Backoff())], max_restarts=9), a="fail ready")
    world.crash("a")
    assert world.answer(ev.WhichChildrenAsked) == [("a", "restarting", "worker")]
    world.advance(1)
    assert world.running() == "a"


def test_a_start_that_takes_too_long_is_killed_and_fails_for_that_reason() -> None:
    world = scripted(dynamic([]), a="hang")
    request = world.ask(ev.StartChildAsked, child("a", start_timeout_s=2.0))
    world.advance(2)
    assert world.did() == ["start a", "kill a"]
    assert world.outcome(request) == "start_failed"
    assert world.kills == [("a", ("limit", "start_timeout", 2.0))]


def test_a_child_that_becomes_ready_after_its_start_timed_out_has_failed_all_the_same() -> None:
    world = scripted(dynamic([]), a="hang")
    world.undying = {"a"}
    request = world.ask(ev.StartChildAsked, child("a", start_timeout_s=2.0))
    world.advance(2)
    world.ready("a")
    assert world.outcome(request) == "waiting"
    world.die("a", "killed")
    assert world.outcome(request) == "start_failed"


def test_the_first_restart_is_at_once_the_next_ones_back_off_and_nobody_else_does() -> None:
    world = dynamic([child("a", backoff=Backoff(initial_s=1.0, jitter=0.0)), *children("b")], max_restarts=99)
    world.did()
    world.crash("a")
    assert world.did() == ["start a"]
    world.crash("a")
    world.crash("b")
    assert world.did() == ["start b"]
    world.advance(1)
    assert world.did() == ["start a"]


def test_a_child_that_becomes_ready_or_ignores_while_it_is_stopped_is_stopped() -> None:
    world = scripted(dynamic([]), a="hang", b="hang")
    world.stubborn = {"a", "b"}
    for id in "ab":
        world.ask(ev.StartChildAsked, child(id, shutdown=INFINITY))
    world.shutdown()
    world.ready("a")
    world.deliver(ev.ChildIgnored(ChildId("b"), world.alive.pop(ChildId("b"))))
    world.advance(100)
    assert world.kills == []
    assert world.ending is None
    world.die("a", "shutdown")
    assert world.ending is not None


def test_an_exit_while_a_restart_is_due_is_no_news() -> None:
    world = dynamic([child("a", backoff=Backoff())], max_restarts=9)
    world.crash("a")
    world.crash("a")
    assert world.machine.handle(ev.ChildExited(ChildId("a"), Incarnation(2), "killed"), world.now) == []
