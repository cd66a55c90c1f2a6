"""A bounded queue between the reader thread and whoever iterates."""

from __future__ import annotations

import pytest

from dspex_runtime.client.subscription import MAX_WAITING, Subscription


def test_a_slow_reader_gets_the_latest_and_a_count_of_what_it_missed() -> None:
    subscription = Subscription(lambda: None)
    for n in range(MAX_WAITING + 3):
        subscription.push(n)
    assert subscription.take() == (True, {"type": "skipped", "count": 3})
    assert subscription.take() == (True, 3)


def test_what_waits_is_given_before_the_error() -> None:
    subscription = Subscription(lambda: None)
    subscription.push("a")
    subscription.end(ValueError("gone"))
    assert subscription.take() == (True, "a")
    with pytest.raises(ValueError, match="gone"):
        subscription.take()


def test_every_change_wakes_a_loop() -> None:
    woken: list[int] = []
    subscription = Subscription(lambda: None)
    subscription.on_change(lambda: woken.append(1))
    subscription.push("a")
    subscription.end()
    assert len(woken) == 2


def test_closing_cancels_once_and_only_what_had_not_ended() -> None:
    cancelled: list[int] = []
    subscription = Subscription(lambda: cancelled.append(1))
    subscription.push("a")
    subscription.close()
    subscription.close()
    assert cancelled == [1]
    with pytest.raises(EOFError):
        subscription.take()
    ended = Subscription(lambda: cancelled.append(2))
    ended.end()
    ended.close()
    assert cancelled == [1]
