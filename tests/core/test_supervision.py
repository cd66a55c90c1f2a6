"""Restarts: who is taken along, how often, after what delay, and when the supervisor gives up."""

import pytest
from core.world import ERROR, World, child, children, scripted

from dspex_runtime.core import events as ev
from dspex_runtime.core.child_spec import Backoff
from dspex_runtime.core.instructions import ChildState, Exited, Started
from dspex_runtime.types import ChildId, State

# order logs

ORDERS = [
    ("one_for_one", "c", ["start c"]),
    ("rest_for_one", "c", ["stop e", "stop d", "start c", "start d", "start e"]),
    ("rest_for_one", "e", ["start e"]),
    ("rest_for_one", "a", ["stop e", "stop d", "stop c", "stop b", "start a", "start b", "start c", "start d", "start e"]),
    ("one_for_all", "c", ["stop e", "stop d", "stop b", "stop a", "start a", "start b", "start c", "start d", "start e"]),
    ("one_for_all", "e", ["stop d", "stop c", "stop b", "stop a", "start a", "start b", "start c", "start d", "start e"]),
]


@pytest.mark.parametrize(("strategy", "dead", "expected"), ORDERS, ids=str)
def test_order_of_a_restart(strategy: str, dead: str, expected: list[str]) -> None:
    world = World(children("abcde"), strategy).boot()
    world.did()
    world.crash(dead)
    assert world.did() == expected
    assert world.running() == "abcde"


def test_a_child_added_later_is_last_and_one_added_again_too() -> None:
    world = World(children("ab"), "one_for_all").boot()
    world.answer(ev.StartChildAsked, child("c"))
    world.answer(ev.TerminateChildAsked, "a")
    world.answer(ev.DeleteChildAsked, "a")
    world.answer(ev.StartChildAsked, child("a"))
    world.did()
    world.crash("b")
    assert world.did() == ["stop a", "stop c", "start b", "start c", "start a"]


@pytest.mark.parametrize(
    ("restart", "reason", "shown"),
    [
        ("permanent", "normal", "READY"),
        ("transient", "normal", "EXITED"),
        ("transient", ("shutdown", 1), "EXITED"),
        ("transient", "killed", "READY"),
        ("temporary", "killed", "gone"),
        ("temporary", "normal", "gone"),
    ],
    ids=str,
)
def test_what_becomes_of_a_child_that_ended(restart: str, reason: object, shown: str) -> None:
    world = World(children("ab", restart), "one_for_all").boot()
    world.did()
    world.crash("a", reason=reason)  # type: ignore[arg-type]
    assert world.state("a") == shown
    assert (world.did() != []) is (shown == "READY")


# simultaneous deaths

TOGETHER = [
    # strategy, who dies (in the order heard of), restarts counted
    ("one_for_one", "bd", 2),
    ("one_for_all", "bd", 1),
    ("one_for_all", "db", 1),
    ("rest_for_one", "bd", 1),
    ("rest_for_one", "db", 2),
]


@pytest.mark.parametrize(("strategy", "dead", "counted"), TOGETHER, ids=str)
def test_deaths_at_the_same_time(strategy: str, dead: str, counted: int) -> None:
    within = World(children("abcde"), strategy, max_restarts=counted).boot()
    within.crash(*dead)
    assert within.running() == "abcde"
    beyond = World(children("abcde"), strategy, max_restarts=counted - 1).boot()
    beyond.crash(*dead)
    assert beyond.ending == Exited("shutdown", gave_up=True)


# sweeps


def test_a_death_during_a_sweep_is_absorbed_by_it() -> None:
    world = World(children("abcd"), "one_for_all", max_restarts=1).boot()
    world.stubborn = {"d"}
    world.did()
    world.crash("a")
    world.crash("b", reason=ERROR)
    world.die("d", "shutdown")
    assert world.did() == ["stop d", "stop c", "start a", "start b", "start c", "start d"]
    assert ("shutdown_error", "b", ERROR) in world.reports


