"""One supervisor's decisions: `handle(event, now) -> list[Instruction]`.

Never reads a clock, never does I/O, never starts a thread; never looks inside a nested supervisor, which is a child like
others. The parts: `supervision` (state, restart decisions), `runner` (the operation in progress), `child_events` and `requests`
(the handlers), `invariants`.

OTP's supervisor, and serial like it: while it starts or sweeps, requests and the ends of other children wait in order.
Different by design: start time-outs, back-off (`backoff=None` is OTP's), `CycleChildAsked`, and a float restart window.

Source: supervisor.erl; DESIGN §4.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from dspex_runtime.core import invariants
from dspex_runtime.core.child_events import ChildEvents
from dspex_runtime.core.child_spec import SupervisorSpec
from dspex_runtime.core.child_table import ChildView
from dspex_runtime.core.events import (
    Boot,
    ChildExited,
    ChildIgnored,
    ChildReady,
    Event,
    ShutdownRequested,
    StartFailed,
    TimerFired,
)
from dspex_runtime.core.instructions import Exited, Instruction
from dspex_runtime.core.operation import Died, Due, Operation, Phase, Purpose, Retry
from dspex_runtime.core.requests import Requests
from dspex_runtime.core.supervision import Supervision
from dspex_runtime.types import ChildId, Incarnation, State


class SupervisorMachine:
    """A supervisor without its processes.

    `handle` is the only mutator. Every request is answered exactly once; the last instruction of a machine is `Exited`
    or `BootFailed`.

    Args:
        spec: Strategy, restart budget, children in start order (ids unique).
        next_incarnation: Called once for each start; must never return the same number twice for an id.
        random: Uniform in [0, 1), for the jitter of back-off.

    Raises:
        ValueError: Two children of the spec have the same id.
    """

    def __init__(
        self,
        spec: SupervisorSpec,
        *,
        next_incarnation: Callable[[ChildId], Incarnation],
        random: Callable[[], float],
    ) -> None:
        self.spec = spec
        self._supervision = Supervision(spec, next_incarnation=next_incarnation, random=random)
        self._child_events = ChildEvents(self._supervision)
        self._requests = Requests(self._supervision)
        self._story = invariants.Story()
        self._booted = False

    @property
    def children(self) -> tuple[ChildView, ...]:
        """Return the children in start order. Cost: proportional to their number."""
        return self._supervision.table.views()

    def child(self, child_id: ChildId) -> ChildView | None:
        """Return one child, or None. Cost: constant."""
        return self._supervision.table.view(child_id)

    @property
    def phase(self) -> Phase:
        """Return what the supervisor is doing."""
        operation = self._supervision.runner.operation
        if operation is None:
            return Phase.DONE if self._supervision.runner.done else Phase.RUNNING if self._booted else Phase.NEW
        match operation.purpose:
            case Purpose.BOOT:
                return Phase.BOOTING
            case Purpose.FINISH:
                return Phase.STOPPING
            case _:
                return Phase.SWEEPING if operation.stopping is not None else Phase.STARTING

    def restarts_within(self, now: float) -> int:
        """Return how many restarts of the last `max_seconds` count towards `max_restarts`."""
        return self._supervision.restarts_within(now)

    def validate(self) -> None:
        """Check every invariant.

        Raises:
            InvariantError: One does not hold; the text tells the story of the latest events.

        Cost: proportional to the number of children.
        """
        sup = self._supervision
        found = invariants.problems(
            sup.table,
            sup.runner.operation,
            sup.queue if self._booted else (),
            sup.out.armed,
            done=sup.runner.done,
        )
        invariants.check(found, sup.table, self._story)

    def handle(self, event: Event, now: float) -> list[Instruction]:
        """Take in one event and return what is to be done about it, in order.

        Args:
            event: A fact or a request; facts about a past incarnation are ignored.
            now: Monotonic seconds, never less than at the event before.

        Cost: constant, but for sweeps and queries (the number of children they are about).
        """
        self._story.add(now, event)
        sup = self._supervision
        match event:
            case Boot():
                self._boot()
            case ChildReady():
                self._child_events.ready(event, now)
            case ChildIgnored():
                self._child_events.ignored(event, now)
            case StartFailed() | ChildExited():
                self._child_events.ended(event, now)
            case TimerFired():
                self._child_events.timer(event.timer)
            case ShutdownRequested():
                if not sup.runner.done and not sup.runner.is_finishing:
                    sup.finish(Exited(event.reason), State.STOPPED)
            case _:
                self._requests.accept(event)
        self._advance(now)
        return sup.out.take()

    def _boot(self) -> None:
        runner = self._supervision.runner
        if not self._booted and not runner.done:
            runner.operation = Operation(Purpose.BOOT, to_start=deque(self._supervision.table.ids()))
        self._booted = True

    def _advance(self, now: float) -> None:
        """Go on until the operation waits for an event, and the head of the queue for the operation."""
        sup = self._supervision
        while True:
            if sup.runner.step(now):
                continue
            if sup.runner.operation is not None or not sup.queue or not self._booted:
                return
            item = sup.queue.popleft()
            if isinstance(item, Died | Retry | Due):
                sup.take(item, now)
            else:
                self._requests.serve(item, now)
