"""Another spec while it runs: what goes by it from then on, and what does not change by it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from core.world import World, child, children, scripted

from dspex_runtime.core import events as ev
from dspex_runtime.core.child_spec import Backoff, ChildSpec, Shutdown, SupervisorSpec
from dspex_runtime.types import AutoShutdown, Strategy


def change(world: World, spec: ChildSpec) -> Any:
    return world.answer(ev.ChangeSpecAsked, spec)


def supervise(world: World, **fields: Any) -> Any:
    return world.answer(ev.ChangeSupervisorAsked, replace(world.machine.spec, **fields))


# a child


def test_nothing_is_started_or_stopped_by_it() -> None:
    world = World(children("ab")).boot()
    world.did()
    new = child("a", "transient", shutdown=Shutdown(1.0), start_timeout_s=5.0)
    assert change(world, new) is None
    assert (world.did(), world.shown()) == ([], "a:READY b:READY")
    assert world.answer(ev.GetChildSpecAsked, "a") == new


def test_the_next_end_is_judged_by_it() -> None:
    world = World(children("a")).boot()
    change(world, child("a", "transient"))
    world.crash("a", reason="normal")
    assert world.shown() == "a:EXITED"


def test_the_next_restart_waits_by_it() -> None:
    world = World([child("a")], max_restarts=9).boot()
    world.crash("a")
    change(world, child("a", backoff=Backoff(initial_s=7.0, jitter=0.0)))
    world.did()
    world.crash("a")
    assert (world.did(), world.state("a")) == ([], "BACKOFF")
    world.advance(7.0)
    assert world.did() == ["start a"]


def test_a_stop_takes_its_new_time() -> None:
    world = World(children("a")).boot()
    world.stubborn.add("a")
    change(world, child("a", shutdown=Shutdown(2.0)))
    number = world.ask(ev.TerminateChildAsked, "a")
    world.advance(1.9)
    assert world.outcome(number) == "waiting"
    world.advance(0.2)
    assert world.outcome(number) is None


def test_one_that_is_down_starts_from_it() -> None:
    world = World(children("a")).boot()
    world.answer(ev.TerminateChildAsked, "a")
    change(world, child("a", "transient"))
    assert world.answer(ev.RestartChildAsked, "a") != "running"
    assert world.answer(ev.GetChildSpecAsked, "a").restart == "transient"


def test_while_another_one_starts_it_waits_for_its_turn() -> None:
    world = scripted(World(children("a")).boot(), c="hang")
    world.ask(ev.StartChildAsked, child("c"))
    number = world.ask(ev.ChangeSpecAsked, child("a", "temporary"))
    assert world.outcome(number) == "waiting"
    world.ready("c")
    assert world.outcome(number) is None


@pytest.mark.parametrize("dynamic", [False, True])
def test_an_unknown_child_is_not_found(dynamic: bool) -> None:
    world = World([], dynamic=dynamic).boot()
    assert world.answer(ev.ChangeSpecAsked, child("x")) == "not_found"


@pytest.mark.parametrize("dynamic", [False, True])
def test_one_that_ends_refuses(dynamic: bool) -> None:
    world = World([], dynamic=dynamic).boot()
    world.shutdown()
    assert world.answer(ev.ChangeSpecAsked, child("x")) == "noproc"
    assert supervise(world, max_restarts=1) == "noproc"


def test_a_child_of_a_dynamic_supervisor_is_judged_by_it() -> None:
    world = World([], dynamic=True).boot()
    world.answer(ev.StartChildAsked, child("a"))
    change(world, child("a", "temporary"))
    world.crash("a")
    assert world.shown() == ""


def test_one_that_became_significant_counts() -> None:
    world = World([child("a", "transient"), child("b", "transient", significant=True)], auto_shutdown="all_significant").boot()
    change(world, child("a", "transient", significant=True))
    world.crash("b", reason="normal")
    assert world.ending is None
    world.crash("a", reason="normal")
    assert world.ending is not None


# the supervisor


def test_its_budget_counts_what_was_counted() -> None:
    world = World(children("a"), max_restarts=1).boot()
    world.crash("a")
    supervise(world, max_restarts=2)
    world.crash("a")
    assert world.ending is None
    supervise(world, max_restarts=1)
    world.crash("a")
    assert world.ending is not None


def test_its_strategy_decides_the_next_sweep() -> None:
    world = World(children("abc")).boot()
    assert supervise(world, strategy=Strategy.REST_FOR_ONE) is None
    world.did()
    world.crash("b")
    assert world.did() == ["stop c", "start b", "start c"]


def test_its_strategy_stays_while_a_restart_is_due() -> None:
    world = World([child("a", backoff=Backoff(jitter=0.0)), child("b")], "one_for_all", max_restarts=9).boot()
    world.crash("a")
    world.crash("a")
    assert world.state("a") == "BACKOFF"
    assert supervise(world, strategy=Strategy.ONE_FOR_ONE) == "restarting"
    assert supervise(world, max_restarts=8) is None, "what does not concern it changes all the same"
    world.advance(1.0)
    assert world.shown() == "a:READY b:READY"


def test_its_children_stand_in_the_order_that_is_told_the_others_behind() -> None:
    world = World(children("abc"), "rest_for_one").boot()
    world.answer(ev.StartChildAsked, child("x"))
    supervise(world, children=(*reversed(children("abc")), child("unknown")))
    assert world.running() == "cbax"
    world.did()
    world.shutdown()
    assert world.did() == ["stop x", "stop a", "stop b", "stop c"]


def test_auto_shutdown_looks_at_who_runs() -> None:
    world = World([child(id, "transient", significant=True) for id in "ab"], auto_shutdown="any_significant").boot()
    supervise(world, auto_shutdown=AutoShutdown.ALL_SIGNIFICANT)
    world.crash("a", reason="normal")
    assert world.ending is None
    world.crash("b", reason="normal")
    assert world.ending is not None


def test_a_dynamic_one_takes_no_more_than_it_may_now() -> None:
    world = World([], dynamic=True, max_children=1).boot()
    world.answer(ev.StartChildAsked, child("a"))
    assert world.answer(ev.StartChildAsked, child("b")) == "max_children"
    supervise(world, max_children=2)
    assert world.answer(ev.StartChildAsked, child("b")) != "max_children"


def test_a_static_one_cannot_become_dynamic() -> None:
    world = World(children("a")).boot()
    with pytest.raises(ValueError, match="cannot become"):
        supervise(world, dynamic=True)


def test_no_spec_is_told_in_a_story() -> None:
    secret = child("a", metadata={"k": "SECRET"})
    assert "SECRET" not in repr(ev.ChangeSpecAsked(1, secret))
    assert "SECRET" not in repr(ev.ChangeSupervisorAsked(1, SupervisorSpec(children=(secret,))))
