"""What a process sends to itself before it has a loop: kept in order, handed over once, then passed on at once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dspex_runtime.host import own_mail
from dspex_runtime.host.mailbox import Request
from dspex_runtime.host.own_mail import OwnMail
from dspex_runtime.host.timers import Timers


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(own_mail, "time", SimpleNamespace(monotonic=lambda: self.now))


class Loop:
    """Plays the loop: keeps what it is given."""

    def __init__(self) -> None:
        self.timers = Timers()
        self.mailbox: list[Any] = []
        self.client: str | None = None
        self.later: list[tuple[float, Any]] = []

    def adopt(self, timers: Timers, waiting: list[Request], client: str | None) -> None:
        self.timers, self.client = timers, client
        self.mailbox += [(request.method, request.args) for request in waiting]

    def put_own(self, request: Request, client: str) -> None:
        assert request.peer is None
        self.mailbox.append((request.method, request.args, client))

    def start_timer(self, seconds: float, message: Any) -> Any:
        self.later.append((seconds, message))
        return message

    def cancel_timer(self, timer: Any) -> float:
        return len(self.later)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def handed(mail: OwnMail) -> Loop:
    loop = Loop()
    mail.hand_to(loop)  # type: ignore[arg-type]
    return loop


def test_messages_to_oneself_in_init_wait_in_order(clock: Clock) -> None:
    mail = OwnMail()
    for number in range(3):
        mail.put("me", "$cast", [number], {})
    loop = handed(mail)
    assert loop.mailbox == [("$cast", [0]), ("$cast", [1]), ("$cast", [2])]
    assert loop.client == "me"


def test_send_after_in_init_counts_from_the_call(clock: Clock) -> None:
    mail = OwnMail()
    mail.start_timer(5.0, "tick")
    clock.now += 3.0
    loop = handed(mail)
    assert loop.mailbox == []
    assert loop.timers.take_due(104.9) == []
    assert loop.timers.take_due(105.0) == ["tick"]


def test_a_timer_that_is_due_comes_before_what_is_sent_later(clock: Clock) -> None:
    mail = OwnMail()
    mail.start_timer(0.0, "due")
    mail.start_timer(2.0, "due while init runs")
    mail.put("me", "$info", ["between"], {})
    clock.now += 9.0
    loop = handed(mail)
    assert [args for _, args in loop.mailbox] == [["due"], ["between"], ["due while init runs"]]


def test_cancel_timer_in_init_gives_the_seconds_left_or_none_when_it_is_due(clock: Clock) -> None:
    mail = OwnMail()
    slow, soon = mail.start_timer(5.0, "slow"), mail.start_timer(1.0, "soon")
    clock.now += 2.0
    assert mail.cancel_timer(slow) == 3.0
    assert mail.cancel_timer(slow) is None
    assert mail.cancel_timer(soon) is None
    assert handed(mail).mailbox == [("$info", ["soon"])]


def test_with_a_loop_everything_goes_there_at_once(clock: Clock) -> None:
    mail = OwnMail()
    loop = handed(mail)
    mail.put("me", "$cast", [1], {})
    assert loop.mailbox == [("$cast", [1], "me")]
    assert mail.start_timer(3.0, "tick") == "tick"  # type: ignore[comparison-overlap]
    assert loop.later == [(3.0, "tick")]
    assert mail.cancel_timer("tick") == 1  # type: ignore[arg-type]
