"""OTP semantics §1.11: what a dynamic supervisor answers."""

from __future__ import annotations

import pytest
from core.world import ERROR, World, child, children, dynamic, scripted

from dspex_runtime.core import events as ev
from dspex_runtime.core.child_spec import Backoff
from dspex_runtime.core.instructions import Err, Started
from dspex_runtime.types import ChildId, Incarnation, Kind

START, TERMINATE, CYCLE = ev.StartChildAsked, ev.TerminateChildAsked, ev.CycleChildAsked


def restarting() -> World:
    """Return a world whose child `a` waits for its restart, and `b` runs."""
    world = dynamic([child("a", backoff=Backoff()), child("b")], max_restarts=9)
    world.crash("a")
    world.crash("a")
    assert world.shown() == "a:BACKOFF b:READY"
    world.did()
    return world


# start_child


def test_1_11_each_start_child_has_a_spec_of_its_own() -> None:
    first, second = child("a", "transient", version="1"), child("b", "temporary", kind=Kind.SUPERVISOR)
    world = dynamic([first, second])
    assert world.answer(ev.GetChildSpecAsked, "a") == first
    assert world.answer(ev.GetChildSpecAsked, "b") == second


def test_1_11_starts_run_at_the_same_time_and_delay_nobody() -> None:
    world = scripted(dynamic([]), a="hang", b="hang")
    slow = [world.ask(START, child(id)) for id in "ab"]
    quick = world.ask(START, child("c"))
    assert world.did() == ["start a", "start b", "start c"]
    assert world.outcome(quick) == Started(ChildId("c"), Incarnation(1), 100)
    assert world.answer(TERMINATE, "c") is None
    assert [world.outcome(number) for number in slow] == ["waiting", "waiting"]
    world.ready("b")
    world.fail("a")
    assert [world.outcome(number) for number in slow] == ["start_failed", Started(ChildId("b"), Incarnation(1), 100)]


def test_1_11_a_start_that_fails_stores_nothing_counts_nothing_and_is_not_retried() -> None:
    world = scripted(dynamic([], max_restarts=0), a="fail")
    number = world.ask(START, child("a"))
    reply = world.replies[number]
    assert isinstance(reply, Err)
    assert (reply.code, reply.reason, reply.error, reply.child_id) == ("start_failed", ERROR, {"class": "StartError"}, "a")
    assert world.deleted == ["a"]
    assert world.machine.children == ()
    assert world.reports == []
    assert world.did() == ["start a"]


@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
def test_1_11_a_start_that_ignores_answers_undefined_and_stores_nothing(restart: str) -> None:
    world = scripted(dynamic([]), a="ignore")
    assert world.answer(START, child("a", restart)) == "undefined"
    assert world.machine.children == ()
    assert world.deleted == ["a"]


def test_an_id_that_exists_is_refused() -> None:
    world = restarting()
    assert world.answer(START, child("b")) == "already_started"
    assert world.answer(START, child("a")) == "already_present"


# max_children


def test_1_11_max_children_counts_those_that_start_run_or_are_restarting() -> None:
    world = dynamic([child("a", backoff=Backoff()), child("b")], max_restarts=9, max_children=3)
    world.crash("a")
    world.crash("a")
    scripted(world, c="hang")
    world.ask(START, child("c"))
    assert world.shown() == "a:BACKOFF b:READY c:STARTING"
    number = world.ask(START, child("d"))
    assert world.replies[number] == Err(
        "max_children", "the supervisor has 3 children, restarting ones included; max_children is 3"
    )
    assert world.answer(START, child("a")) == "max_children"


@pytest.mark.parametrize("how", ["terminate", "normal", "fail", "ignore"])
def test_1_11_a_child_that_is_gone_makes_room(how: str) -> None:
    world = dynamic([], max_children=1)
    match how:
        case "terminate":
            world.ask(START, child("a"))
            world.answer(TERMINATE, "a")
        case "normal":
            world.ask(START, child("a", "transient"))
            world.crash("a", reason="normal")
        case outcome:
            scripted(world, a=outcome).ask(START, child("a"))
    assert isinstance(world.answer(START, child("b")), Started)


def test_1_11_a_child_that_is_being_stopped_still_counts() -> None:
    world = dynamic(children("a"), max_children=1)
    world.stubborn = {"a"}
    world.ask(TERMINATE, "a")
    assert world.answer(START, child("b")) == "max_children"


def test_1_11_max_children_0_allows_none() -> None:
    assert dynamic([], max_children=0).answer(START, child("a")) == "max_children"


# terminate_child


@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
def test_1_11_terminate_child_forgets_the_child_whatever_its_restart_type(restart: str) -> None:
    world = dynamic([child("a", restart), child("b")], max_restarts=0)
    assert world.answer(TERMINATE, "a") is None
    assert world.shown() == "b:READY"
    assert world.deleted == ["a"]


def test_1_11_terminate_child_of_an_unknown_or_dead_child_is_not_found() -> None:
    world = dynamic([child("a", "temporary"), child("b")])
    world.crash("a")
    number = world.ask(TERMINATE, "a")
    assert world.replies[number] == Err("not_found", "no child 'a'; the supervisor's children: b")
    assert world.answer(TERMINATE, "x") == "not_found"


