"""Starts where some children come after others: side by side as far as they can; everything else is as without."""

from __future__ import annotations

from typing import Any

import pytest
from core.world import ERROR, World, child, scripted
from hypothesis import given
from hypothesis import strategies as st

from dspex_runtime.core import events as ev
from dspex_runtime.core.child_spec import Backoff, ChildSpec
from dspex_runtime.core.instructions import BootFailed
from dspex_runtime.types import ChildId

STRATEGIES = ["one_for_one", "rest_for_one", "one_for_all"]


def specs(text: str, restart: str = "permanent", **fields: Any) -> list[ChildSpec]:
    """Return the children of "a b c:ab": c comes after a and b."""
    pairs = [item.partition(":") for item in text.split()]
    return [child(id, restart, after=frozenset(map(ChildId, after)), **fields) for id, _, after in pairs]


def world(text: str, strategy: str = "one_for_one", **fields: Any) -> World:
    """Return a supervisor whose children come up when they are told to."""
    made = World(specs(text), strategy, **fields)
    return scripted(made, **{view.id: "hang " * 9 for view in made.machine.children})


def booted(text: str, strategy: str, **fields: Any) -> World:
    made = World(specs(text), strategy, **fields).boot()
    made.did()
    return made


# boot


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_boot_starts_side_by_side_what_need_not_wait(strategy: str) -> None:
    w = world("a b c:a d:bc e", strategy).boot()
    assert w.did() == ["start a", "start b", "start e"]
    w.ready("b")
    assert w.did() == []
    w.ready("a")
    assert w.did() == ["start c"]
    w.ready("c")
    assert w.did() == ["start d"]
    w.ready("d")
    assert w.phase() == "booting"
    w.ready("e")
    assert w.booted
    w.shutdown()
    assert w.did() == ["stop e", "stop d", "stop c", "stop b", "stop a"]


def test_without_any_that_comes_after_another_they_start_one_by_one() -> None:
    assert world("a b c").boot().did() == ["start a"]


def test_what_ignores_is_through_as_well() -> None:
    w = scripted(World(specs("a b:a")), a="ignore").boot()
    assert w.did() == ["start a", "start b"]
    assert w.booted


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_boot_that_fails_stops_also_what_is_still_starting_last_first(strategy: str) -> None:
    w = world("a b c d:a e:d", strategy).boot()
    w.ready("a")
    assert w.did() == ["start a", "start b", "start c", "start d"]
    w.fail("c")
    assert w.did() == ["stop d", "stop b", "stop a"]
    assert w.ending == BootFailed(ChildId("c"), ERROR, None)
    assert w.shown() == "a:STOPPED b:STOPPED c:FAILED d:STOPPED e:STOPPED"


def test_two_failures_of_one_boot_are_the_first_ones() -> None:
    w = world("a b c:a")
    w.stubborn.add("b")
    w.boot()
    w.fail("a")
    assert w.phase() == "stopping"
    w.fail("b")
    assert w.ending == BootFailed(ChildId("a"), ERROR, None)


def test_a_start_that_takes_too_long_fails_the_boot_and_each_has_its_own_time() -> None:
    w = world("a b c:a", max_restarts=0).boot()
    w.advance(20)
    w.ready("a")
    assert w.did() == ["start a", "start b", "start c"]
    w.advance(10)
    assert w.kills == [("b", ("limit", "start_timeout", 30.0))]
    assert w.did() == ["kill b", "stop c", "stop a"]
    assert isinstance(w.ending, BootFailed)


def test_a_shutdown_stops_what_is_starting() -> None:
    w = world("a b c:a").boot()
    w.shutdown()
    assert w.did() == ["start a", "start b", "stop b", "stop a"]


# sweeps


def test_a_sweep_starts_side_by_side_but_stops_one_by_one() -> None:
    w = booted("a b:a c:a d:bc", "one_for_all")
    scripted(w, **dict.fromkeys("abcd", "hang"))
    w.crash("c")
    assert w.did() == ["stop d", "stop b", "stop a", "start a"]
    w.ready("a")
    assert w.did() == ["start b", "start c"]
    w.ready("c")
    w.ready("b")
    assert w.did() == ["start d"]


