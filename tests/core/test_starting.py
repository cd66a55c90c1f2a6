from typing import Any

from core.world import ERROR, child

from dspex_runtime.core.child_table import Life, Record
from dspex_runtime.core.events import TimerKind
from dspex_runtime.core.instructions import KillChild, Report, ReportKind, SetTimer, StartChild
from dspex_runtime.core.outbox import Outbox
from dspex_runtime.core.starting import Starter
from dspex_runtime.types import Incarnation, State


def started(**fields: Any) -> tuple[Outbox, Starter, Record]:
    out = Outbox()
    starter = Starter(out, lambda _: Incarnation(7))
    record = Record(child("a", **fields))
    starter.start(record, 100.0)
    return out, starter, record


def test_a_start_has_a_new_incarnation_and_its_time_out() -> None:
    out, _, record = started(start_timeout_s=30.0)
    first, timer, _ = out.take()
    assert first == StartChild(record.spec, Incarnation(7))
    assert isinstance(timer, SetTimer)
    assert (timer.timer.kind, timer.at) == (TimerKind.START, 130.0)
    assert (record.life, record.state) == (Life.STARTING, State.STARTING)


def test_without_a_time_out_there_is_no_timer() -> None:
    out, _, _ = started(start_timeout_s=None)
    assert not out.armed


def test_a_ready_child_is_reported_as_progress_and_its_timer_is_gone() -> None:
    out, starter, record = started()
    out.take()
    starter.ready(record, 4711, 101.0)
    assert (record.life, record.state, record.pid, record.ready_at) == (Life.RUNNING, State.READY, 4711, 101.0)
    assert not out.armed
    assert Report(ReportKind.PROGRESS, record.id, detail={"incarnation": 7, "pid": 4711}) in out.take()


def test_a_child_that_ignores_leaves_nothing_but_its_spec() -> None:
    out, starter, record = started()
    starter.ignored(record, 101.0)
    assert (record.life, record.last_exit, record.pid) == (Life.UNDEFINED, "normal", None)
    assert not out.armed


def test_a_start_that_takes_too_long_is_killed_and_the_limit_is_the_reason() -> None:
    out, starter, record = started(start_timeout_s=2.0)
    out.take()
    starter.timed_out(record)
    assert out.take() == [KillChild(record.id, Incarnation(7), ("limit", "start_timeout", 2.0))]
    assert starter.failed(record, "killed", 103.0) == ("limit", "start_timeout", 2.0)


def test_a_start_that_failed_by_itself_keeps_its_own_reason_even_when_it_was_also_late() -> None:
    _, starter, record = started(start_timeout_s=2.0)
    starter.timed_out(record)
    assert starter.failed(record, ERROR, 103.0) == ERROR
    assert record.life is Life.UNDEFINED
