"""Overload protection: how many pass in a window, and that the rest is said (otp-semantics §2.11)."""

from __future__ import annotations

from dspex_runtime.core.burst_limit import BURST_LIMIT, BURST_WINDOW_S, BurstLimit


def test_overload_500_events_pass_in_1000_ms_and_the_rest_is_dropped() -> None:
    burst = BurstLimit()
    assert (BURST_LIMIT, BURST_WINDOW_S) == (500, 1.0)
    assert [burst.allow(10.0 + n / 1000) for n in range(600)] == [True] * 500 + [False] * 100


def test_overload_the_next_window_begins_afresh() -> None:
    burst = BurstLimit(limit=1, window_s=1.0)
    assert [burst.allow(now) for now in (0.0, 0.5, 0.999, 1.0, 1.5, 2.0)] == [True, False, False, True, False, True]


def test_overload_the_number_dropped_is_said_once_and_not_before_the_window_is_over() -> None:
    burst = BurstLimit(limit=1, window_s=1.0)
    for now in (0.0, 0.1, 0.2):
        burst.allow(now)
    assert [burst.take_dropped(now) for now in (0.3, 1.0, 1.1)] == [0, 2, 0]


def test_overload_nothing_dropped_is_nothing_to_say() -> None:
    burst = BurstLimit()
    burst.allow(0.0)
    assert burst.take_dropped(5.0) == 0