def test_a_death_outside_the_range_of_a_sweep_waits_for_its_end() -> None:
    world = World(children("abcd"), "rest_for_one").boot()
    world.stubborn = {"d"}
    world.did()
    world.crash("c")
    world.crash("b")
    assert world.did() == ["stop d"]
    world.stubborn.clear()
    world.die("d", "shutdown")
    assert world.did() == ["start c", "start d", "stop d", "stop c", "start b", "start c", "start d"]


def test_a_child_that_dies_after_it_was_started_in_a_sweep_causes_another_one() -> None:
    world = World(children("ab"), "one_for_all").boot()
    scripted(world, b="hang")
    world.did()
    world.crash("b")
    world.crash("a")
    world.ready("b")
    assert world.did() == ["stop a", "start a", "start b", "stop b", "start a", "start b"]


def test_a_sweep_deletes_temporary_siblings() -> None:
    world = World([child("a"), child("t", "temporary"), child("c")], "one_for_all").boot()
    world.did()
    world.crash("c")
    assert world.did() == ["stop t", "stop a", "start a", "start c"]
    assert world.deleted == ["t"]
    assert world.shown() == "a:READY c:READY"


def test_a_sweep_brings_back_children_that_were_stopped_finished_or_had_ignored() -> None:
    world = World([child("a"), child("b"), child("t", "transient"), child("i")], "one_for_all")
    scripted(world, i="ignore").boot()
    world.answer(ev.TerminateChildAsked, "b")
    world.crash("t", reason="normal")
    assert world.shown() == "a:READY b:STOPPED t:EXITED i:EXITED"
    world.did()
    world.crash("a")
    assert world.did() == ["start a", "start b", "start t", "start i"]
    assert world.shown() == "a:READY b:READY t:READY i:READY"


def test_swept_siblings_wait_as_pending_and_the_pivot_as_backoff() -> None:
    world = World(children("abc"), "rest_for_one").boot()
    world.stubborn = {"b"}
    world.crash("a")
    assert world.shown() == "a:BACKOFF b:STOPPING c:PENDING"


def test_restarts_made_by_the_supervisor_are_counted_for_show() -> None:
    world = World(children("ab"), "one_for_all").boot()
    world.crash("a")
    world.answer(ev.CycleChildAsked, "a")
    assert [(view.id, view.restarts, view.incarnation) for view in world.machine.children] == [("a", 1, 3), ("b", 1, 2)]


# the window and giving up


def test_one_restart_too_many_in_the_window_and_the_supervisor_gives_up_in_reverse_order() -> None:
    world = World(children("abc"), max_restarts=2, max_seconds=5.0).boot()
    world.crash("a")
    world.crash("b")
    world.did()
    world.crash("b")
    assert world.did() == ["stop c", "stop a"]
    assert world.ending == Exited("shutdown", gave_up=True)
    assert world.shown() == "a:FAILED b:FAILED c:FAILED"
    assert world.reports[-2:] == [
        ("child_terminated", "b", "killed"),
        ("shutdown", "b", "reached_max_restart_intensity"),
    ]


@pytest.mark.parametrize(("gap", "gives_up"), [(5.0, True), (5.01, False)])
def test_the_window_slides(gap: float, gives_up: bool) -> None:
    world = World(children("a"), max_restarts=1, max_seconds=5.0).boot()
    world.crash("a")
    world.advance(gap)
    world.crash("a")
    assert (world.ending is not None) is gives_up


def test_what_was_stopped_by_request_or_had_finished_is_not_shown_as_failed() -> None:
    world = World([child("a"), child("b"), child("t", "transient")], max_restarts=0).boot()
    world.answer(ev.TerminateChildAsked, "b")
    world.crash("t", reason="normal")
    world.crash("a")
    assert world.shown() == "a:FAILED b:STOPPED t:EXITED"


def test_giving_up_refuses_what_waits() -> None:
    world = World(children("abc"), max_restarts=1).boot()
    scripted(world, a="hang")
    world.crash("a")
    world.crash("b")
    request = world.ask(ev.WhichChildrenAsked)
    world.ready("a")
    assert world.ending == Exited("shutdown", gave_up=True)
    assert world.outcome(request) == "shutdown"


# retries after a failed start


