"""The loop: descriptors, timers, signals, and what an exception in a callback costs."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Iterator

import pytest

from dspex_runtime.node.event_loop import EventLoop


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    loop = EventLoop()
    yield loop
    loop.close()


def test_timers_run_in_the_order_of_their_deadlines(loop: EventLoop) -> None:
    seen: list[str] = []
    now = loop.now()
    loop.call_at(now + 0.002, lambda: (seen.append("last"), loop.stop())[1])
    loop.call_at(now + 0.001, lambda: seen.append("second"))
    loop.call_at(now, lambda: seen.append("first"))
    loop.run()
    assert seen == ["first", "second", "last"]


def test_a_cancelled_timer_never_runs(loop: EventLoop) -> None:
    seen: list[str] = []
    timer = loop.call_later(0.0, lambda: seen.append("cancelled"))
    timer.cancel()
    timer.cancel()
    loop.call_later(0.001, loop.stop)
    loop.run()
    assert seen == []


def test_a_timer_set_by_a_timer_runs(loop: EventLoop) -> None:
    loop.call_later(0.0, lambda: loop.call_later(0.0, loop.stop))
    loop.run()


def test_what_puts_itself_off_for_ever_holds_up_no_timer(loop: EventLoop) -> None:
    def again() -> None:
        loop.call_soon(again)

    loop.call_later(0.0, loop.stop)
    again()
    loop.run()


def test_call_soon_runs_after_what_is_being_handled(loop: EventLoop) -> None:
    seen: list[str] = []

    def handle() -> None:
        loop.call_soon(lambda: (seen.append("soon"), loop.stop())[1])
        seen.append("now")

    loop.call_later(0.0, handle)
    loop.run()
    assert seen == ["now", "soon"]


def test_a_callback_that_raises_ends_nothing_but_itself(loop: EventLoop, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> None:
        raise ValueError("a bug")

    loop.call_later(0.0, broken)
    loop.call_later(0.001, loop.stop)
    with caplog.at_level(logging.ERROR):
        loop.run()
    assert "a bug" in caplog.text


def test_a_descriptor_that_an_earlier_callback_forgot_is_not_served(loop: EventLoop) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    seen: list[int] = []

    def serve(own: int) -> None:
        seen.append(own)
        for ours, _ in pairs:
            loop.forget(ours.fileno())
        loop.stop()

    for number, (ours, theirs) in enumerate(pairs):
        loop.watch(ours.fileno(), lambda number=number: serve(number))
        theirs.send(b"x")
    loop.run()
    assert len(seen) == 1
    for pair in pairs:
        for end in pair:
            end.close()


def test_writable_is_told_until_it_is_given_up(loop: EventLoop) -> None:
    ours, theirs = socket.socketpair()
    told: list[bool] = []

    def writable() -> None:
        told.append(True)
        loop.watch_writable(ours.fileno(), None)
        loop.call_later(0.001, loop.stop)

    loop.watch(ours.fileno(), lambda: None)
    loop.watch_writable(ours.fileno(), writable)
    loop.run()
    assert told == [True]
    loop.forget(ours.fileno())
    ours.close()
    theirs.close()


def test_a_signal_is_handled_in_the_loop(loop: EventLoop) -> None:
    previous = signal.getsignal(signal.SIGUSR1)
    loop.on_signal(signal.SIGUSR1, loop.stop)
    loop.call_later(0.0, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    loop.run()
    signal.signal(signal.SIGUSR1, previous)


def test_a_timer_at_nan_is_refused_since_it_would_hold_up_all_others(loop: EventLoop) -> None:
    with pytest.raises(ValueError, match="NaN"):
        loop.call_later(float("nan"), loop.stop)


@pytest.mark.parametrize("seconds", [1e7, 1e300, float("inf")])
def test_a_timer_further_away_than_epoll_can_wait_ends_nothing(loop: EventLoop, seconds: float) -> None:
    read_fd, write_fd = os.pipe()
    os.write(write_fd, b"x")
    loop.watch(read_fd, loop.stop)
    loop.call_later(seconds, lambda: pytest.fail("it was not its time"))
    loop.run()
    loop.forget(read_fd)
    os.close(read_fd)
    os.close(write_fd)
