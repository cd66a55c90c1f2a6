import pytest
from core.world import ERROR, World, child, children, scripted

from dspex_runtime.core import events as ev
from dspex_runtime.core.child_spec import Backoff
from dspex_runtime.core.instructions import Err, Started
from dspex_runtime.types import ChildId, Incarnation


def in_state(state: str, strategy: str = "one_for_one") -> World:
    """Return a world whose child `a` is in a state, and `b` is running."""
    world = World([child("a", "transient", backoff=Backoff()), child("b")], strategy, max_restarts=9)
    if state == "ignored":
        return scripted(world, a="ignore").boot()
    world.boot()
    match state:
        case "stopped":
            world.answer(ev.TerminateChildAsked, "a")
        case "exited":
            world.crash("a", reason="normal")
        case "restarting":
            world.crash("a")
            world.crash("a")
    world.did()
    return world


START, RESTART, DELETE, TERMINATE = ev.StartChildAsked, ev.RestartChildAsked, ev.DeleteChildAsked, ev.TerminateChildAsked
STARTED = "started"
ANSWERS = [
    # state, start_child, restart_child, delete_child, terminate_child
    ("running", "already_started", "running", "running", None),
    ("stopped", "already_present", STARTED, None, None),
    ("exited", "already_present", STARTED, None, None),
    ("ignored", "already_present", STARTED, None, None),
    ("restarting", "already_present", "restarting", "restarting", None),
]


@pytest.mark.parametrize(
    ("state", "request_type", "expected"),
    [(row[0], kind, answer) for row in ANSWERS for kind, answer in zip([START, RESTART, DELETE, TERMINATE], row[1:], strict=True)],
    ids=lambda value: value.__name__ if isinstance(value, type) else str(value),
)
def test_answers_in_each_state(state: str, request_type: type[object], expected: object) -> None:
    world = in_state(state)
    answer = world.answer(request_type, child("a") if request_type is START else "a")
    assert (STARTED if isinstance(answer, Started) else answer) == expected


@pytest.mark.parametrize("request_type", [RESTART, DELETE, TERMINATE, ev.CycleChildAsked, ev.GetChildSpecAsked])
def test_an_unknown_id_is_not_found(request_type: type[object]) -> None:
    world = World(children("ab")).boot()
    number = world.ask(request_type, "x")
    assert world.replies[number] == Err("not_found", "no child 'x'; the supervisor's children: a, b")


# start_child


def test_a_started_child_is_last_and_the_answer_comes_when_it_is_ready() -> None:
    world = scripted(World(children("ab")).boot(), c="hang")
    request = world.ask(START, child("c"))
    assert world.outcome(request) == "waiting"
    world.ready("c")
    assert world.outcome(request) == Started(ChildId("c"), Incarnation(1), 100)
    assert world.shown() == "a:READY b:READY c:READY"


def test_a_start_child_that_fails_forgets_the_spec_and_tells_the_childs_own_error() -> None:
    world = scripted(World(children("ab"), max_restarts=0).boot(), c="fail")
    number = world.ask(START, child("c"))
    reply = world.replies[number]
    assert isinstance(reply, Err)
    assert (reply.code, reply.reason, reply.error) == ("start_failed", ERROR, {"class": "StartError"})
    assert world.deleted == ["c"]
    assert world.running() == "ab"
    assert [report for report in world.reports if report[0] == "start_error"] == []


@pytest.mark.parametrize(("restart", "shown"), [("permanent", "EXITED"), ("temporary", "gone")])
def test_a_start_child_that_ignores_answers_undefined(restart: str, shown: str) -> None:
    world = scripted(World([]).boot(), c="ignore")
    assert world.answer(START, child("c", restart)) == "undefined"
    assert world.state("c") == shown


# restart_child


def test_a_restart_child_that_fails_keeps_the_spec_and_is_neither_counted_nor_retried() -> None:
    world = World(children("ab"), max_restarts=0).boot()
    world.answer(TERMINATE, "a")
    scripted(world, a="fail ready")
    assert world.answer(RESTART, "a") == "start_failed"
    assert world.state("a") == "FAILED"
    assert isinstance(world.answer(RESTART, "a"), Started)
    assert world.running() == "ab"


def test_manual_restarts_never_count() -> None:
    world = World(children("a"), max_restarts=0).boot()
    for _ in range(10):
        world.answer(TERMINATE, "a")
        world.answer(RESTART, "a")
        world.answer(ev.CycleChildAsked, "a")
    assert world.running() == "a"


def test_a_manual_start_ends_the_crash_loop_of_back_off() -> None:
    world = in_state("restarting")
    world.answer(TERMINATE, "a")
    world.answer(RESTART, "a")
    world.did()
    world.crash("a")
    assert world.did() == ["start a"]


# terminate_child


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_terminate_child_touches_no_sibling(strategy: str) -> None:
    world = World(children("abc"), strategy, max_restarts=0).boot()
    world.did()
    assert world.answer(TERMINATE, "a") is None
    assert world.did() == ["stop a"]
    assert world.shown() == "a:STOPPED b:READY c:READY"


def test_terminate_child_deletes_a_temporary_child() -> None:
    world = World([child("t", "temporary")]).boot()
    assert world.answer(TERMINATE, "t") is None
    assert world.deleted == ["t"]


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all"])
def test_terminate_child_cancels_a_restart_that_is_due(strategy: str) -> None:
    world = in_state("restarting", strategy)
    assert world.answer(TERMINATE, "a") is None
    world.advance(1000)
    assert world.did() == []
    assert world.state("a") == "STOPPED"


