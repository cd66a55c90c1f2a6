"""What follows from the facts about the children of a supervisor with a strategy.

Works on a `Supervision`; the decision about a restart is made there, when its turn comes. Never begins anything by itself:
one operation at a time, everything else waits in the queue.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from dspex_runtime.core import answers, reports
from dspex_runtime.core.child_events import ChildEvents
from dspex_runtime.core.child_table import Life, Record
from dspex_runtime.core.instructions import BootFailed, Ok
from dspex_runtime.core.operation import Died, Due, Operation, Purpose, Retry
from dspex_runtime.core.restart_policy import Verdict, verdict
from dspex_runtime.core.strategy import plan
from dspex_runtime.core.supervision import Supervision
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.types import RestartType, State


class StaticChildren(ChildEvents[Supervision]):
    """A fact about a child moves the operation in progress on, or waits for its end."""

    __slots__ = ()

    def _started(self, record: Record, result: Ok) -> None:
        runner = self._supervision.runner
        if runner.operation is not None and not runner.is_finishing:
            runner.started(runner.operation, record, result)

    def _left_out(self, record: Record) -> None:
        if record.spec.restart is RestartType.TEMPORARY:  # any other's spec stays
            self._supervision.runner.drop(record)

    def _stopped(self, record: Record, reason: ExitReason, now: float) -> None:
        sup = self._supervision
        runner = sup.runner
        assert runner.operation is not None
        assert runner.operation.stopping == record.id
        runner.stopped(runner.operation, record, reason, now)
        if runner.operation.purpose is Purpose.CASCADE and record.id in sup.held:
            runner.operation.to_start.clear()
            sup.put_off(record, now)

    def _died(self, record: Record, reason: ExitReason, now: float) -> None:  # noqa: ARG002 (judged when its turn comes)
        sup = self._supervision
        record.life = Life.DEAD
        if sup.runner.is_finishing:
            return  # the sweep takes it in when it gets there; nothing will come of it
        if sup.runner.operation is not None:  # it has to wait: show at least what will come of it
            due = verdict(record.spec.restart, reason) is Verdict.RESTART
            sup.out.mark(record, State.BACKOFF if due else State.EXITED, reason=reason)
        sup.queue.append(Died(record.id, record.incarnation))

    def _due(self, record: Record, now: float) -> None:  # noqa: ARG002 (begun when its turn comes)
        self._supervision.queue.append(Due(record.id, record.incarnation))

    def _start_failed(self, record: Record, reason: ExitReason, error: dict[str, Any] | None) -> None:
        sup = self._supervision
        operation = sup.runner.operation
        assert operation is not None
        operation.starting.discard(record.id)
        match operation.purpose:
            case Purpose.BOOT:
                sup.out.emit(reports.start_error(record, reason, error))
                sup.out.mark(record, State.FAILED, reason=reason, error=error)
                sup.finish(BootFailed(record.id, reason, error), State.STOPPED)
            case Purpose.CASCADE if record.spec.restart is RestartType.TEMPORARY:  # by policy nobody tries again
                sup.out.mark(record, State.FAILED, reason=reason, error=error)
                sup.runner.drop(record)
            case Purpose.RESTART | Purpose.CASCADE:
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
        """The retry pivots on the child that failed, from the end of the queue, so that requests get in between.

        What it will take along stays down until then; of children that start side by side, others may be left to start now.
        """
        sup = self._supervision
        self._keep_restarting(record, reason, error)
        sup.queue.append(Retry(record.id, record.incarnation))
        taken_along = set(plan(sup.spec.strategy, sup.table, record.id).start)
        for child_id in operation.to_start:
            sibling = sup.table.get(child_id) if child_id in taken_along else None
            if sibling is not None and sibling.life is Life.RESTARTING:  # the child whose end this began with
                sibling.life = Life.UNDEFINED
                sup.out.mark(sibling, State.PENDING)
        operation.to_start = deque(child_id for child_id in operation.to_start if child_id not in taken_along)
        sup.runner.answer(operation, answers.start_failed(record.id, reason, error))
