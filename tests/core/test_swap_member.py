"""What a member of a swap waits for, and how long its steps took."""

from __future__ import annotations

import pytest

from dspex_runtime.core.swap_events import Held, NewReady, Packed, Prepared, Rehearsed, SnapshotTaken
from dspex_runtime.core.swap_instructions import SwapPhase
from dspex_runtime.core.swap_member import AWAITED, SHOWN, WAITS_FOR, Member, Step

ANSWERS = [SnapshotTaken("a"), NewReady("a"), Rehearsed("a"), Held("a"), Packed("a"), Prepared("a")]


def test_every_answer_is_awaited_by_one_step_and_has_its_words() -> None:
    kinds = [kind for awaited in AWAITED.values() for kind in awaited]
    assert sorted(kinds, key=str) == sorted((type(answer) for answer in ANSWERS), key=str)
    assert WAITS_FOR.keys() == set(kinds)


def test_every_step_but_the_first_is_shown_and_phases_come_in_order() -> None:
    assert list(SHOWN) == list(Step)[1:]
    assert list(dict.fromkeys(SHOWN.values())) == list(SwapPhase)


@pytest.mark.parametrize("step", Step)
def test_only_what_its_step_awaits_is_taken_and_only_once(step: Step) -> None:
    member = Member("a", 1.0)
    member.enter(step, 0.0)
    taken = [answer for answer in ANSWERS if member.is_awaited(answer)]
    assert {type(answer) for answer in taken} == AWAITED.get(step, frozenset())
    completed = [member.take(answer) for answer in taken]
    assert completed == [False] * (len(taken) - 1) + [True] * bool(taken)
    assert not any(member.is_awaited(answer) for answer in ANSWERS)


def test_it_says_what_it_still_waits_for() -> None:
    member = Member("a", 1.0)
    assert member.waits_for() == []
    member.enter(Step.MOVING, 0.0)
    assert member.waits_for() == ["the old version to hand over", "the new version to take over"]
    member.take(Packed("a"))
    assert member.waits_for() == ["the new version to take over"]


def test_a_step_within_the_same_phase_is_no_news() -> None:
    member = Member("a", 1.0)
    assert [member.enter(step, 0.0) for step in list(Step)[1:]] == [True, False, True, True, False, True, False, True]


def test_the_view_tells_facts_and_times() -> None:
    member = Member("a", 1.0)
    view = member.view()
    assert (view.phase, view.since, view.rehearsed, view.prepared) == (None, None, None, None)
    assert (view.rehearsal_s, view.drain_s, view.pause_s, view.seconds) == (None, None, None, None)
    member.enter(Step.STARTING, 10.0)
    member.enter(Step.REHEARSING, 11.0)
    assert (member.view().phase, member.view().since) == (SwapPhase.REHEARSING, 10.0)
    member.take(Rehearsed("a", {"migrated": True}))
    for step, now in [(Step.VERIFIED, 12.0), (Step.DRAINING, 13.0), (Step.HELD, 17.0), (Step.MOVING, 17.5)]:
        member.enter(step, now)
    member.take(Prepared("a", {"again": False}))
    member.enter(Step.MOVED, 17.75)
    member.enter(Step.SWAPPED, 18.0)
    view = member.view()
    assert (view.id, view.phase, view.since) == ("a", SwapPhase.DONE, 18.0)
    assert (view.rehearsed, view.prepared) == ({"migrated": True}, {"again": False})
    assert (view.rehearsal_s, view.drain_s, view.pause_s, view.seconds) == (2.0, 4.0, 0.5, 8.0)
