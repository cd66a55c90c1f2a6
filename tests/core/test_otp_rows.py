"""OTP semantics §1.2–1.8: the rows of supervisors with children in a spec that no other test here shows, by section.

Elsewhere: strategies and windows in test_supervision, API answers in test_requests and test_answers, boot and shutdown in
test_runner, stops in test_termination, §1.9 in test_significance, §1.11 in test_dynamic_*.
"""

from __future__ import annotations

import pytest
from core.world import ERROR, World, child, children, dynamic, scripted

from dspex_runtime.core import events as ev
from dspex_runtime.core.child_spec import BRUTAL_KILL, INFINITY, Backoff, ChildSpec, Shutdown, SupervisorSpec
from dspex_runtime.core.instructions import Exited, Started
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.types import ChildId, Kind

CLEAN: list[ExitReason] = ["normal", "shutdown", ("shutdown", "done")]
ABNORMAL: list[ExitReason] = ["killed", "noproc", ("signal", "SEGV"), ("exit_status", 3), ERROR, ("limit", "memory", "2 GiB")]
GAVE_UP = Exited("shutdown", gave_up=True)

# 1.1 defaults


def test_1_1_and_1_11_the_defaults_are_elixirs_budget_and_otps_child_spec() -> None:
    supervisor, worker = SupervisorSpec(), ChildSpec(ChildId("a"), Kind.SERVER)
    assert (supervisor.max_restarts, supervisor.max_seconds, supervisor.auto_shutdown.value) == (3, 5.0, "never")
    assert (worker.restart.value, worker.shutdown.timeout_s, worker.shutdown.brutal, worker.significant) == (
        "permanent",
        5.0,
        False,
        False,
    )


# 1.2 what a child's death does

DEATHS = [
    # restart type, reasons, what is done, what is shown, reported
    ("permanent", CLEAN + ABNORMAL, ["start c"], "READY", True),
    ("transient", CLEAN, [], "EXITED", False),
    ("transient", ABNORMAL, ["start c"], "READY", True),
    ("temporary", CLEAN, [], "gone", False),
    ("temporary", ABNORMAL, [], "gone", True),
]


@pytest.mark.parametrize(
    ("restart", "reason", "done", "shown", "reported"),
    [(r, why, d, s, rep) for r, whys, d, s, rep in DEATHS for why in whys],
    ids=str,
)
def test_1_2_what_a_childs_death_does(restart: str, reason: ExitReason, done: list[str], shown: str, reported: bool) -> None:
    world = World([*children("ab"), child("c", restart), *children("de")]).boot()
    world.did()
    world.crash("c", reason=reason)
    assert world.did() == done
    assert world.state("c") == shown
    assert (("child_terminated", "c", reason) in world.reports) is reported


def test_1_2_a_transient_child_that_finished_keeps_its_spec_and_can_be_restarted() -> None:
    world = World([child("a", "transient")]).boot()
    world.crash("a", reason="normal")
    assert world.answer(ev.WhichChildrenAsked) == [("a", "undefined", "worker")]
    assert isinstance(world.answer(ev.RestartChildAsked, "a"), Started)


# 1.3 strategies, exactly

ORDERS = [
    ("one_for_one", "a", "", "a"),
    ("one_for_one", "e", "", "e"),
    ("rest_for_one", "b", "edc", "bcde"),
    ("rest_for_one", "d", "e", "de"),
    ("one_for_all", "a", "edcb", "abcde"),
    ("one_for_all", "b", "edca", "abcde"),
    ("one_for_all", "d", "ecba", "abcde"),
]


@pytest.mark.parametrize(("strategy", "dead", "stops", "starts"), ORDERS)
def test_1_3_the_order_of_a_restart_of_five(strategy: str, dead: str, stops: str, starts: str) -> None:
    world = World(children("abcde"), strategy).boot()
    world.did()
    world.crash(dead)
    assert world.did() == [f"stop {id}" for id in stops] + [f"start {id}" for id in starts]


@pytest.mark.parametrize("strategy", ["rest_for_one", "one_for_all"])
def test_1_3_each_stop_of_a_sweep_waits_for_the_death_before_it_and_each_start_for_the_one_before(strategy: str) -> None:
    world = World(children("abc"), strategy).boot()
    world.stubborn = {"b", "c"}
    scripted(world, a="hang", b="hang")
    world.did()
    world.crash("a")
    assert world.did() == ["stop c"]
    world.die("c", "shutdown")
    assert world.did() == ["stop b"]
    world.die("b", "shutdown")
    assert world.did() == ["start a"]
    world.ready("a")
    assert world.did() == ["start b"]
    world.ready("b")
    assert world.did() == ["start c"]


