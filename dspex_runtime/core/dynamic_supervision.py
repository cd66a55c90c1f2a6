"""A dynamic supervisor's state, and what it decides about restarts and about its own end.

Owns the work in progress; the event handlers beside it (`dynamic_children`, `dynamic_requests`) work on it. A child that is
not running and not about to be restarted is forgotten: there is no restart_child.

Source: Elixir's DynamicSupervisor, maybe_restart_child, restart_child, terminate_children.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from dspex_runtime.core import answers, reports
from dspex_runtime.core.child_spec import SupervisorSpec
from dspex_runtime.core.child_table import Life, Record
from dspex_runtime.core.dynamic_work import Job, Work
from dspex_runtime.core.events import Cascade, Request, RestartAsked, StopAsked, TimerKind
from dspex_runtime.core.instructions import ChildDeleted, Err, Exited, Ok
from dspex_runtime.core.operation import Retry
from dspex_runtime.core.restart_policy import Verdict, is_clean_dynamic_stop, is_reported, verdict
from dspex_runtime.core.supervision_state import SupervisionState
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.types import ChildId, Incarnation, State


class DynamicSupervision(SupervisionState):
    """Everything one dynamic supervisor knows. Used only from inside one `DynamicMachine.handle`.

    Attributes:
        work: Of each child that is starting or stopping.
        turns: Requests, retries and cascades whose turn has come.
        ending: What it is to end with, once it is on its way out.
        leaving: Children whose end that waits for.
    """

    def __init__(
        self, spec: SupervisorSpec, *, next_incarnation: Callable[[ChildId], Incarnation], random: Callable[[], float]
    ) -> None:
        super().__init__(spec, next_incarnation=next_incarnation, random=random, is_clean=is_clean_dynamic_stop)
        self.work: dict[ChildId, Work] = {}
        self.turns: deque[Request | Retry | Cascade] = deque()
        self.ending: Exited | None = None
        self.leaving: set[ChildId] = set()
        self.done = False
        self._settle = State.STOPPED

    def start(self, record: Record, work: Work, now: float) -> None:
        """Start a child that has no process."""
        if work.job is Job.RESTART:
            record.restarts += 1
        else:
            record.attempts = 0  # somebody asked for it: no crash loop
        self.out.cancel_timer(TimerKind.BACKOFF, record)
        self.work[record.id] = work
        self.starter.start(record, now)

    def stop(self, record: Record, work: Work, now: float) -> None:
        """Stop a running child."""
        self.work[record.id] = work
        self.terminator.begin(record, now)

    def conclude(self, child_id: ChildId, result: Ok | Err) -> None:
        """The work on a child is through: answer who asked for it, and let those that waited have their turn."""
        work = self.work.pop(child_id)
        if work.request is not None:
            self.out.reply(work.request, result)
        self.turns.extend(work.waiting)

    def drop(self, record: Record, state: State, reason: ExitReason | None = None) -> None:
        """Forget a child without a process."""
        record.life = Life.UNDEFINED
        detail = {} if reason is None else {"reason": reason}
        self.out.mark(record, state, **detail)
        self.table.remove(record.id)
        self.out.emit(ChildDeleted(record.id, record.incarnation))

    def judge(self, record: Record, reason: ExitReason, now: float) -> None:
        """Decide about a child that ended by itself."""
        if is_reported(record.spec.restart, reason):
            self.out.emit(reports.child_terminated(record, reason))
        if verdict(record.spec.restart, reason) is Verdict.RESTART:
            self.restart(record, now)
        else:
            self.drop(record, State.EXITED, reason)

    def retry(self, item: Retry, now: float) -> None:
        """Try a restart again whose start failed, unless somebody has dealt with it meanwhile."""
        record = self.table.current(item.child_id, item.incarnation)
        if record is not None and record.life is Life.RESTARTING and self.ending is None:
            self.restart(record, now)

    def restart(self, record: Record, now: float) -> None:
        """Count a restart and begin it, or its back-off; give up when it is one too many."""
        after_s = self.count_restart(record, now)
        if after_s is None:
            self.finish(Exited("shutdown", gave_up=True), State.FAILED, now)
            return
        record.life = Life.RESTARTING
        record.not_before = now + after_s
        self.go_on(record, now)

    def go_on(self, record: Record, now: float) -> None:
        """Begin a restart that was counted, unless it has to wait for a dependency, or for the rest of its back-off."""
        after_s = 0.0 if record.not_before is None else record.not_before - now
        if record.id in self.held:
            self.put_off(record, now + after_s)
        elif after_s > 0:
            self.starter.delay(record, after_s, now)
        else:
            self.start(record, Work(Job.RESTART), now)

    def take_along(self, cascade: Cascade, now: float) -> None:
        """Restart or stop a child because of a dependency, unless it is another incarnation by now."""
        record = self.table.current(cascade.child_id, cascade.incarnation)
        if record is None or self.ending is not None:
            return
        work = self.work.get(record.id)
        match cascade:
            case RestartAsked() if record.life is Life.RUNNING and record.id not in self.held:
                self.stop(record, Work(Job.CASCADE), now)
            case StopAsked() if work is not None:
                work.waiting.append(cascade)
            case StopAsked() if record.life is Life.RESTARTING:
                self.terminator.release(record)
                self.drop(record, State.STOPPED)
            case StopAsked():
                self.stop(record, Work(Job.TERMINATE), now)
            case _:
                pass  # a request has dealt with it meanwhile

    def finish(self, ending: Exited, settle: State, now: float) -> None:
        """Stop all children at once, then end. Requests are refused, but for a terminate_child that is under way."""
        self.ending = ending
        self._settle = settle
        while self.turns:
            item = self.turns.popleft()
            if not isinstance(item, Retry | RestartAsked | StopAsked):
                self.out.reply(item.request, answers.shutting_down())
        for record in reversed(self.table):
            self._dismiss(record, now)
        self._end_when_empty()

    def stopped(self, record: Record, reason: ExitReason, now: float) -> None:
        """A child that was told to stop is gone."""
        self.terminator.ended(record, reason, now)
        work = self.work[record.id]
        match work.job:
            case Job.TERMINATE:
                self.drop(record, State.STOPPED)
                self.conclude(record.id, Ok())
            case Job.CYCLE:
                self.start(record, work, now)
            case Job.CASCADE if record.id in self.held:
                self.put_off(record, now)
                self.conclude(record.id, Ok())
            case Job.CASCADE:
                work.job = Job.RESTART
                self.start(record, work, now)
            case _:
                self.out.mark(record, self._settle)
                del self.work[record.id]
        if self.ending is not None:
            self.leaving.discard(record.id)
            self._end_when_empty()

    def _dismiss(self, record: Record, now: float) -> None:
        work = self.work.get(record.id)
        if work is not None:
            self._refuse(work)
        if not record.has_process:
            if record.life is Life.RESTARTING:
                self.terminator.release(record)
                self.out.mark(record, self._settle)
            return
        self.leaving.add(record.id)
        if work is None or work.job is not Job.TERMINATE:
            self.work[record.id] = Work(Job.FINISH)
        if record.life is not Life.STOPPING:
            self.terminator.begin(record, now)

    def _refuse(self, work: Work) -> None:
        for item in work.waiting:
            if not isinstance(item, RestartAsked | StopAsked):
                self.out.reply(item.request, answers.shutting_down())
        work.waiting.clear()
        if work.job is not Job.TERMINATE and work.request is not None:
            self.out.reply(work.request, answers.shutting_down())

    def _end_when_empty(self) -> None:
        if not self.leaving:
            assert self.ending is not None
            self.done = True
            self.out.emit(self.ending)
