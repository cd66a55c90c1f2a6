"""What is done when a child becomes ready, ignores, fails to start or ends, and when a timer comes due.

Works on a `Supervision`; the decision about a restart is made there, when its turn comes.
"""

from __future__ import annotations

from typing import Any

from dspex_runtime.core import answers, reports
from dspex_runtime.core.child_table import Life, Record
from dspex_runtime.core.events import ChildExited, ChildIgnored, ChildReady, StartFailed, TimerId, TimerKind
from dspex_runtime.core.instructions import BootFailed, Ok, Started
from dspex_runtime.core.operation import Died, Due, Operation, Purpose, Retry
from dspex_runtime.core.restart_policy import Verdict, verdict
from dspex_runtime.core.supervision import Supervision
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.types import RestartType, State


class ChildEvents:
    """Handlers of the facts about children; what is said of a past incarnation is ignored."""

    __slots__ = ("_supervision",)

    def __init__(self, supervision: Supervision) -> None:
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
            self._started(record, Ok(Started(record.id, record.incarnation, record.pid)))

    def ignored(self, event: ChildIgnored, now: float) -> None:
        """A child asked to be left out: not running, the spec stays, except a temporary one's."""
        sup = self._supervision
        record = sup.table.current(event.child_id, event.incarnation)
        if record is None:
            return
        if record.life is Life.STOPPING:
            self._stopped(record, "normal", now)
        elif record.life is Life.STARTING:
            sup.starter.ignored(record, now)
            sup.out.mark(record, State.EXITED, reason="normal", ignored=True)
            if record.spec.restart is RestartType.TEMPORARY:
                sup.runner.drop(record)
            self._started(record, Ok("undefined"))

    def ended(self, event: StartFailed | ChildExited, now: float) -> None:
        """A child's process is gone, before or after it was ready."""
        record = self._supervision.table.current(event.child_id, event.incarnation)
        if record is None:
            return
        match record.life:
            case Life.STARTING:
                self._start_failed(record, event.reason, event.error if isinstance(event, StartFailed) else None, now)
            case Life.RUNNING:
                self._died(record, event.reason, now)
            case Life.STOPPING:
                self._stopped(record, event.reason, now)
            case Life.UNDEFINED | Life.RESTARTING | Life.DEAD:
                pass  # told before, e.g. the exit of a process that had ignored

    def timer(self, timer: TimerId) -> None:
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
                sup.queue.append(Due(record.id, record.incarnation))

    def _started(self, record: Record, result: Ok) -> None:
        operation = self._supervision.runner.operation
        if operation is not None and operation.purpose is not Purpose.FINISH:
            self._supervision.runner.started(operation, record, result)

    def _stopped(self, record: Record, reason: ExitReason, now: float) -> None:
        operation = self._supervision.runner.operation
        assert operation is not None
        assert operation.stopping == record.id
        self._supervision.runner.stopped(operation, record, reason, now)

    def _died(self, record: Record, reason: ExitReason, now: float) -> None:
        sup = self._supervision
        record.end(reason, now)
        record.life = Life.DEAD
        if sup.runner.is_finishing:
            return  # the sweep takes it in when it gets there; nothing will come of it
        if sup.runner.operation is not None:  # it has to wait: show at least what will come of it
            due = verdict(record.spec.restart, reason) is Verdict.RESTART
            sup.out.mark(record, State.BACKOFF if due else State.EXITED, reason=reason)
        sup.queue.append(Died(record.id, record.incarnation))

    def _start_failed(self, record: Record, reason: ExitReason, error: dict[str, Any] | None, now: float) -> None:
        sup = self._supervision
        operation = sup.runner.operation
        assert operation is not None
        reason = sup.starter.failed(record, reason, now)
        operation.starting = None
        match operation.purpose:
            case Purpose.BOOT:
                sup.out.emit(reports.start_error(record, reason, error))
                sup.out.mark(record, State.FAILED, reason=reason, error=error)
                sup.finish(BootFailed(record.id, reason, error), State.STOPPED)
            case Purpose.RESTART:
                self._restart_failed(operation, record, reason, error)
            case Purpose.START | Purpose.CYCLE:
                sup.out.mark(record, State.FAILED, reason=reason, error=error)
                if operation.is_new or record.spec.restart is RestartType.TEMPORARY:
                    sup.runner.drop(record)
                sup.runner.answer(operation, answers.start_failed(record.id, reason, error))
            case Purpose.FINISH:
                sup.out.mark(record, operation.settle, reason=reason)
            case Purpose.TERMINATE:
                raise AssertionError(f"{record.id!r} was starting in a terminate_child")

    def _restart_failed(self, operation: Operation, record: Record, reason: ExitReason, error: dict[str, Any] | None) -> None:
        """The retry pivots on the child that failed, from the end of the queue, so that requests get in between."""
        sup = self._supervision
        sup.out.emit(reports.start_error(record, reason, error))
        record.life = Life.RESTARTING
        sup.out.mark(record, State.BACKOFF, reason=reason, error=error)
        sup.queue.append(Retry(record.id, record.incarnation))
        for child_id in operation.to_start:  # they stay down until the retry, also the child whose end this began with
            sibling = sup.table.get(child_id)
            if sibling is not None and sibling.life is Life.RESTARTING:
                sibling.life = Life.UNDEFINED
                sup.out.mark(sibling, State.PENDING)
        operation.to_start.clear()
        pivot = None if operation.child is None else sup.table.get(operation.child)
        if pivot is not None and pivot is not record and pivot.life is Life.RESTARTING:
            # One_for_all failed before it came to its pivot: now that one waits for the retry like the others.
            pivot.life = Life.UNDEFINED
            sup.out.mark(pivot, State.PENDING)
        sup.runner.answer(operation, answers.start_failed(record.id, reason, error))
