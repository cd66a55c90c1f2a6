"""Requests to a supervisor: OTP's checks and answers, and the operation that carries each one out.

Works on a `Supervision`. A request is looked at when its turn comes, not when it arrives.
"""

from __future__ import annotations

from collections import deque
from typing import assert_never

from dspex_runtime.core import answers, respecifying
from dspex_runtime.core.child_table import Life
from dspex_runtime.core.events import (
    ChangeSpecAsked,
    ChangeSupervisorAsked,
    CountChildrenAsked,
    CycleChildAsked,
    DeleteChildAsked,
    GetChildSpecAsked,
    Request,
    RestartChildAsked,
    StartChildAsked,
    TerminateChildAsked,
    WhichChildAsked,
    WhichChildrenAsked,
)
from dspex_runtime.core.instructions import Err, Ok
from dspex_runtime.core.operation import Operation, Purpose
from dspex_runtime.core.supervision import Supervision
from dspex_runtime.types import State


class Requests:
    """Serves one request at a time; those that need a child to stop or start are answered when it did."""

    __slots__ = ("_supervision",)

    def __init__(self, supervision: Supervision) -> None:
        self._supervision = supervision

    def accept(self, request: Request) -> None:
        """Queue a request; a supervisor that is on its way out refuses it at once."""
        sup = self._supervision
        if sup.runner.done:
            sup.out.reply(request.request, answers.gone())
        elif sup.runner.is_finishing:
            sup.out.reply(request.request, answers.shutting_down())
        else:
            sup.queue.append(request)

    def serve(self, request: Request, now: float) -> None:
        """Answer a request or begin the operation that will."""
        result = self._begin(request, now)
        if result is not None:
            self._supervision.out.reply(request.request, result)

    def _begin(self, request: Request, now: float) -> Ok | Err | None:
        table = self._supervision.table
        match request:
            case WhichChildrenAsked():
                return Ok(answers.which_children(table))
            case WhichChildAsked():
                record = table.get(request.child_id)
                return answers.not_found(request.child_id, table) if record is None else Ok(answers.which_child(record))
            case CountChildrenAsked():
                return Ok(answers.count_children(table))
            case GetChildSpecAsked():
                record = table.get(request.child_id)
                return answers.not_found(request.child_id, table) if record is None else Ok(record.spec)
            case StartChildAsked():
                return self._start(request)
            case RestartChildAsked():
                return self._restart(request)
            case DeleteChildAsked():
                return self._delete(request)
            case TerminateChildAsked():
                return self._terminate(request)
            case CycleChildAsked():
                return self._cycle(request, now)
            case ChangeSpecAsked(_, spec):
                return respecifying.change_child(self._supervision, spec)
            case ChangeSupervisorAsked(_, spec):
                return respecifying.change_supervisor(self._supervision, spec)
            case _:
                assert_never(request)

    def _start(self, request: StartChildAsked) -> Err | None:
        existing = self._supervision.table.get(request.spec.id)
        if existing is not None:
            return answers.taken(existing)
        record = self._supervision.table.add(request.spec)
        self._run(Operation(Purpose.START, child=record.id, to_start=deque([record.id]), request=request.request, is_new=True))
        return None

    def _restart(self, request: RestartChildAsked) -> Err | None:
        record = self._supervision.table.get(request.child_id)
        if record is None:
            return answers.not_found(request.child_id, self._supervision.table)
        if (refused := answers.not_undefined(record)) is not None:
            return refused
        self._run(Operation(Purpose.START, child=record.id, to_start=deque([record.id]), request=request.request))
        return None

    def _delete(self, request: DeleteChildAsked) -> Ok | Err:
        record = self._supervision.table.get(request.child_id)
        if record is None:
            return answers.not_found(request.child_id, self._supervision.table)
        if (refused := answers.not_undefined(record)) is not None:
            return refused
        self._supervision.runner.drop(record)
        return Ok()

    def _terminate(self, request: TerminateChildAsked) -> Err | None:
        record = self._supervision.table.get(request.child_id)
        if record is None:
            return answers.not_found(request.child_id, self._supervision.table)
        operation = Operation(
            Purpose.TERMINATE, child=record.id, to_stop=[record.id], settle=State.STOPPED, request=request.request
        )
        self._run(operation)
        return None

    def _cycle(self, request: CycleChildAsked, now: float) -> Err | None:
        record = self._supervision.table.get(request.child_id)
        if record is None:
            return answers.not_found(request.child_id, self._supervision.table)
        if record.life is Life.RESTARTING:
            # Its siblings may wait for it, so it is the restart that is brought forward, not just the child.
            self._supervision.begin_restart(record, now, request=request.request)
            return None
        operation = Operation(
            Purpose.CYCLE, child=record.id, to_stop=[record.id], to_start=deque([record.id]), request=request.request
        )
        self._run(operation)
        return None

    def _run(self, operation: Operation) -> None:
        self._supervision.runner.operation = operation
