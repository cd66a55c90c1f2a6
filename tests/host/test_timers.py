"""Timers of one process, on a clock that the test holds."""

from __future__ import annotations

from dspex_runtime.host.timers import Timers


def test_messages_come_when_due_and_in_order() -> None:
    timers = Timers()
    for due, message in ((3.0, "c"), (1.0, "a"), (1.0, "b")):
        timers.start(due, message)
    assert timers.take_due(0.9) == []
    assert timers.take_due(1.0) == ["a", "b"]
    assert timers.take_due(9.0) == ["c"]
    assert not timers


def test_a_cancelled_timer_says_what_it_had_left_and_never_fires() -> None:
    timers = Timers()
    first, second = timers.start(1.0, "first"), timers.start(2.0, "second")
    assert timers.cancel(first, now=0.25) == 0.75
    assert timers.cancel(first, now=0.25) is None
    assert timers.take_due(5.0) == ["second"]
    assert timers.cancel(second, now=5.0) is None


def test_the_wait_is_never_negative() -> None:
    timers = Timers()
    timers.start(0.0, "long due")
    assert timers.wait_s() == 0.0
