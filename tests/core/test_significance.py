"""OTP semantics §1.9: significant children and auto_shutdown, row by row."""

from __future__ import annotations

from typing import Any

import pytest
from core.world import ERROR, World, child, children, scripted

from dspex_runtime.core import events as ev
from dspex_runtime.core.child_spec import Backoff, ChildSpec
from dspex_runtime.core.child_table import ChildTable, Life, Record
from dspex_runtime.core.instructions import Exited
from dspex_runtime.core.significance import Significance
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.types import AutoShutdown, ChildId, Kind

CLEAN: list[ExitReason] = ["normal", "shutdown", ("shutdown", "done")]
ABNORMAL: list[ExitReason] = ["killed", ERROR, ("exit_status", 3)]
THROUGH = Exited("shutdown", auto_shutdown=True)
STRATEGIES = ["one_for_one", "rest_for_one", "one_for_all"]


def significant(id: str, restart: str = "transient", **fields: Any) -> ChildSpec:
    return child(id, restart, significant=True, **fields)


def world_of(mode: str, *specs: ChildSpec, strategy: str = "one_for_one", **fields: Any) -> World:
    return World(specs, strategy, auto_shutdown=mode, **fields)


# what triggers

ONE_ENDS = [
    # mode, restart type, reasons, the supervisor ends
    ("never", "transient", CLEAN, False),
    ("never", "temporary", CLEAN + ABNORMAL, False),
    ("any_significant", "transient", CLEAN, True),
    ("any_significant", "transient", ABNORMAL, False),
    ("any_significant", "temporary", CLEAN + ABNORMAL, True),
    ("all_significant", "transient", CLEAN, True),
    ("all_significant", "transient", ABNORMAL, False),
    ("all_significant", "temporary", CLEAN + ABNORMAL, True),
]


@pytest.mark.parametrize(
    ("mode", "restart", "reason", "ends"), [(m, r, reason, e) for m, r, rs, e in ONE_ENDS for reason in rs], ids=str
)
def test_1_9_the_only_significant_child_ends(mode: str, restart: str, reason: ExitReason, ends: bool) -> None:
    world = world_of(mode, *children("a"), significant("s", restart), *children("z")).boot()
    world.did()
    world.crash("s", reason=reason)
    assert world.ending == (THROUGH if ends else None)
    is_restarted = restart == "transient" and reason in ABNORMAL
    assert world.did() == (["stop z", "stop a"] if ends else ["start s"] if is_restarted else [])


@pytest.mark.parametrize("mode", ["any_significant", "all_significant"])
@pytest.mark.parametrize("restart", ["transient", "temporary"])
def test_1_9_a_child_that_is_not_significant_ends_nothing(mode: str, restart: str) -> None:
    world = world_of(mode, child("a", restart), significant("s")).boot()
    world.crash("a", reason="normal")
    assert world.ending is None


def test_1_9_any_significant_ends_with_the_first() -> None:
    world = world_of("any_significant", *[significant(id) for id in "abcde"]).boot()
    world.did()
    world.crash("c", reason="normal")
    assert world.did() == ["stop e", "stop d", "stop b", "stop a"]
    assert world.ending == THROUGH
    assert world.shown() == "a:STOPPED b:STOPPED c:EXITED d:STOPPED e:STOPPED"


@pytest.mark.parametrize("restart", ["transient", "temporary"])
def test_1_9_all_significant_ends_with_the_last(restart: str) -> None:
    world = world_of("all_significant", *children("p"), *[significant(id, restart) for id in "abc"]).boot()
    for id in "bac":
        assert world.ending is None
        world.did()
        world.crash(id, reason="normal")
    assert world.did() == ["stop p"]
    assert world.ending == THROUGH


def test_1_9_significant_children_that_end_at_the_same_time_end_it_once() -> None:
    world = world_of("all_significant", *[significant(id) for id in "abc"]).boot()
    world.crash("a", "b", "c", reason="normal")
    assert world.ending == THROUGH


# what does not


@pytest.mark.parametrize("mode", ["any_significant", "all_significant"])
@pytest.mark.parametrize("restart", ["transient", "temporary"])
def test_1_9_terminate_child_is_no_trigger(mode: str, restart: str) -> None:
    world = world_of(mode, significant("s", restart), *children("a")).boot()
    assert world.answer(ev.TerminateChildAsked, "s") is None
    assert world.ending is None
    assert world.running() == "a"


