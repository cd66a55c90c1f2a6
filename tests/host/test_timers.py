"""Timers of one process, on a clock that the test holds."""

from __future__ import annotations

import copy
import pickle

from dspex_runtime.host.timers import Row, Timer, Timers


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


def test_a_pickled_handle_is_one_of_the_same_timer_wherever_that_is() -> None:
    timers, elsewhere = Timers(), Timers()
    first, second = timers.start(1.0, "first"), timers.start(2.0, "second")
    elsewhere.start(1.0, "its own")
    copies = pickle.loads(pickle.dumps([first, second]))
    assert elsewhere.cancel(copies[0], now=0.0) is None
    assert timers.cancel(copies[1], now=0.5) == 1.5
    assert timers.cancel(second, now=0.5) is None
    elsewhere.adopt([Timer(each.due, each.number, each.message, Row(each.row.name)) for each in timers.pending()])
    assert elsewhere.cancel(copy.deepcopy(copies[0]), now=0.25) == 0.75
    assert elsewhere.take_due(5.0) == ["its own"]