def test_what_comes_after_one_that_is_not_in_the_sweep_does_not_wait_for_it() -> None:
    w = booted("a b:a c:a", "rest_for_one")
    scripted(w, **dict.fromkeys("abc", "hang"))
    w.crash("b")
    assert w.did() == ["stop c", "start b", "start c"]


def test_a_restart_of_one_child_is_as_ever() -> None:
    w = booted("a b:a c:a", "one_for_one")
    w.crash("a")
    assert w.did() == ["start a"]


def test_a_start_that_fails_in_a_sweep_waits_for_those_beside_it_and_is_tried_again_with_what_comes_behind() -> None:
    w = booted("a b:a c:a d:c", "rest_for_one")
    scripted(w, b="hang", c="hang", d="hang")
    w.crash("a")
    assert w.did() == ["stop d", "stop c", "stop b", "start a", "start b", "start c"]
    w.fail("b")
    assert w.did() == []
    assert w.shown() == "a:READY b:BACKOFF c:STARTING d:PENDING"
    w.ready("c")  # the sweep is through: the retry takes along what comes behind b
    assert w.did() == ["stop c", "start b", "start c", "start d"]
    w.ready("d")
    assert w.shown() == "a:READY b:READY c:READY d:READY"


def test_what_the_retry_does_not_take_along_is_started_now() -> None:
    """The one that fails stands behind one that still waits for its turn: nobody else would ever start that."""
    w = booted("a b:a c:b d:a e:d", "rest_for_one")
    scripted(w, b="hang", d="hang hang")
    w.crash("a")
    w.did()
    w.fail("d")
    assert w.shown() == "a:READY b:STARTING c:PENDING d:BACKOFF e:PENDING"
    w.ready("b")
    assert w.did() == ["start c", "start d"]
    w.ready("d")
    assert w.shown() == "a:READY b:READY c:READY d:READY e:READY"


def test_two_that_fail_in_one_sweep_are_both_tried_again() -> None:
    w = booted("a b:a c:a", "rest_for_one", max_restarts=9)
    scripted(w, b="hang", c="hang")
    w.crash("a")
    w.fail("c")
    w.fail("b")
    assert w.shown() == "a:READY b:READY c:READY"
    assert w.machine.restarts_within(w.now) == 3


def test_a_delayed_sweep_starts_side_by_side_too() -> None:
    backoff = Backoff(initial_s=1.0, jitter=0.0)
    w = World(specs("a b c:ab", backoff=backoff), "one_for_all").boot()
    w.crash("a")
    w.crash("a")
    w.did()
    scripted(w, a="hang", b="hang")
    w.advance(1.0)
    assert w.did() == ["start a", "start b"]


def test_specs_that_were_changed_one_by_one_into_a_circle_start_all_the_same() -> None:
    w = booted("a b:a c", "one_for_all")
    w.answer(ev.ChangeSpecAsked, specs("a:b")[0])
    w.crash("c")
    assert sorted(w.did()) == ["start a", "start b", "start c", "stop a", "stop b"]


@given(
    edges=st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=14),
    course=st.lists(st.tuples(st.integers(0, 7), st.booleans()), max_size=16),
    strategy=st.sampled_from(STRATEGIES),
)
def test_whatever_comes_up_when_each_starts_after_what_it_is_after_and_as_early_as_that_allows(
    edges: set[tuple[int, int]], course: list[tuple[int, bool]], strategy: str
) -> None:
    after = {str(n): frozenset(ChildId(str(other)) for one, other in edges if one == n and other < n) for n in range(8)}
    w = World([child(id, after=others) for id, others in after.items()], strategy)
    scripted(w, **dict.fromkeys(after, "hang"))
    w.boot()
    through: set[str] = set()
    for number, ignores in course:
        if (id := ChildId(str(number))) in w.pending:
            if ignores:
                w.pending.remove(id)
                w.deliver(ev.ChildIgnored(id, w.alive.pop(id)))
            else:
                w.ready(id)
            through.add(id)
    begun = {line.removeprefix("start ") for line in w.did()}
    if any(after.values()):
        assert begun == {id for id, others in after.items() if others <= through}
    else:
        assert begun == {str(number) for number in range(min(8, len(through) + 1))}
    assert w.booted == (len(through) == 8)