def mixed(strategy: str) -> World:
    """Return five children of which only `a` and `d` run; `t` runs too and is temporary."""
    specs = [child("a"), child("n", "transient"), child("t", "temporary"), child("d"), child("s"), child("i")]
    world = scripted(World(specs, strategy), i="ignore").boot()
    world.crash("n", reason="normal")
    world.answer(ev.TerminateChildAsked, "s")
    assert world.shown() == "a:READY n:EXITED t:READY d:READY s:STOPPED i:EXITED"
    world.did()
    return world


@pytest.mark.parametrize(
    ("strategy", "dead", "expected"),
    [
        ("one_for_one", "a", ["start a"]),
        ("one_for_all", "d", ["stop t", "stop a", "start a", "start n", "start d", "start s", "start i"]),
        ("rest_for_one", "a", ["stop d", "stop t", "start a", "start n", "start d", "start s", "start i"]),
        ("rest_for_one", "d", ["start d", "start s", "start i"]),
    ],
)
def test_1_3_consequences_1_and_2_temporary_siblings_go_and_all_others_in_range_come_back(
    strategy: str, dead: str, expected: list[str]
) -> None:
    world = mixed(strategy)
    world.crash(dead)
    assert world.did() == expected
    assert world.deleted == (["t"] if "stop t" in expected else [])


def test_1_3_consequence_2_a_supervisor_stopped_by_terminate_child_comes_back_with_a_sweep() -> None:
    world = World([child("g", kind=Kind.SUPERVISOR), child("a")], "one_for_all").boot()
    world.answer(ev.TerminateChildAsked, "g")
    world.crash("a")
    assert world.running() == "ga"


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_1_3_consequence_3_a_sweep_of_five_is_one_restart(strategy: str) -> None:
    world = World(children("abcde"), strategy, max_restarts=1).boot()
    world.crash("a")
    assert world.running() == "abcde"
    world.crash("a")
    assert world.ending == GAVE_UP


THREE_AT_ONCE = [
    # strategy, who died in the order of the news, restarts counted
    ("one_for_one", "bce", 3),
    ("one_for_all", "ebc", 1),
    ("rest_for_one", "bce", 1),
    ("rest_for_one", "ecb", 3),
    ("rest_for_one", "ceb", 2),
    ("rest_for_one", "ebc", 2),
]


@pytest.mark.parametrize(("strategy", "dead", "counted"), THREE_AT_ONCE)
def test_1_3_consequence_4_three_deaths_at_the_same_time(strategy: str, dead: str, counted: int) -> None:
    within = World(children("abcde"), strategy, max_restarts=counted).boot()
    within.crash(*dead)
    assert within.running() == "abcde"
    beyond = World(children("abcde"), strategy, max_restarts=counted - 1).boot()
    beyond.crash(*dead)
    assert beyond.ending == GAVE_UP


def test_1_3_consequence_4_the_news_of_a_death_found_by_a_sweep_is_consumed_whoever_brings_it_and_when() -> None:
    world = World(children("abcd"), "one_for_all", max_restarts=1).boot()
    world.stubborn = {"d"}
    world.did()
    world.crash("a")
    world.crash("b", "c")
    world.die("d", "shutdown")
    assert world.did() == ["stop d", "start a", "start b", "start c", "start d"]
    assert world.ending is None


# 1.4 the window


def test_1_4_intensity_0_gives_up_at_the_first_death_and_starts_nothing() -> None:
    world = World(children("abc"), max_restarts=0).boot()
    world.did()
    world.crash("b")
    assert world.did() == ["stop c", "stop a"]
    assert world.ending == GAVE_UP


def test_1_4_all_children_share_one_window() -> None:
    world = World(children("abcd"), max_restarts=3).boot()
    for id in "abc":
        world.crash(id)
    assert world.ending is None
    world.crash("d")
    assert world.ending == GAVE_UP


def test_1_4_what_was_used_of_the_window_can_be_asked_and_asking_counts_nothing() -> None:
    world = World(children("ab"), max_restarts=3, max_seconds=5.0).boot()
    world.crash("a")
    world.advance(3)
    world.crash("b")
    assert [world.machine.restarts_within(now) for now in (3.0, 5.0, 5.1, 8.1)] == [2, 2, 1, 0]


def test_1_4_a_restart_is_counted_when_it_is_decided_not_when_it_succeeds() -> None:
    world = World(children("ab"), max_restarts=1, max_seconds=5.0).boot()
    scripted(world, a="hang")
    world.crash("a")
    world.advance(4)
    world.crash("b")
    world.ready("a")
    assert world.ending == GAVE_UP


def test_1_4_a_cycle_that_takes_longer_than_the_window_goes_on_for_ever() -> None:
    world = World(children("a"), max_restarts=1, max_seconds=5.0).boot()
    scripted(world, a=" ".join(["hang"] * 20))
    for _ in range(20):
        world.crash("a")
        world.advance(5.1)
        world.ready("a")
    assert world.ending is None


