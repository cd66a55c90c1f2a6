"""One child's stop: asked, given its own time, killed, then waited for without limit. Knows no strategy, no siblings.

Source: supervisor.erl shutdown/1 and do_terminate/2.
"""

from __future__ import annotations

from collections.abc import Callable

from dspex_runtime.core.child_table import Life, Record
from dspex_runtime.core.events import TimerKind
from dspex_runtime.core.instructions import KillChild, Report, ReportKind, StopChild
from dspex_runtime.core.outbox import Outbox
from dspex_runtime.core.restart_policy import is_clean_stop
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.types import State


class Terminator:
    """Moves records STARTING | RUNNING -> STOPPING -> UNDEFINED, and DEAD or RESTARTING -> UNDEFINED."""

    __slots__ = ("_is_clean", "_out")

    def __init__(self, out: Outbox, *, is_clean: Callable[..., bool] = is_clean_stop) -> None:
        self._out = out
        self._is_clean = is_clean

    def begin(self, record: Record, now: float) -> None:
        """Ask a living child to end; a brutal one is killed at once.

        A child that is still starting keeps its start time-out, so that a hung import cannot outlast it by an
        infinite shutdown.
        """
        shutdown = record.spec.shutdown
        record.life = Life.STOPPING
        self._out.mark(record, State.STOPPING)
        if shutdown.brutal:
            self._kill(record)
            return
        self._out.emit(StopChild(record.id, record.incarnation, shutdown, "shutdown"))
        if shutdown.timeout_s is None:
            return
        if shutdown.timeout_s <= 0:  # OTP: signal, then kill in the same breath
            self._kill(record)
        else:
            self._out.set_timer(TimerKind.SHUTDOWN, record, now + shutdown.timeout_s)

    def timed_out(self, record: Record) -> None:
        """The child did not end in its time: kill it and wait on."""
        self._kill(record)

    def ended(self, record: Record, reason: ExitReason, now: float) -> None:
        """The child that was told to stop is gone. However it went, the stop succeeded; an unclean end is reported."""
        was_ready = record.ready_at is not None
        self._out.cancel_timer(TimerKind.SHUTDOWN, record)
        self._out.cancel_timer(TimerKind.START, record)
        record.end(reason, now)
        record.life = Life.UNDEFINED
        # A child stopped half-way through its start has no way to end well; only a kill of it is news.
        if was_ready or reason == "killed":
            self._report_unclean(record, reason)

    def release(self, record: Record) -> None:
        """A child without a process stays without: its own end is absorbed (reported if unclean), its restart cancelled."""
        if record.life is Life.DEAD:
            assert record.last_exit is not None
            self._report_unclean(record, record.last_exit)
        self._out.cancel_timer(TimerKind.BACKOFF, record)
        record.not_before = None
        record.life = Life.UNDEFINED

    def _kill(self, record: Record) -> None:
        self._out.emit(KillChild(record.id, record.incarnation, "killed"))

    def _report_unclean(self, record: Record, reason: ExitReason) -> None:
        if not self._is_clean(record.spec.restart, brutal=record.spec.shutdown.brutal, reason=reason):
            self._out.emit(Report(ReportKind.SHUTDOWN_ERROR, record.id, reason, {"incarnation": record.incarnation}))
