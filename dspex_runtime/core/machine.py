"""The frame of a supervisor's decisions: `handle(event, now) -> list[Instruction]`, the same for both kinds.

Owns the order of one `handle`: note the event, give it to whoever it is for, then go on as far as can be. Never reads a clock,
never does I/O, never starts a thread; never decides anything by itself: that is `supervisor_machine` and `dynamic_machine`.
Which one a spec asks for: `machine_kinds`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from dspex_runtime.core import invariants
from dspex_runtime.core.child_events import ChildEvents
from dspex_runtime.core.child_spec import SupervisorSpec
from dspex_runtime.core.child_table import ChildView
from dspex_runtime.core.events import (
    Boot,
    Cascade,
    ChildExited,
    ChildHeld,
    ChildIgnored,
    ChildReady,
    ChildSwapped,
    Event,
    Request,
    RestartAsked,
    ShutdownRequested,
    StartFailed,
    StopAsked,
    TimerFired,
)
from dspex_runtime.core.instructions import Instruction
from dspex_runtime.core.operation import Phase
from dspex_runtime.core.supervision_state import SupervisionState
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.types import ChildId


class Machine(ABC):
    """A supervisor without its processes. `handle` is the only mutator; every request is answered exactly once."""

    _supervision: SupervisionState

    def __init__(self, supervision: SupervisionState, child_events: ChildEvents[Any]) -> None:
        self._supervision = supervision
        self._child_events = child_events
        self._story = invariants.Story()
        self._booted = False

    @property
    def spec(self) -> SupervisorSpec:
        """Return by what it supervises; its children are those it began with, or was last told of."""
        return self._supervision.spec

    @property
    def children(self) -> tuple[ChildView, ...]:
        """Return the children in start order. Cost: proportional to their number."""
        return self._supervision.table.views()

    def child(self, child_id: ChildId) -> ChildView | None:
        """Return one child, or None. Cost: constant."""
        return self._supervision.table.view(child_id)

    @property
    @abstractmethod
    def phase(self) -> Phase:
        """Return what the supervisor is doing."""

    @abstractmethod
    def starts_again(self, child_id: ChildId) -> bool:
        """Return whether a child that is being stopped is to be started again by what stops it: a sweep, a restart by request."""

    def restarts_within(self, now: float) -> int:
        """Return how many restarts of the last `max_seconds` count towards `max_restarts`."""
        return self._supervision.restarts_within(now)

    def validate(self) -> None:
        """Check every invariant.

        Raises:
            InvariantError: One does not hold; the text tells the story of the latest events.

        Cost: proportional to the number of children.
        """
        invariants.check(self._problems(), self._supervision.table, self._story)

    def handle(self, event: Event, now: float) -> list[Instruction]:
        """Take in one event and return what is to be done about it, in order.

        Args:
            event: A fact or a request; facts about a past incarnation are ignored.
            now: Monotonic seconds, never less than at the event before.

        Cost: constant, but for sweeps, the end of the supervisor and queries (the number of children they are about).
        """
        self._story.add(now, event)
        match event:
            case Boot():
                if not self._booted:
                    self._boot()
                self._booted = True
            case ChildReady():
                self._child_events.ready(event, now)
            case ChildIgnored():
                self._child_events.ignored(event, now)
            case StartFailed() | ChildExited():
                self._child_events.ended(event, now)
            case ChildSwapped():
                self._child_events.swapped(event)
            case ChildHeld():
                self._child_events.held(event, now)
            case TimerFired():
                self._child_events.timer(event.timer, now)
            case ShutdownRequested():
                self._shut_down(event.reason, now)
            case RestartAsked() | StopAsked():
                self._take_along(event)
            case _:
                self._accept(event)
        self._advance(now)
        return self._supervision.out.take()

    @abstractmethod
    def _boot(self) -> None:
        """The first boot; it may have been told to shut down before."""

    @abstractmethod
    def _shut_down(self, reason: ExitReason, now: float) -> None:
        """Begin to end, unless it has begun already."""

    @abstractmethod
    def _take_along(self, cascade: Cascade) -> None:
        """Queue what follows for a child from what became of a dependency of it."""

    @abstractmethod
    def _accept(self, request: Request) -> None:
        """Queue a request, or refuse it at once."""

    @abstractmethod
    def _advance(self, now: float) -> None:
        """Go on with what was queued until an event has to be waited for."""

    @abstractmethod
    def _problems(self) -> Iterator[str]:
        """Yield a text for every invariant that does not hold."""
