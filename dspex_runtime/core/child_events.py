"""What the facts about a child mean, for both kinds of supervisor: ready, ignores, not started, ended, swapped, late.

Owns the order in which a fact is looked at: current incarnation first, then where the child is in its life. Never decides
what follows from a fact: that is the kind's, see `static_children` and `dynamic_children`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

from dspex_runtime.core import reports
from dspex_runtime.core.child_table import Life, Record
from dspex_runtime.core.events import (
    ChildExited,
    ChildHeld,
    ChildIgnored,
    ChildReady,
    ChildSwapped,
    StartFailed,
    TimerId,
    TimerKind,
)
from dspex_runtime.core.instructions import Ok, Started
from dspex_runtime.core.supervision_state import SupervisionState
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.types import State

S = TypeVar("S", bound=SupervisionState)


class ChildEvents(ABC, Generic[S]):
    """Handlers of the facts about children; what is said of a past incarnation is ignored."""

    __slots__ = ("_supervision",)

    def __init__(self, supervision: S) -> None:
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
        """A child asked to be left out."""
        sup = self._supervision
        record = sup.table.current(event.child_id, event.incarnation)
        if record is None:
            return
        if record.life is Life.STOPPING:
            self._stopped(record, "normal", now)
        elif record.life is Life.STARTING:
            sup.starter.ignored(record, now)
            sup.out.mark(record, State.EXITED, reason="normal", ignored=True)
            self._left_out(record)
            self._started(record, Ok("undefined"))

    def ended(self, event: StartFailed | ChildExited, now: float) -> None:
        """A child's process is gone, before or after it was ready."""
        sup = self._supervision
        record = sup.table.current(event.child_id, event.incarnation)
        if record is None:
            return
        match record.life:
            case Life.STARTING:
                reason = sup.starter.failed(record, event.reason, now)
                self._start_failed(record, reason, event.error if isinstance(event, StartFailed) else None)
            case Life.RUNNING:
                record.end(event.reason, now)
                self._died(record, event.reason, now)
            case Life.STOPPING:
                self._stopped(record, event.reason, now)
            case Life.UNDEFINED | Life.RESTARTING | Life.DEAD:
                pass  # told before, e.g. the exit of a process that had ignored

    def swapped(self, event: ChildSwapped) -> None:
        """A child goes on as another process: whatever is decided about it from now on goes by its new spec.

        It neither ended nor started: nothing is counted, and it has been ready for as long as it has.

        Raises:
            ValueError: The spec is that of another child.
        """
        sup = self._supervision
        if event.spec.id != event.child_id:
            raise ValueError(f"child {event.child_id!r} cannot be swapped for {event.spec.id!r}: a swap keeps the id")
        record = sup.table.current(event.child_id, event.incarnation)
        if record is None or record.life is not Life.RUNNING:
            return
        sup.respecify(record, event.spec)
        record.pid = event.pid
        sup.out.mark(record, State.READY, swapped=True)

    def held(self, event: ChildHeld, now: float) -> None:
        """A restart of a child has to wait, or needs to no more: then one that waits is due."""
        sup = self._supervision
        if event.held:
            sup.held.add(event.child_id)
            return
        sup.held.discard(event.child_id)
        record = sup.table.get(event.child_id)
        if record is not None and record.is_put_off:
            self._due(record, now)

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
                self._due(record, now)

    def _keep_restarting(self, record: Record, reason: ExitReason, error: dict[str, Any] | None) -> None:
        """A restart whose start failed stays one: reported, and shown as waiting for the retry."""
        out = self._supervision.out
        out.emit(reports.start_error(record, reason, error))
        record.life = Life.RESTARTING
        out.mark(record, State.BACKOFF, reason=reason, error=error)

    @abstractmethod
    def _started(self, record: Record, result: Ok) -> None:
        """A start came out well, a child that ignored included: whoever waited for it goes on."""

    @abstractmethod
    def _left_out(self, record: Record) -> None:
        """A child ignored: whether it is remembered."""

    @abstractmethod
    def _start_failed(self, record: Record, reason: ExitReason, error: dict[str, Any] | None) -> None:
        """A start failed; the record says so already."""

    @abstractmethod
    def _died(self, record: Record, reason: ExitReason, now: float) -> None:
        """A child that ran ended by itself; the record says so already."""

    @abstractmethod
    def _stopped(self, record: Record, reason: ExitReason, now: float) -> None:
        """A child that was told to stop is gone."""

    @abstractmethod
    def _due(self, record: Record, now: float) -> None:
        """What a restart waited for is over: its back-off, or what the child was held for."""