@pytest.mark.parametrize("mode", ["any_significant", "all_significant"])
def test_1_9_a_child_that_ended_behind_a_terminate_child_is_no_trigger(mode: str) -> None:
    world = world_of(mode, significant("s"), *children("a")).boot()
    scripted(world, a="hang")
    world.crash("a")
    request = world.ask(ev.TerminateChildAsked, "s")
    world.crash("s", reason="normal")
    world.ready("a")
    assert world.outcome(request) is None
    assert world.ending is None


@pytest.mark.parametrize("mode", ["any_significant", "all_significant"])
@pytest.mark.parametrize("restart", ["transient", "temporary"])
def test_1_9_and_1_3_5_the_death_of_a_sibling_by_a_sweep_is_no_trigger(mode: str, restart: str) -> None:
    world = world_of(mode, *children("a"), significant("s", restart), *children("b"), strategy="one_for_all").boot()
    world.exits["s"] = "normal"
    world.crash("a")
    assert world.ending is None
    assert world.running() == ("asb" if restart == "transient" else "ab")


@pytest.mark.parametrize("mode", ["any_significant", "all_significant"])
def test_1_9_and_1_3_4_a_significant_child_found_dead_by_a_sweep_is_no_trigger(mode: str) -> None:
    world = world_of(mode, *children("a"), significant("s"), strategy="one_for_all").boot()
    world.deliver(
        *[ev.ChildExited(view.id, world.alive.pop(view.id), "normal") for view in world.machine.children],
    )
    assert world.ending is None
    assert world.running() == "as"


@pytest.mark.parametrize("outcome", ["ignore", "fail"])
def test_1_9_a_start_that_ignores_or_fails_is_no_trigger(outcome: str) -> None:
    world = world_of("all_significant", *children("a"), significant("s")).boot()
    world.answer(ev.TerminateChildAsked, "s")
    scripted(world, s=outcome)
    world.answer(ev.RestartChildAsked, "s")
    assert world.ending is None


@pytest.mark.parametrize("mode", ["any_significant", "all_significant"])
def test_1_9_an_abnormal_exit_of_a_transient_child_restarts_it_and_may_give_up(mode: str) -> None:
    world = world_of(mode, significant("s"), max_restarts=0).boot()
    world.crash("s")
    assert world.ending == Exited("shutdown", gave_up=True, auto_shutdown=False)


# who is left


def test_1_9_a_child_stopped_by_terminate_child_counts_as_gone() -> None:
    world = world_of("all_significant", significant("s"), significant("t"), *children("a")).boot()
    world.answer(ev.TerminateChildAsked, "s")
    world.did()
    world.crash("t", reason="normal")
    assert world.did() == ["stop a"]
    assert world.ending == THROUGH


def test_1_9_a_child_that_had_ignored_counts_as_gone() -> None:
    world = scripted(world_of("all_significant", significant("s"), significant("t")), t="ignore").boot()
    world.crash("s", reason="normal")
    assert world.ending == THROUGH


def test_1_9_a_child_that_is_restarting_counts_as_present() -> None:
    world = world_of("all_significant", significant("s"), significant("t", backoff=Backoff()), max_restarts=9).boot()
    world.crash("t")
    world.crash("t")
    assert world.state("t") == "BACKOFF"
    world.crash("s", reason="normal")
    assert world.ending is None
    world.advance(10)
    world.crash("t", reason="normal")
    assert world.ending == THROUGH


def test_1_9_a_child_whose_end_was_not_handled_yet_counts_as_present() -> None:
    world = world_of("all_significant", *children("a"), significant("s"), significant("t")).boot()
    scripted(world, a="hang")
    world.crash("a")
    world.crash("s", reason="normal")
    request = world.ask(ev.CountChildrenAsked)
    world.crash("t", reason="killed")
    world.ready("a")
    assert world.outcome(request)["specs"] == 3
    assert world.ending is None
    assert world.running() == "at"


def test_1_9_a_child_that_came_back_counts_as_present_again() -> None:
    world = world_of("all_significant", significant("s"), significant("t")).boot()
    world.crash("s", reason="normal")
    world.answer(ev.RestartChildAsked, "s")
    world.crash("t", reason="normal")
    assert world.ending is None
    world.crash("s", reason="normal")
    assert world.ending == THROUGH


