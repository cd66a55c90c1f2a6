"""The instructions of one `handle` call, and which timers are armed. Decides nothing."""

from __future__ import annotations

from typing import Any

from dspex_runtime.core.child_table import Record
from dspex_runtime.core.events import TimerId, TimerKind
from dspex_runtime.core.instructions import CancelTimer, ChildState, Err, Instruction, Ok, Reply, SetTimer
from dspex_runtime.types import State


class Outbox:
    """Collects instructions in order.

    Attributes:
        armed: Timers that were set and neither fired nor were cancelled, with their times.
    """

    __slots__ = ("_items", "armed")

    def __init__(self) -> None:
        self._items: list[Instruction] = []
        self.armed: dict[TimerId, float] = {}

    def emit(self, instruction: Instruction) -> None:
        """Append one instruction."""
        self._items.append(instruction)

    def take(self) -> list[Instruction]:
        """Return what was collected since the last call."""
        items, self._items = self._items, []
        return items

    def reply(self, request: int, result: Ok | Err) -> None:
        """Answer a request."""
        self._items.append(Reply(request, result))

    def mark(self, record: Record, state: State, **detail: Any) -> None:
        """Show a child as `state`; says nothing when that is no news."""
        if record.state is not state or detail:
            record.state = state
            self._items.append(ChildState(record.id, state, record.incarnation, detail))

    def set_timer(self, kind: TimerKind, record: Record, at: float) -> None:
        """Arm a timer for the child's current incarnation."""
        timer = TimerId(kind, record.id, record.incarnation)
        self.armed[timer] = at
        self._items.append(SetTimer(timer, at))

    def cancel_timer(self, kind: TimerKind, record: Record) -> None:
        """Disarm a timer of the child's current incarnation, if it is armed."""
        timer = TimerId(kind, record.id, record.incarnation)
        if self.armed.pop(timer, None) is not None:
            self._items.append(CancelTimer(timer))

    def is_armed(self, kind: TimerKind, record: Record) -> bool:
        """Return whether a timer of the child's current incarnation is armed."""
        return TimerId(kind, record.id, record.incarnation) in self.armed

    def fired(self, timer: TimerId) -> bool:
        """Disarm a timer that came due; False when it had been cancelled on the way."""
        return self.armed.pop(timer, None) is not None