# 1.5 giving up

SUPERVISORS = [
    # restart type of the supervisor that gave up, its parent
    ("permanent", ["start g"], "READY"),
    ("transient", [], "EXITED"),
    ("temporary", [], "gone"),
]


@pytest.mark.parametrize(("restart", "done", "shown"), SUPERVISORS)
def test_1_5_what_its_parent_does_about_a_supervisor_that_gave_up(restart: str, done: list[str], shown: str) -> None:
    world = World([child("g", restart, kind=Kind.SUPERVISOR), child("a")]).boot()
    world.did()
    world.crash("g", reason=GAVE_UP.reason)
    assert world.did() == done
    assert world.state("g") == shown


def test_1_5_the_restarts_before_the_root_gives_up_are_the_product_of_the_intensities() -> None:
    def inner() -> World:
        return World(children("ab"), max_restarts=3).boot()

    root, group, deaths = World([child("g", kind=Kind.SUPERVISOR)], max_restarts=2).boot(), inner(), 0
    while root.ending is None:
        group.crash("a")
        deaths += 1
        if group.ending is not None:
            root.crash("g", reason=group.ending.reason)  # type: ignore[union-attr]
            group = inner()
    assert deaths == (3 + 1) * (2 + 1)


@pytest.mark.parametrize("strategy", ["one_for_one", "rest_for_one", "one_for_all"])
def test_1_5_giving_up_stops_all_in_reverse_each_in_its_own_way(strategy: str) -> None:
    specs = [
        child("a", shutdown=INFINITY),
        child("b", shutdown=BRUTAL_KILL),
        child("c", shutdown=Shutdown(timeout_s=1.0)),
        child("d"),
    ]
    world = World(specs, strategy, max_restarts=0).boot()
    world.stubborn = {"c"}
    world.did()
    world.crash("d")
    world.advance(1)
    assert world.did() == ["stop c", "kill c", "kill b", "stop a"]
    assert world.ending == GAVE_UP


# 1.6 failed restarts


def test_1_6_under_rest_for_one_the_retry_moves_with_the_child_that_fails() -> None:
    world = World(children("abcde"), "rest_for_one", max_restarts=9).boot()
    scripted(world, c="fail ready", d="fail ready")
    world.did()
    world.crash("b")
    swept = ["stop e", "stop d", "stop c", "start b", "start c"]
    assert world.did() == [*swept, "start c", "start d", "start d", "start e"]
    assert world.running() == "abcde"


def test_1_6_under_one_for_all_each_retry_is_a_sweep_and_counts() -> None:
    world = World(children("abc"), "one_for_all", max_restarts=3).boot()
    scripted(world, c="fail fail ready")
    world.did()
    world.crash("a")
    sweep = ["stop b", "stop a", "start a", "start b", "start c"]
    assert world.did() == ["stop c", "stop b", "start a", "start b", "start c", *sweep, *sweep]


def test_1_6_under_one_for_all_a_child_that_died_waits_for_the_retry_of_one_before_it_and_is_down_when_that_is_cancelled() -> None:
    world = World(children("abc"), "one_for_all", max_restarts=9).boot()
    scripted(world, a="hang")
    world.crash("b")
    asked = [world.ask(ev.WhichChildrenAsked), world.ask(ev.TerminateChildAsked, "a"), world.ask(ev.RestartChildAsked, "b")]
    world.fail("a")
    assert world.outcome(asked[0]) == [("c", "undefined", "worker"), ("b", "undefined", "worker"), ("a", "restarting", "worker")]
    assert world.outcome(asked[1]) is None
    assert isinstance(world.outcome(asked[2]), Started)
    assert world.shown() == "a:STOPPED b:READY c:STOPPED"


def test_1_6_a_child_before_the_pivot_that_dies_meanwhile_takes_the_retry_along() -> None:
    world = World(children("abcd"), "rest_for_one", max_restarts=9).boot()
    scripted(world, c="hang ready")
    world.did()
    world.crash("c")
    world.crash("a")
    assert world.did() == ["stop d", "start c"]
    world.fail("c")
    assert world.did() == ["stop b", "start a", "start b", "start c", "start d"]
    assert world.machine.restarts_within(world.now) == 2


