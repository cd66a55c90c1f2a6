"""What follows from the facts about the children of a dynamic supervisor.

Works on a `DynamicSupervision`. Nothing waits here: the end of one child never has to wait for the start of another.
"""

from __future__ import annotations

from typing import Any

from dspex_runtime.core import answers
from dspex_runtime.core.child_events import ChildEvents
from dspex_runtime.core.child_table import Record
from dspex_runtime.core.dynamic_supervision import DynamicSupervision
from dspex_runtime.core.dynamic_work import Job
from dspex_runtime.core.instructions import Ok
from dspex_runtime.core.operation import Retry
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.types import State


class DynamicChildren(ChildEvents[DynamicSupervision]):
    """A fact about a child concludes the work on it, or is judged at once."""

    __slots__ = ()

    def _started(self, record: Record, result: Ok) -> None:
        self._supervision.conclude(record.id, result)

    def _left_out(self, record: Record) -> None:
        self._supervision.drop(record, State.EXITED)  # at its first start or in a restart: nothing of it stays

    def _stopped(self, record: Record, reason: ExitReason, now: float) -> None:
        self._supervision.stopped(record, reason, now)

    def _died(self, record: Record, reason: ExitReason, now: float) -> None:
        self._supervision.judge(record, reason, now)

    def _due(self, record: Record, now: float) -> None:
        self._supervision.go_on(record, now)

    def _start_failed(self, record: Record, reason: ExitReason, error: dict[str, Any] | None) -> None:
        sup = self._supervision
        if sup.work[record.id].job is Job.RESTART:
            self._keep_restarting(record, reason, error)
            sup.conclude(record.id, answers.start_failed(record.id, reason, error))
            sup.turns.append(Retry(record.id, record.incarnation))  # behind the requests about it that came before
        else:
            sup.out.mark(record, State.FAILED, reason=reason, error=error)
            sup.drop(record, State.FAILED)
            sup.conclude(record.id, answers.start_failed(record.id, reason, error))