def test_1_11_terminate_child_of_a_restarting_child_cancels_it() -> None:
    world = restarting()
    assert world.answer(TERMINATE, "a") is None
    assert not world.timers.keys() & {timer for timer in world.timers if timer.kind is ev.TimerKind.BACKOFF}
    world.advance(1000)
    assert world.did() == []
    assert world.shown() == "b:READY"


def test_1_11_a_retry_is_cancelled_by_a_terminate_child_that_came_before_it() -> None:
    world = scripted(dynamic(children("a"), max_restarts=9), a="hang")
    world.crash("a")
    requests = [world.ask(TERMINATE, "a"), world.ask(TERMINATE, "a")]
    world.fail("a")
    assert [world.outcome(number) for number in requests] == [None, "not_found"]
    assert world.did() == ["start a", "start a"]


def test_requests_about_one_child_are_served_in_order_and_others_do_not_wait() -> None:
    world = dynamic(children("ab"))
    world.stubborn = {"a"}
    requests = [world.ask(CYCLE, "a"), world.ask(TERMINATE, "a"), world.ask(CYCLE, "a")]
    assert world.answer(TERMINATE, "b") is None
    assert [world.outcome(number) for number in requests] == ["waiting"] * 3
    world.stubborn.clear()
    world.die("a", "shutdown")
    assert [world.outcome(number) for number in requests] == [Started(ChildId("a"), Incarnation(2), 100), None, "not_found"]


def test_a_request_about_a_child_that_is_coming_up_waits_for_it() -> None:
    world = scripted(dynamic([]), a="hang")
    requests = [world.ask(START, child("a")), world.ask(TERMINATE, "a")]
    assert [world.outcome(number) for number in requests] == ["waiting", "waiting"]
    world.ready("a")
    assert [world.outcome(number) for number in requests] == [Started(ChildId("a"), Incarnation(1), 100), None]


def test_a_request_about_a_child_whose_start_fails_finds_nobody() -> None:
    world = scripted(dynamic([]), a="hang")
    world.ask(START, child("a"))
    request = world.ask(TERMINATE, "a")
    world.fail("a")
    assert world.outcome(request) == "not_found"


# restart_child and delete_child do not exist


@pytest.mark.parametrize("request_type", [ev.RestartChildAsked, ev.DeleteChildAsked])
@pytest.mark.parametrize("id", ["a", "x"])
def test_1_11_restart_child_and_delete_child_are_refused(request_type: type[object], id: str) -> None:
    world = dynamic(children("a"))
    number = world.ask(request_type, id)
    reply = world.replies[number]
    assert isinstance(reply, Err)
    assert reply.code == "dynamic"
    assert "use start_child" in reply.message


# cycle


def test_a_cycle_stops_and_starts_the_child_and_counts_nothing() -> None:
    world = dynamic([child("a", "temporary")], max_restarts=0)
    world.did()
    assert world.answer(CYCLE, "a") == Started(ChildId("a"), Incarnation(2), 100)
    assert world.did() == ["stop a", "start a"]


@pytest.mark.parametrize(("outcome", "answer"), [("fail", "start_failed"), ("ignore", "undefined")])
def test_a_cycle_whose_start_does_not_come_up_leaves_nothing(outcome: str, answer: str) -> None:
    world = scripted(dynamic(children("ab"), max_restarts=0), a=outcome)
    assert world.answer(CYCLE, "a") == answer
    assert world.shown() == "b:READY"


def test_a_cycle_brings_a_restart_that_is_due_forward() -> None:
    world = restarting()
    assert world.answer(CYCLE, "a") == Started(ChildId("a"), Incarnation(3), 100)
    world.advance(1000)
    assert world.did() == ["start a"]


def test_a_restart_brought_forward_that_fails_is_answered_and_retried_by_policy() -> None:
    world = scripted(restarting(), a="fail ready")
    assert world.answer(CYCLE, "a") == "start_failed"
    assert world.state("a") == "BACKOFF"
    world.advance(1000)
    assert world.running() == "ab"


# queries


def test_1_11_counts_are_of_children_and_active_excludes_restarting() -> None:
    world = restarting()
    world.ask(START, child("g", kind=Kind.SUPERVISOR))
    assert world.answer(ev.CountChildrenAsked) == {"specs": 3, "active": 2, "supervisors": 1, "workers": 2}


def test_1_11_which_children_shows_who_is_restarting_and_who_is_coming_up() -> None:
    world = scripted(restarting(), a="hang", c="hang")
    world.ask(START, child("c"))
    assert world.answer(ev.WhichChildrenAsked) == [
        ("c", "undefined", "worker"),
        ("b", 100, "worker"),
        ("a", "restarting", "worker"),
    ]
    world.advance(1)
    assert world.state("a") == "STARTING"
    assert world.answer(ev.WhichChildrenAsked)[-1] == ("a", "restarting", "worker")
    assert world.answer(ev.CountChildrenAsked)["active"] == 1


def test_get_childspec_of_an_unknown_child_is_not_found() -> None:
    assert dynamic([]).answer(ev.GetChildSpecAsked, "a") == "not_found"
