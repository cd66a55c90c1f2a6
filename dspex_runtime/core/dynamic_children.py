"""What a dynamic supervisor does when a child becomes ready, ignores, fails to start or ends, and when a timer comes due.

Works on a `DynamicSupervision`. Nothing waits here: the end of one child never has to wait for the start of another.
"""

from __future__ import annotations

from typing import Any

from dspex_runtime.core import answers, reports
from dspex_runtime.core.child_table import Life, Record
from dspex_runtime.core.dynamic_supervision import DynamicSupervision
from dspex_runtime.core.dynamic_work import Job, Work
from dspex_runtime.core.events import ChildExited, ChildIgnored, ChildReady, StartFailed, TimerId, TimerKind
from dspex_runtime.core.instructions import Ok, Started
from dspex_runtime.core.operation import Retry
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.types import State


class DynamicChildren:
    """Handlers of the facts about children; what is said of a past incarnation is ignored."""

    __slots__ = ("_supervision",)

    def __init__(self, supervision: DynamicSupervision) -> None:
        self._supervision = supervision

    def ready(self, event: ChildReady, now: float) -> None:
        """A child serves."""
        sup = self._supervision
        record = sup.table.current(event.child_id, event.incarnation)
        if record is None or record.kill_reason is not None:
            return  # its start timed out: the kill is on its way, ready or not
        if record.life is Life.STOPPING:
            sup.out.cancel_timer(TimerKind.START, record)
        elif record.life is Life.STARTING:
            sup.starter.ready(record, event.pid, now)
            sup.conclude(record.id, Ok(Started(record.id, record.incarnation, record.pid)))

    def ignored(self, event: ChildIgnored, now: float) -> None:
        """A child asked to be left out, at its first start or in a restart: nothing of it stays."""
        sup = self._supervision
        record = sup.table.current(event.child_id, event.incarnation)
        if record is None:
            return
        if record.life is Life.STOPPING:
            sup.stopped(record, "normal", now)
        elif record.life is Life.STARTING:
            sup.starter.ignored(record, now)
            sup.out.mark(record, State.EXITED, reason="normal", ignored=True)
            sup.drop(record, State.EXITED)
            sup.conclude(record.id, Ok("undefined"))

    def ended(self, event: StartFailed | ChildExited, now: float) -> None:
        """A child's process is gone, before or after it was ready."""
        sup = self._supervision
        record = sup.table.current(event.child_id, event.incarnation)
        if record is None:
            return
        match record.life:
            case Life.STARTING:
                self._start_failed(record, event.reason, event.error if isinstance(event, StartFailed) else None, now)
            case Life.RUNNING:
                record.end(event.reason, now)
                sup.judge(record, event.reason, now)
            case Life.STOPPING:
                sup.stopped(record, event.reason, now)
            case Life.UNDEFINED | Life.RESTARTING | Life.DEAD:
                pass  # told before

    def timer(self, timer: TimerId, now: float) -> None:
        """A timer came due, unless it was cancelled on the way."""
        sup = self._supervision
        record = sup.table.current(timer.child_id, timer.incarnation)
        if not sup.out.fired(timer) or record is None:
            return
        match timer.kind:
            case TimerKind.START:
                sup.starter.timed_out(record)
            case TimerKind.SHUTDOWN:
                sup.terminator.timed_out(record)
            case TimerKind.BACKOFF:
                sup.start(record, Work(Job.RESTART), now)

    def _start_failed(self, record: Record, reason: ExitReason, error: dict[str, Any] | None, now: float) -> None:
        sup = self._supervision
        reason = sup.starter.failed(record, reason, now)
        if sup.work[record.id].job is Job.RESTART:
            sup.out.emit(reports.start_error(record, reason, error))
            record.life = Life.RESTARTING
            sup.out.mark(record, State.BACKOFF, reason=reason, error=error)
            sup.conclude(record.id, answers.start_failed(record.id, reason, error))
            sup.turns.append(Retry(record.id, record.incarnation))  # behind the requests about it that came before
        else:
            sup.out.mark(record, State.FAILED, reason=reason, error=error)
            sup.drop(record, State.FAILED)
            sup.conclude(record.id, answers.start_failed(record.id, reason, error))
