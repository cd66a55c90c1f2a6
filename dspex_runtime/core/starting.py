"""One child's start: a new incarnation, its start time-out, and the three ways it ends. Knows no strategy, no siblings."""

from __future__ import annotations

from collections.abc import Callable

from dspex_runtime.core.child_table import Life, Record
from dspex_runtime.core.events import TimerKind
from dspex_runtime.core.instructions import KillChild, Report, ReportKind, StartChild
from dspex_runtime.core.outbox import Outbox
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.types import ChildId, Incarnation, State


class Starter:
    """Moves records UNDEFINED | RESTARTING -> STARTING -> RUNNING | UNDEFINED."""

    __slots__ = ("_next_incarnation", "_out")

    def __init__(self, out: Outbox, next_incarnation: Callable[[ChildId], Incarnation]) -> None:
        self._out = out
        self._next_incarnation = next_incarnation

    def delay(self, record: Record, delay_s: float, now: float) -> None:
        """Begin the back-off of a restart."""
        record.not_before = None
        self._out.set_timer(TimerKind.BACKOFF, record, now + delay_s)
        self._out.mark(record, State.BACKOFF, due=now + delay_s, attempt=record.attempts, reason=record.last_exit)

    def start(self, record: Record, now: float) -> None:
        """Start a new incarnation and its start time-out."""
        record.incarnation = self._next_incarnation(record.id)
        record.life = Life.STARTING
        record.not_before = None
        self._out.emit(StartChild(record.spec, record.incarnation))
        if record.spec.start_timeout_s is not None:
            self._out.set_timer(TimerKind.START, record, now + record.spec.start_timeout_s)
        self._out.mark(record, State.STARTING)

    def ready(self, record: Record, pid: int | None, now: float) -> None:
        """The child serves."""
        self._out.cancel_timer(TimerKind.START, record)
        record.life = Life.RUNNING
        record.pid = pid
        record.ready_at = now
        self._out.emit(Report(ReportKind.PROGRESS, record.id, detail={"incarnation": record.incarnation, "pid": pid}))
        self._out.mark(record, State.READY)

    def ignored(self, record: Record, now: float) -> None:
        """The child wants to be left out: no process, the spec stays."""
        self._out.cancel_timer(TimerKind.START, record)
        record.end("normal", now)
        record.life = Life.UNDEFINED

    def failed(self, record: Record, reason: ExitReason, now: float) -> ExitReason:
        """The process is gone without having been ready; return why.

        A kill of ours shows as SIGKILL: then the limit that made us kill is the reason.
        """
        self._out.cancel_timer(TimerKind.START, record)
        if record.kill_reason is not None and reason == "killed":
            reason = record.kill_reason
        record.end(reason, now)
        record.life = Life.UNDEFINED
        return reason

    def timed_out(self, record: Record) -> None:
        """The start took too long: kill it. What follows is a failed start (or the end of a stop that was under way)."""
        record.kill_reason = ("limit", "start_timeout", record.spec.start_timeout_s)
        self._out.emit(KillChild(record.id, record.incarnation, record.kill_reason))
