"""A supervisor's state, and its decisions about restarts: when, with whom, after what delay, and when to give up.

Owns the queue and the runner; the event handlers beside it (`static_children`, `requests`) work on it. Never entered by two
events at once; what both kinds of supervisor have is `supervision_state`'s.

Source: supervisor.erl do_restart, restart/2, add_restart.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from dspex_runtime.core import answers, reports
from dspex_runtime.core.child_spec import ChildSpec, SupervisorSpec
from dspex_runtime.core.child_table import Life, Record
from dspex_runtime.core.events import RestartAsked, StopAsked, TimerKind
from dspex_runtime.core.instructions import BootFailed, Exited
from dspex_runtime.core.operation import Died, Due, Internal, Operation, Purpose, Queued, Retry
from dspex_runtime.core.restart_policy import Verdict, is_reported, verdict
from dspex_runtime.core.runner import Runner
from dspex_runtime.core.significance import Significance
from dspex_runtime.core.strategy import plan
from dspex_runtime.core.supervision_state import SupervisionState
from dspex_runtime.types import ChildId, Incarnation, State, Strategy


class Supervision(SupervisionState):
    """Everything one supervisor knows. Used only from inside one `SupervisorMachine.handle`."""

    def __init__(
        self, spec: SupervisorSpec, *, next_incarnation: Callable[[ChildId], Incarnation], random: Callable[[], float]
    ) -> None:
        super().__init__(spec, next_incarnation=next_incarnation, random=random)
        for child in spec.children:
            self.table.add(child)
        self.queue: deque[Queued] = deque()
        self._significance = Significance(spec.auto_shutdown, self.table)
        self.runner = Runner(spec.strategy, self.table, self.out, self.starter, self.terminator, self._significance)

    def respecify(self, record: Record, spec: ChildSpec) -> None:
        """Give a child another spec, which may make it significant."""
        super().respecify(record, spec)
        self._significance.running(record)

    def reconfigure(self, spec: SupervisorSpec) -> None:
        """Supervise by another spec, which may end with others of its children and restart others of them."""
        super().reconfigure(spec)
        self.runner.strategy = spec.strategy
        self._significance.change(spec.auto_shutdown)

    def take(self, item: Internal, now: float) -> None:
        """Handle the end of a child, or a restart that is due, now that its turn has come; stale ones do nothing."""
        record = self.table.get(item.child_id)
        # OTP's try-again message names the child alone: one from an earlier failure brings the retry of a later one forward.
        # With a back-off it would cut the delay short.
        is_otps_retry = record is not None and isinstance(item, Retry) and record.spec.backoff is None
        if record is None or (record.incarnation != item.incarnation and not is_otps_retry):
            return
        match item:
            case Died() if record.life is Life.DEAD:
                self._judge(record, now)
            case Retry() if record.life is Life.RESTARTING:
                self._restart(record, now)
            case Due() if record.life is Life.RESTARTING and not self.out.is_armed(TimerKind.BACKOFF, record):
                self._go_on(record, now)
            case RestartAsked() if record.life is Life.RUNNING and record.id not in self.held:
                self.runner.operation = Operation(
                    Purpose.CASCADE, child=record.id, to_stop=[record.id], to_start=deque([record.id])
                )
            case StopAsked() if record.life is not Life.UNDEFINED:
                self.runner.operation = Operation(Purpose.TERMINATE, child=record.id, to_stop=[record.id], settle=State.STOPPED)
            case _:
                pass  # a sweep or a request has dealt with it meanwhile

    def begin_restart(self, record: Record, now: float, *, after_s: float = 0.0, request: int | None = None) -> None:
        """Restart a child that has no process, with the siblings its strategy takes along; already counted."""
        record.life = Life.RESTARTING
        record.not_before = None
        self.out.cancel_timer(TimerKind.BACKOFF, record)
        if self.spec.strategy is Strategy.ONE_FOR_ONE and after_s > 0:
            self.starter.delay(record, after_s, now)
            return
        affected = plan(self.spec.strategy, self.table, record.id)
        if affected.stop:
            self.out.mark(record, State.BACKOFF)  # stopping the siblings may take a while
        self.runner.operation = Operation(
            Purpose.RESTART,
            child=record.id,
            to_stop=affected.stop,
            to_start=deque(affected.start),
            delay_s=after_s,
            request=request,
        )

    def finish(self, ending: Exited | BootFailed, settle: State) -> None:
        """Stop all children in reverse start order, then end. A stop under way finishes first; requests are refused."""
        before = self.runner.finish(Operation(Purpose.FINISH, to_stop=self.table.ids(), settle=settle, ending=ending))
        if before is not None and before.request is not None:
            if before.purpose is Purpose.TERMINATE and self.runner.operation is not None:
                self.runner.operation.request = before.request  # answered when its child is gone
            else:
                self.out.reply(before.request, answers.shutting_down())
        while self.queue:
            item = self.queue.popleft()
            if not isinstance(item, Internal):
                self.out.reply(item.request, answers.shutting_down())

    def _judge(self, record: Record, now: float) -> None:
        reason = record.last_exit
        assert reason is not None
        if is_reported(record.spec.restart, reason):
            self.out.emit(reports.child_terminated(record, reason))
        match verdict(record.spec.restart, reason):
            case Verdict.RESTART:
                self._restart(record, now)
            case Verdict.KEEP:
                record.life = Life.UNDEFINED
                self.out.mark(record, State.EXITED, reason=reason)
                self._shut_down_after(record)
            case Verdict.DELETE:
                record.life = Life.UNDEFINED
                self.out.mark(record, State.EXITED, reason=reason)
                self.runner.drop(record)
                self._shut_down_after(record)

    def _shut_down_after(self, record: Record) -> None:
        if self._significance.ends_supervisor(record):
            self.finish(Exited("shutdown", auto_shutdown=True), State.STOPPED)

    def _restart(self, record: Record, now: float) -> None:
        """Count a restart; give up when it is one too many."""
        after_s = self.count_restart(record, now)
        if after_s is None:
            self.finish(Exited("shutdown", gave_up=True), State.FAILED)
        elif self._has_to_wait(record):
            self.put_off(record, now + after_s)
        else:
            self.begin_restart(record, now, after_s=after_s)

    def _go_on(self, record: Record, now: float) -> None:
        """Begin a restart that was due later, unless it has to wait for a dependency.

        A sweep that is under way does not wait for one: its siblings are down, and one of them may be what is waited for.
        """
        is_begun = self.spec.strategy is not Strategy.ONE_FOR_ONE and not record.is_put_off
        not_before = now if record.not_before is None else record.not_before
        if not is_begun and self._has_to_wait(record):
            self.put_off(record, not_before)
        else:
            self.begin_restart(record, now, after_s=max(0.0, not_before - now))

    def _has_to_wait(self, record: Record) -> bool:
        """Return whether a restart of a child has to wait for a dependency; what the restart itself brings back it starts after."""
        if record.id not in self.held:
            return False
        if self.spec.strategy is Strategy.ONE_FOR_ONE:
            return True
        swept = (self.table.get(id) for id in plan(self.spec.strategy, self.table, record.id).start if id in record.spec.after)
        return not any(sibling is not None and sibling.life in (Life.UNDEFINED, Life.DEAD) for sibling in swept)