def test_a_failed_restart_is_retried_and_counted() -> None:
    world = scripted(World(children("ab"), max_restarts=3), a="ready fail fail ready").boot()
    world.did()
    world.crash("a")
    assert world.did() == ["start a", "start a", "start a"]
    assert world.running() == "ab"


def test_with_intensity_n_a_child_that_cannot_start_gets_n_attempts() -> None:
    world = scripted(World(children("ab"), max_restarts=3), a="ready fail fail fail ready").boot()
    world.did()
    world.crash("a")
    assert world.did() == ["start a", "start a", "start a", "stop b"]
    assert world.ending == Exited("shutdown", gave_up=True)


def test_under_rest_for_one_the_retry_pivots_on_the_child_that_failed() -> None:
    world = scripted(World(children("abcd"), "rest_for_one"), c="ready fail ready").boot()
    world.did()
    world.crash("b")
    assert world.did() == ["stop d", "stop c", "start b", "start c", "start c", "start d"]


def test_under_one_for_all_the_retry_terminates_again_what_was_started() -> None:
    world = scripted(World(children("abc"), "one_for_all"), b="ready fail ready").boot()
    world.did()
    world.crash("c")
    assert world.did() == ["stop b", "stop a", "start a", "start b", "stop a", "start a", "start b", "start c"]


def test_the_retry_lets_requests_in_between_that_came_before_it() -> None:
    world = World(children("ab")).boot()
    scripted(world, a="hang")
    world.crash("a")
    request = world.ask(ev.TerminateChildAsked, "a")
    scripted(world, a="ready")
    world.fail("a")
    assert world.outcome(request) is None
    assert world.state("a") == "STOPPED"


def test_under_one_for_all_only_the_child_that_failed_is_restarting_and_not_the_one_that_had_ended() -> None:
    world = scripted(World(children("abc"), "one_for_all"), a="ready hang ready").boot()
    world.crash("c")
    terminated, restarted = world.ask(ev.TerminateChildAsked, "a"), world.ask(ev.RestartChildAsked, "c")
    world.fail("a")
    assert world.outcome(terminated) is None
    assert isinstance(world.outcome(restarted), Started)
    assert world.shown() == "a:STOPPED b:STOPPED c:READY"


def test_an_earlier_try_again_of_the_same_child_brings_its_retry_forward() -> None:
    world = World(children("abc"), "rest_for_one").boot()
    scripted(world, c="fail hang ready")
    world.crash("b", "a")
    deleted = world.ask(ev.DeleteChildAsked, "c")  # behind the try-again of the first failure, before that of the second
    world.fail("c")
    assert world.outcome(deleted) == "running"


def test_children_behind_a_failed_pivot_are_pending_until_its_retry() -> None:
    world = World([child("a"), child("b", backoff=Backoff()), child("c")], "rest_for_one").boot()
    scripted(world, b="fail fail ready")
    world.crash("a")
    assert world.shown() == "a:READY b:BACKOFF c:PENDING"
    world.did()
    world.advance(0.1)
    assert world.did() == ["start b", "start c"]


# back-off


def loop(**fields: float) -> Backoff:
    return Backoff(**{"initial_s": 1.0, "factor": 2.0, "max_s": 3.0, "jitter": 0.5, "stable_after_s": 10.0, **fields})


def delays(world: World, crashes: int) -> list[float]:
    """Crash `a` so often, each time as soon as it is up, and return how long each restart waited."""
    found: list[float] = []
    for _ in range(crashes):
        world.did()
        begun = world.now
        world.crash("a")
        while "start a" not in world.log:
            world.advance(max(0.0, min(world.timers.values()) - world.now))
        found.append(world.now - begun)
    return found


@pytest.mark.parametrize(
    ("random", "expected"), [(0.5, [0, 1, 2, 3, 3]), (0.0, [0, 0.5, 1, 1.5, 1.5]), (1.0, [0, 1.5, 3, 4.5, 4.5])]
)
def test_the_first_restart_is_at_once_then_the_delay_grows_to_its_cap(random: float, expected: list[float]) -> None:
    world = World([child("a", backoff=loop())], max_restarts=99, random=random).boot()
    assert delays(world, 5) == pytest.approx(expected)


