"""Carries one operation through: stops one child at a time, last first, then starts, in order, then says how it ended.

Starts come one after the other, as OTP's; where some children come after others, those that need not wait go side by side.
Owns the operation in progress. Never decides whether there is one: that is the supervisor machine.
"""

from __future__ import annotations

from collections import deque

from dspex_runtime.core.child_table import ChildTable, Life, Record
from dspex_runtime.core.instructions import Booted, ChildDeleted, Err, Ok
from dspex_runtime.core.operation import Operation, Purpose
from dspex_runtime.core.outbox import Outbox
from dspex_runtime.core.significance import Significance
from dspex_runtime.core.starting import Starter
from dspex_runtime.core.strategy import abandoned
from dspex_runtime.core.termination import Terminator
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.types import RestartType, State, Strategy


class Runner:
    """Runs at most one operation at a time.

    Attributes:
        operation: The one in progress, or None.
        strategy: Of the supervisor.
        done: A FINISH has ended: nothing will ever run again.
    """

    __slots__ = ("_out", "_significance", "_starter", "_table", "_terminator", "done", "operation", "strategy")

    def __init__(
        self,
        strategy: Strategy,
        table: ChildTable,
        out: Outbox,
        starter: Starter,
        terminator: Terminator,
        significance: Significance,
    ) -> None:
        self.strategy = strategy
        self._table = table
        self._out = out
        self._starter = starter
        self._terminator = terminator
        self._significance = significance
        self.operation: Operation | None = None
        self.done = False

    @property
    def is_finishing(self) -> bool:
        """Return whether everything is being stopped."""
        return self.operation is not None and self.operation.purpose is Purpose.FINISH

    def step(self, now: float) -> bool:
        """Do all that can be done now; True when the operation ended, False when it waits for an event (or there is none)."""
        operation = self.operation
        if operation is None or not self._stop_children(operation, now):
            return False
        if operation.purpose is not Purpose.FINISH and not self._start_children(operation, now):
            return False
        self.operation = None
        self._conclude(operation)
        return True

    def stopped(self, operation: Operation, record: Record, reason: ExitReason, now: float) -> None:
        """The child whose end the operation waits for is gone."""
        self._terminator.ended(record, reason, now)
        operation.stopping = None
        self._settle(operation, record)
        if operation.purpose is Purpose.FINISH and operation.request is not None:
            # A terminate_child that was under way when the shutdown came: it has what it asked for.
            self.answer(operation, Ok())

    def started(self, operation: Operation, record: Record, result: Ok) -> None:
        """A start that the operation waits for came out well."""
        operation.starting.discard(record.id)
        if operation.child == record.id:
            self.answer(operation, result)

    def finish(self, operation: Operation) -> Operation | None:
        """Replace what is in progress by a FINISH, which first waits for the stop under way; return what it replaces."""
        before, self.operation = self.operation, operation
        if before is not None:
            operation.stopping = before.stopping
        return before

    def answer(self, operation: Operation, result: Ok | Err) -> None:
        """Answer the operation's request, if it has one that is not answered yet."""
        if operation.request is not None:
            self._out.reply(operation.request, result)
            operation.request = None

    def drop(self, record: Record) -> None:
        """Forget a child without a process."""
        self._table.remove(record.id)
        self._out.emit(ChildDeleted(record.id, record.incarnation))

    def _stop_children(self, operation: Operation, now: float) -> bool:
        while operation.stopping is None and operation.to_stop:
            record = self._table.get(operation.to_stop.pop())
            if record is None:
                continue
            if record.has_process:
                operation.stopping = record.id
                self._terminator.begin(record, now)
            else:
                operation.cancelled |= record.life is Life.RESTARTING
                if record.life is not Life.UNDEFINED:
                    self._terminator.release(record)
                self._settle(operation, record)
        return operation.stopping is None

    def _settle(self, operation: Operation, record: Record) -> None:
        """Show a child that is not running any more, or forget it."""
        is_temporary = record.spec.restart is RestartType.TEMPORARY
        match operation.purpose:
            case Purpose.RESTART | Purpose.TERMINATE if is_temporary:
                self._out.mark(record, State.STOPPED)
                self.drop(record)
            case Purpose.RESTART | Purpose.FINISH if record.state in (State.STOPPED, State.EXITED, State.FAILED):
                pass  # it was not running before: nothing changed
            case _:
                self._out.mark(record, operation.settle)

    def _start_children(self, operation: Operation, now: float) -> bool:
        if operation.delay_s > 0:
            assert operation.child is not None
            pivot = self._table.get(operation.child)
            assert pivot is not None
            self._starter.delay(pivot, operation.delay_s, now)
            return True
        if operation.abreast is None:
            # A single one needs no look at all the others.
            operation.abreast = len(operation.to_start) > 1 and any(record.spec.after for record in self._table)
        for record in self._free(operation) if operation.abreast else self._next(operation):
            if operation.purpose in (Purpose.RESTART, Purpose.CASCADE):
                record.restarts += 1
            elif operation.purpose is not Purpose.BOOT:
                record.attempts = 0  # somebody looked into it: no crash loop
            operation.starting.add(record.id)
            self._significance.running(record)
            self._starter.start(record, now)
        return not operation.starting

    def _next(self, operation: Operation) -> list[Record]:
        """Take the next child off those to be started, once the one before it is through."""
        while not operation.starting and operation.to_start:
            record = self._table.get(operation.to_start.popleft())
            if record is not None:  # else a temporary child, deleted by the sweep
                return [record]
        return []

    def _free(self, operation: Operation) -> list[Record]:
        """Take all children off those to be started that come after none which is not through."""
        waiting = [record for child_id in operation.to_start if (record := self._table.get(child_id)) is not None]
        ahead = operation.starting.union(record.id for record in waiting)
        free = [record for record in waiting if record.spec.after.isdisjoint(ahead)]
        if not free and not operation.starting:
            free = waiting[:1]  # specs that were changed one by one may go round in a circle; somebody has to begin
        begun = {record.id for record in free}
        operation.to_start = deque(record.id for record in waiting if record.id not in begun)
        return free

    def _conclude(self, operation: Operation) -> None:
        match operation.purpose:
            case Purpose.BOOT:
                self._out.emit(Booted())
            case Purpose.TERMINATE:
                self.answer(operation, Ok())
                for record in abandoned(self.strategy, self._table) if operation.cancelled else ():
                    self._out.mark(record, State.STOPPED)
            case Purpose.FINISH:
                assert operation.ending is not None
                self.done = True
                self._out.emit(operation.ending)
            case Purpose.RESTART | Purpose.START | Purpose.CYCLE | Purpose.CASCADE:
                pass  # each start was answered when it came out
