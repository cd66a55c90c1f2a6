from core.world import child

from dspex_runtime.core.child_table import Record
from dspex_runtime.core.events import TimerId, TimerKind
from dspex_runtime.core.instructions import CancelTimer, ChildState, Ok, Reply, SetTimer
from dspex_runtime.core.outbox import Outbox
from dspex_runtime.types import ChildId, Incarnation, State

TIMER = TimerId(TimerKind.START, ChildId("a"), Incarnation(1))


def record() -> Record:
    return Record(child("a"), incarnation=Incarnation(1))


def test_instructions_come_out_once_and_in_order() -> None:
    out = Outbox()
    out.reply(1, Ok())
    out.reply(2, Ok())
    assert out.take() == [Reply(1, Ok()), Reply(2, Ok())]
    assert out.take() == []


def test_a_state_is_told_only_when_it_is_news() -> None:
    out, a = Outbox(), record()
    out.mark(a, State.READY)
    out.mark(a, State.READY)
    out.mark(a, State.READY, reason="why")
    told = [(i.state, i.detail) for i in out.take() if isinstance(i, ChildState)]
    assert told == [(State.READY, {}), (State.READY, {"reason": "why"})]


def test_a_timer_is_cancelled_only_while_it_is_armed() -> None:
    out, a = Outbox(), record()
    out.cancel_timer(TimerKind.START, a)
    out.set_timer(TimerKind.START, a, 3.0)
    out.cancel_timer(TimerKind.START, a)
    out.cancel_timer(TimerKind.START, a)
    assert out.take() == [SetTimer(TIMER, 3.0), CancelTimer(TIMER)]


def test_a_timer_that_was_cancelled_on_the_way_has_not_fired() -> None:
    out, a = Outbox(), record()
    out.set_timer(TimerKind.START, a, 3.0)
    assert out.fired(TIMER)
    assert not out.fired(TIMER)