def test_1_9_a_significant_child_added_later_counts() -> None:
    world = world_of("all_significant", significant("s")).boot()
    world.answer(ev.StartChildAsked, significant("t", "temporary"))
    world.crash("s", reason="normal")
    assert world.ending is None
    world.crash("t")
    assert world.ending == THROUGH


def test_1_9_a_child_that_is_not_significant_does_not_count_under_the_id_of_one_that_was() -> None:
    world = world_of("all_significant", significant("s", "temporary"), significant("t")).boot()
    world.crash("s")
    world.answer(ev.StartChildAsked, child("s"))
    world.crash("t", reason="normal")
    assert world.ending == THROUGH


# how it ends


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_1_9_it_stops_the_others_in_reverse_order_each_in_its_time_and_refuses_what_waits(strategy: str) -> None:
    world = world_of("any_significant", *children("ab"), significant("s"), *children("cd"), strategy=strategy).boot()
    world.stubborn = {"c"}
    world.did()
    world.crash("s", reason="normal")
    assert world.did() == ["stop d", "stop c"]
    assert world.phase() == "stopping"
    assert world.answer(ev.StartChildAsked, child("x")) == "shutdown"
    world.advance(5)
    assert world.did() == ["kill c", "stop b", "stop a"]
    assert world.ending == THROUGH


def test_1_9_a_significant_child_that_ends_during_the_boot_ends_it_after_the_boot() -> None:
    world = scripted(world_of("any_significant", significant("s"), *children("a")), a="hang").boot()
    world.crash("s", reason="normal")
    assert world.ending is None
    world.ready("a")
    assert world.booted
    assert world.ending == THROUGH


PARENTS = [
    # mode of the parent, restart type of the supervisor in it, the parent ends too
    ("any_significant", "transient", True),
    ("any_significant", "temporary", True),
    ("all_significant", "transient", True),
    ("never", "transient", False),
]


@pytest.mark.parametrize(("mode", "restart", "ends"), PARENTS)
def test_1_9_a_supervisor_that_ended_so_is_a_child_that_ended_with_shutdown(mode: str, restart: str, ends: bool) -> None:
    inner = world_of("any_significant", significant("s")).boot()
    inner.crash("s", reason="normal")
    assert inner.ending is not None
    group = child("group", restart, kind=Kind.SUPERVISOR, start_timeout_s=None, significant=mode != "never")
    outer = world_of(mode, group, *children("a")).boot()
    outer.crash("group", reason=inner.ending.reason)
    assert outer.ending == (THROUGH if ends else None)


def test_1_9_a_permanent_supervisor_that_ended_so_is_restarted_by_its_parent() -> None:
    outer = world_of("any_significant", child("group", kind=Kind.SUPERVISOR), significant("s")).boot()
    outer.did()
    outer.crash("group", reason="shutdown")
    assert outer.did() == ["start group"]


# the cost


class CountingTable(ChildTable):
    """A table that counts how often it is asked for a record."""

    looks = 0

    def get(self, child_id: ChildId) -> Record | None:
        self.looks += 1
        return super().get(child_id)


def test_who_is_left_is_found_without_a_look_at_everybody_each_time() -> None:
    table = CountingTable()
    significance = Significance(AutoShutdown.ALL_SIGNIFICANT, table)
    for n in range(1000):
        record = table.add(significant(f"s{n}"))
        record.life = Life.RUNNING
        significance.running(record)
    *others, last = table
    for record in others:
        record.life = Life.UNDEFINED
        assert not significance.ends_supervisor(record)
    last.life = Life.UNDEFINED
    assert significance.ends_supervisor(last)
    assert table.looks <= 2 * len(table)


# a swap


def test_a_running_child_that_becomes_significant_counts_from_then_on() -> None:
    world = world_of("all_significant", child("a", "transient"), significant("s")).boot()
    world.swap("a", significant("a"))
    world.crash("s", reason="normal")
    assert world.ending is None
    world.crash("a", reason="normal")
    assert world.ending == THROUGH


def test_a_running_child_that_is_no_longer_significant_is_not_waited_for() -> None:
    world = world_of("all_significant", significant("a"), significant("s")).boot()
    world.swap("a", child("a", "transient"))
    world.crash("s", reason="normal")
    assert world.ending == THROUGH