def test_siblings_that_waited_for_a_restart_that_was_cancelled_are_shown_as_stopped() -> None:
    world = in_state("restarting", "one_for_all")
    assert world.shown() == "a:BACKOFF b:PENDING"
    world.answer(TERMINATE, "a")
    assert world.shown() == "a:STOPPED b:STOPPED"


def test_a_retry_without_back_off_is_cancelled_too() -> None:
    world = World(children("ab")).boot()
    scripted(world, a="hang ready")
    world.crash("a")
    request = world.ask(TERMINATE, "a")
    world.fail("a")
    assert world.outcome(request) is None
    assert world.did() == ["start a", "start b", "start a"]


def test_a_restart_that_came_due_behind_a_terminate_child_is_not_made() -> None:
    world = in_state("restarting")
    scripted(world, b="hang")
    world.crash("b")
    request = world.ask(TERMINATE, "a")
    world.advance(1)
    world.ready("b")
    assert world.outcome(request) is None
    assert world.shown() == "a:STOPPED b:READY"


# cycle


def test_a_cycle_stops_and_starts_one_child() -> None:
    world = World(children("abc"), "one_for_all", max_restarts=0).boot()
    world.did()
    assert world.answer(ev.CycleChildAsked, "a") == Started(ChildId("a"), Incarnation(2), 100)
    assert world.did() == ["stop a", "start a"]


def test_a_cycle_starts_a_child_that_was_not_running() -> None:
    world = in_state("stopped")
    assert isinstance(world.answer(ev.CycleChildAsked, "a"), Started)


def test_a_cycle_keeps_a_temporary_child() -> None:
    world = World([child("t", "temporary")]).boot()
    assert isinstance(world.answer(ev.CycleChildAsked, "t"), Started)
    assert world.shown() == "t:READY"


@pytest.mark.parametrize(("restart", "shown"), [("permanent", "FAILED"), ("temporary", "gone")])
def test_a_cycle_whose_start_fails_leaves_the_child_down(restart: str, shown: str) -> None:
    world = World([child("a", restart), child("b")], max_restarts=0).boot()
    scripted(world, a="fail")
    assert world.answer(ev.CycleChildAsked, "a") == "start_failed"
    assert world.state("a") == shown
    assert world.running() == "b"


@pytest.mark.parametrize(("strategy", "starts"), [("one_for_one", ["start a"]), ("one_for_all", ["start a", "start b"])])
def test_a_cycle_brings_a_restart_that_is_due_forward(strategy: str, starts: list[str]) -> None:
    world = in_state("restarting", strategy)
    assert isinstance(world.answer(ev.CycleChildAsked, "a"), Started)
    assert world.did() == starts
    world.advance(1000)
    assert world.did() == []


def test_a_restart_brought_forward_that_fails_is_answered_and_retried_by_policy() -> None:
    world = in_state("restarting", "one_for_all")
    scripted(world, a="fail ready")
    assert world.answer(ev.CycleChildAsked, "a") == "start_failed"
    assert world.state("a") == "BACKOFF"
    world.advance(1000)
    assert world.running() == "ab"


def test_a_restart_brought_forward_that_fails_before_its_turn_is_answered_too() -> None:
    world = World([child("a"), child("b", backoff=Backoff())], "one_for_all", max_restarts=9).boot()
    world.crash("b")
    world.crash("b")
    scripted(world, a="fail ready")
    assert world.answer(ev.CycleChildAsked, "b") == "start_failed"
    assert world.running() == "ab"


# waiting


def test_requests_to_a_busy_supervisor_queue_and_are_answered_in_order() -> None:
    world = World(children("abc"), "one_for_all").boot()
    world.stubborn = {"c"}
    world.crash("a")
    requests = [world.ask(ev.CountChildrenAsked), world.ask(TERMINATE, "b"), world.ask(ev.CountChildrenAsked)]
    assert [world.outcome(request) for request in requests] == ["waiting"] * 3
    world.stubborn.clear()
    world.die("c", "shutdown")
    first, _, last = (world.outcome(request) for request in requests)
    assert (first["active"], last["active"]) == (3, 2)
    assert list(world.replies) == requests


def test_requests_before_the_boot_are_answered_after_it() -> None:
    world = World(children("ab"))
    request = world.ask(ev.CountChildrenAsked)
    assert world.outcome(request) == "waiting"
    world.boot()
    assert world.outcome(request)["active"] == 2


def test_requests_during_a_boot_that_fails_are_refused() -> None:
    world = scripted(World(children("ab")), b="hang").boot()
    request = world.ask(ev.CountChildrenAsked)
    world.fail("b")
    assert world.outcome(request) == "shutdown"


def test_a_request_about_a_child_that_died_behind_it_takes_the_death_in() -> None:
    world = World(children("abc")).boot()
    scripted(world, a="hang")
    world.crash("a")
    requests = [world.ask(RESTART, "b"), world.ask(TERMINATE, "b"), world.ask(TERMINATE, "c")]
    world.crash("b", "c")
    world.did()
    world.ready("a")
    assert [world.outcome(request) for request in requests] == ["running", None, None]
    assert world.did() == []
    assert world.shown() == "a:READY b:STOPPED c:STOPPED"
