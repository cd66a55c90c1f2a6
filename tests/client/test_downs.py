"""Notices and who claims them: whichever comes first, each is told once, and nothing is left."""

from __future__ import annotations

import gc

from dspex_runtime.client.downs import Downs, Notice
from dspex_runtime.types import Down

DOWN = Down("qa", 2, "killed")


def claimed(downs: Downs, ref: int) -> Notice:
    with downs.expecting() as claim:
        return claim(ref)


def test_a_notice_that_comes_after_its_number_is_known_is_told_and_its_entry_is_gone() -> None:
    downs = Downs()
    notice = claimed(downs, 5)
    assert (len(downs), notice.down.done()) == (1, False)
    downs.came(5, DOWN)
    assert (len(downs), notice.down.result(0)) == (0, DOWN)


def test_a_notice_may_come_before_its_number_is_known() -> None:
    downs = Downs()
    with downs.expecting() as first, downs.expecting() as second:
        downs.came(5, DOWN)
        downs.came(6, DOWN)
        notices = second(6), first(5)
    assert [notice.down.result(0) for notice in notices] == [DOWN, DOWN]
    assert len(downs) == 0


def test_what_comes_while_nobody_expects_a_number_is_of_nobody() -> None:
    downs = Downs()
    downs.came(5, DOWN)
    assert not claimed(downs, 5).down.done()


def test_what_was_not_claimed_is_dropped_with_the_expectation_whatever_others_expect() -> None:
    downs = Downs()
    with downs.expecting():
        with downs.expecting():
            downs.came(5, DOWN)
        with downs.expecting() as later:
            assert not later(5).down.done()
    assert downs._expecting == []


def test_whoever_waits_for_a_notice_that_is_no_longer_wanted_gets_none() -> None:
    downs = Downs()
    notice = claimed(downs, 5)
    downs.forget(5)
    downs.forget(5)
    downs.came(5, DOWN)
    assert (len(downs), notice.down.result(0)) == (0, None)


def test_a_notice_that_nobody_holds_any_more_has_no_entry() -> None:
    downs = Downs()
    notice = claimed(downs, 5)
    kept = claimed(downs, 6)
    del notice
    gc.collect()
    assert len(downs) == 1
    downs.came(5, DOWN)
    assert len(downs) == 1
    assert downs.end() == [kept.down]
    assert len(downs) == 0