def test_a_child_that_stayed_ready_long_enough_starts_anew() -> None:
    world = World([child("a", backoff=loop())], max_restarts=99).boot()
    assert delays(world, 3) == [0, 1, 2]
    world.advance(9.5)
    assert delays(world, 1) == [3]
    world.advance(10.5)
    assert delays(world, 2) == [0, 1]


def test_a_restart_that_waits_is_shown_with_its_time_and_its_siblings_go_on() -> None:
    world = World([child("a", backoff=loop()), *children("b")], max_restarts=99).boot()
    world.crash("a")
    world.crash("a")
    assert world.shown() == "a:BACKOFF b:READY"
    assert {timer.kind for timer in world.timers} == {ev.TimerKind.BACKOFF}
    world.crash("b")
    assert world.state("b") == "READY"
    world.advance(1)
    assert world.state("a") == "READY"


def test_a_restart_counts_when_it_is_decided_and_once() -> None:
    world = World([child("a", backoff=loop())], max_restarts=2, max_seconds=1000.0).boot()
    world.crash("a")
    world.crash("a")
    world.advance(1)
    assert world.state("a") == "READY"
    world.crash("a")
    assert world.ending == Exited("shutdown", gave_up=True)


def test_giving_up_does_not_wait_for_a_delay() -> None:
    world = World([child("a", backoff=loop()), *children("b")], max_restarts=2).boot()
    world.crash("a")
    world.crash("a")
    world.crash("b")
    assert world.ending == Exited("shutdown", gave_up=True)
    assert world.shown() == "a:FAILED b:FAILED"


def test_a_failed_restart_backs_off_too() -> None:
    world = World([child("a", backoff=loop())], max_restarts=99).boot()
    scripted(world, a="fail fail ready")
    world.did()
    world.crash("a")
    assert world.did() == ["start a"]
    world.advance(1)
    assert world.did() == ["start a"]
    world.advance(1.9)
    assert world.did() == []
    world.advance(0.1)
    assert world.did() == ["start a"]


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_sweep_stops_at_once_and_the_delay_precedes_the_first_start(strategy: str) -> None:
    world = World([child("a", backoff=loop()), *children("bc")], strategy, max_restarts=99).boot()
    world.crash("a")
    world.did()
    world.crash("a")
    assert world.did() == ["stop c", "stop b"]
    assert world.shown() == "a:BACKOFF b:PENDING c:PENDING"
    world.advance(1)
    assert world.did() == ["start a", "start b", "start c"]


def test_a_sweep_of_another_child_cancels_the_delay_of_those_it_takes_along() -> None:
    world = World([child("a"), child("b", backoff=loop())], "rest_for_one", max_restarts=99).boot()
    world.crash("b")
    world.crash("b")
    assert world.state("b") == "BACKOFF"
    world.did()
    world.crash("a")
    assert world.did() == ["start a", "start b"]
    assert not {timer for timer in world.timers if timer.kind is ev.TimerKind.BACKOFF}


def test_a_shutdown_cancels_the_delay() -> None:
    world = World([child("a", backoff=loop()), *children("b")], max_restarts=99).boot()
    world.crash("a")
    world.crash("a")
    world.did()
    world.shutdown()
    assert world.did() == ["stop b"]
    assert world.ending == Exited("shutdown")
    assert world.shown() == "a:STOPPED b:STOPPED"


def test_a_sweep_in_back_off_takes_along_what_was_started_by_request_meanwhile() -> None:
    world = World([child("a", backoff=loop()), *children("b")], "one_for_all", max_restarts=99).boot()
    world.crash("a")
    world.crash("a")
    world.answer(ev.RestartChildAsked, "b")
    world.did()
    world.advance(1)
    assert world.did() == ["stop b", "start a", "start b"]


def test_a_state_tells_when_the_restart_is_due() -> None:
    world = World([child("a", backoff=loop())], max_restarts=99).boot()
    world.crash("a")
    instructions = world.machine.handle(ev.ChildExited(ChildId("a"), world.alive.pop(ChildId("a")), ERROR), world.now)
    details = [i.detail for i in instructions if isinstance(i, ChildState) and i.state is State.BACKOFF]
    assert details == [{"due": 1.0, "attempt": 2, "reason": ERROR}]
