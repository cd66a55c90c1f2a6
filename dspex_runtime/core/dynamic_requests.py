"""Requests to a dynamic supervisor: Elixir's checks and answers, and the work that carries each one out.

Works on a `DynamicSupervision`. A request about a child that is starting or stopping waits until that is through; a start
of another child, and a query, waits for nobody.
"""

from __future__ import annotations

from typing import assert_never

from dspex_runtime.core import answers, respecifying
from dspex_runtime.core.child_table import Life
from dspex_runtime.core.dynamic_supervision import DynamicSupervision
from dspex_runtime.core.dynamic_work import Job, Work
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
from dspex_runtime.types import State


class DynamicRequests:
    """Serves requests; those that need a child to stop or start are answered when it did."""

    __slots__ = ("_supervision",)

    def __init__(self, supervision: DynamicSupervision) -> None:
        self._supervision = supervision

    def serve(self, request: Request, now: float) -> None:
        """Answer a request, begin the work that will, or let it wait for the work on its child."""
        sup = self._supervision
        result: Ok | Err | None
        if sup.done:
            result = answers.gone()
        elif sup.ending is not None:
            result = answers.shutting_down()
        else:
            result = self._begin(request, now)
        if result is not None:
            sup.out.reply(request.request, result)

    def _begin(self, request: Request, now: float) -> Ok | Err | None:
        sup = self._supervision
        match request:
            case WhichChildrenAsked():
                return Ok(answers.which_dynamic_children(sup.table))
            case WhichChildAsked():
                record = sup.table.get(request.child_id)
                return answers.not_found(request.child_id, sup.table) if record is None else Ok(answers.which_dynamic_child(record))
            case CountChildrenAsked():
                return Ok(answers.count_dynamic_children(sup.table))
            case GetChildSpecAsked():
                record = sup.table.get(request.child_id)
                return answers.not_found(request.child_id, sup.table) if record is None else Ok(record.spec)
            case StartChildAsked():
                return self._start(request, now)
            case RestartChildAsked():
                return answers.not_for_dynamic("restart_child")
            case DeleteChildAsked():
                return answers.not_for_dynamic("delete_child")
            case TerminateChildAsked():
                return self._terminate(request, now)
            case CycleChildAsked():
                return self._cycle(request, now)
            case ChangeSpecAsked(_, spec):
                return respecifying.change_child(sup, spec)
            case ChangeSupervisorAsked(_, spec):
                return respecifying.change_supervisor(sup, spec)
            case _:
                assert_never(request)

    def _start(self, request: StartChildAsked, now: float) -> Err | None:
        sup = self._supervision
        limit = sup.spec.max_children
        if limit is not None and len(sup.table) >= limit:
            return answers.max_children(len(sup.table), limit)
        if (existing := sup.table.get(request.spec.id)) is not None:
            return answers.taken(existing)
        sup.start(sup.table.add(request.spec), Work(Job.START, request.request), now)
        return None

    def _terminate(self, request: TerminateChildAsked, now: float) -> Ok | Err | None:
        sup = self._supervision
        record = sup.table.get(request.child_id)
        if record is None:
            return answers.not_found(request.child_id, sup.table)
        if self._has_to_wait(request):
            return None
        if record.life is Life.RESTARTING:
            sup.terminator.release(record)
            sup.drop(record, State.STOPPED)
            return Ok()
        sup.stop(record, Work(Job.TERMINATE, request.request), now)
        return None

    def _cycle(self, request: CycleChildAsked, now: float) -> Err | None:
        sup = self._supervision
        record = sup.table.get(request.child_id)
        if record is None:
            return answers.not_found(request.child_id, sup.table)
        if self._has_to_wait(request):
            return None
        if record.life is Life.RESTARTING:  # it was counted: brought forward, and retried by policy when it fails
            sup.start(record, Work(Job.RESTART, request.request), now)
        else:
            sup.stop(record, Work(Job.CYCLE, request.request), now)
        return None

    def _has_to_wait(self, request: TerminateChildAsked | CycleChildAsked) -> bool:
        work = self._supervision.work.get(request.child_id)
        if work is not None:
            work.waiting.append(request)
        return work is not None