def test_1_6_while_a_retry_waits_its_turn_the_child_is_restarting() -> None:
    world = World(children("ab"), max_restarts=9).boot()
    scripted(world, a="hang ready")
    world.crash("a")
    asked = [
        world.ask(ev.StartChildAsked, child("a")),
        world.ask(ev.RestartChildAsked, "a"),
        world.ask(ev.DeleteChildAsked, "a"),
        world.ask(ev.WhichChildrenAsked),
        world.ask(ev.CountChildrenAsked),
    ]
    world.fail("a")
    assert [world.outcome(number) for number in asked] == [
        "already_present",
        "restarting",
        "restarting",
        [("b", 100, "worker"), ("a", "restarting", "worker")],
        {"specs": 2, "active": 1, "supervisors": 0, "workers": 2},
    ]
    assert world.running() == "ab"


def test_1_6_a_shutdown_is_served_between_attempts() -> None:
    world = World(children("ab"), max_restarts=9).boot()
    scripted(world, a="fail hang")
    world.did()
    world.crash("a")
    world.shutdown()
    assert world.did() == ["start a", "start a", "stop b", "stop a"]
    assert world.ending == Exited("shutdown")


# 1.7 answers


def test_1_7_a_restart_child_that_ignores_answers_undefined_and_keeps_the_spec() -> None:
    world = World(children("ab")).boot()
    world.answer(ev.TerminateChildAsked, "a")
    scripted(world, a="ignore")
    assert world.answer(ev.RestartChildAsked, "a") == "undefined"
    assert world.state("a") == "EXITED"
    assert isinstance(world.answer(ev.RestartChildAsked, "a"), Started)


def test_1_7_a_child_that_ended_and_was_not_handled_yet_still_has_its_pid() -> None:
    world = World([child("a"), child("b", "transient")]).boot()
    scripted(world, a="hang")
    world.crash("a")
    asked = [world.ask(ev.WhichChildrenAsked), world.ask(ev.RestartChildAsked, "b"), world.ask(ev.StartChildAsked, child("b"))]
    world.crash("b", reason="normal")
    world.ready("a")
    assert [world.outcome(number) for number in asked] == [
        [("b", None, "worker"), ("a", 100, "worker")],
        "running",
        "already_started",
    ]


@pytest.mark.parametrize("is_dynamic", [False, True])
def test_1_7_which_child_tells_of_one_child_what_which_children_tells_of_all(is_dynamic: bool) -> None:
    specs = [child("a", backoff=Backoff()), child("g", kind=Kind.SUPERVISOR)]
    world = dynamic(specs, max_restarts=9) if is_dynamic else World(specs, max_restarts=9).boot()
    world.crash("a")
    world.crash("a")
    assert world.answer(ev.WhichChildAsked, "a") == ("a", "restarting", "worker")
    assert world.answer(ev.WhichChildAsked, "g") == ("g", 100, "supervisor")
    assert world.answer(ev.WhichChildAsked, "x") == "not_found"


def test_1_7_terminate_child_blocks_the_supervisor_until_the_child_is_dead() -> None:
    world = World(children("abc"), "one_for_all").boot()
    world.stubborn = {"a"}
    world.did()
    requests = [world.ask(ev.TerminateChildAsked, "a"), world.ask(ev.WhichChildrenAsked)]
    world.crash("c")
    assert [world.outcome(number) for number in requests] == ["waiting", "waiting"]
    assert world.did() == ["stop a"]
    world.die("a", "shutdown")
    assert world.outcome(requests[0]) is None
    assert world.did() == ["stop b", "start a", "start b", "start c"]


# 1.8 terminating

STOPPED_WITH = [
    # restart type, shutdown, with what it ends, reported
    ("permanent", Shutdown(timeout_s=5.0), "shutdown", False),
    ("permanent", Shutdown(timeout_s=5.0), "normal", True),
    ("permanent", INFINITY, ("shutdown", 1), True),
    ("transient", INFINITY, "normal", False),
    ("transient", Shutdown(timeout_s=5.0), ("shutdown", 1), False),
    ("temporary", Shutdown(timeout_s=5.0), ERROR, True),
    ("temporary", Shutdown(timeout_s=5.0), "normal", False),
    ("transient", Shutdown(timeout_s=5.0), "noproc", True),
]


@pytest.mark.parametrize(("restart", "shutdown", "reason", "reported"), STOPPED_WITH, ids=str)
def test_1_8_ends_that_are_not_clean_are_reported_and_change_nothing_else(
    restart: str, shutdown: Shutdown, reason: ExitReason, reported: bool
) -> None:
    world = World([child("a"), child("b", restart, shutdown=shutdown), child("c")]).boot()
    world.exits["b"] = reason
    world.shutdown()
    assert [report for report in world.reports if report[0] == "shutdown_error"] == ([("shutdown_error", "b", reason)] * reported)
    assert world.ending == Exited("shutdown")


def test_1_8_a_supervisor_ends_with_the_reason_it_was_told_to_end_with() -> None:
    world = World(children("a")).boot()
    world.shutdown(("shutdown", "upgrade"))
    assert world.ending == Exited(("shutdown", "upgrade"))
