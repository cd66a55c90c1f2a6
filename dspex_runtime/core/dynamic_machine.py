"""One dynamic supervisor's decisions: `handle(event, now) -> list[Instruction]`, as `SupervisorMachine` has it.

Elixir's DynamicSupervisor: no children of its own, one_for_one, a full spec with each start_child, `max_children`, and all
children stopped at the same time. Never reads a clock, never does I/O, never starts a thread; ids are the shell's to
make unique, `extra_arguments` the shell's to prepend.

Different by design: it is serial for each child, not for all of them together, so that a start of seconds delays nobody
else; start time-outs, back-off and `CycleChildAsked` as for static supervisors.

Source: Elixir's lib/elixir/lib/dynamic_supervisor.ex; DESIGN §4.
"""

from __future__ import annotations

from collections.abc import Callable

from dspex_runtime.core import invariants
from dspex_runtime.core.child_spec import SupervisorSpec
from dspex_runtime.core.child_table import ChildView
from dspex_runtime.core.dynamic_children import DynamicChildren
from dspex_runtime.core.dynamic_requests import DynamicRequests
from dspex_runtime.core.dynamic_supervision import DynamicSupervision
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
from dspex_runtime.core.instructions import Booted, Exited, Instruction
from dspex_runtime.core.operation import Phase, Retry
from dspex_runtime.types import AutoShutdown, ChildId, Incarnation, State, Strategy


class DynamicMachine:
    """A dynamic supervisor without its processes.

    `handle` is the only mutator. Every request is answered exactly once; the last instruction of a machine is `Exited`.
    It never emits `BootFailed`.

    Args:
        spec: Restart budget and limits; it has no children, is one_for_one and never shuts down automatically.
        next_incarnation: Called once for each start; must never return the same number twice for an id.
        random: Uniform in [0, 1), for the jitter of back-off.

    Raises:
        ValueError: The spec is that of a static supervisor.
    """

    def __init__(
        self, spec: SupervisorSpec, *, next_incarnation: Callable[[ChildId], Incarnation], random: Callable[[], float]
    ) -> None:
        if spec.children or spec.strategy is not Strategy.ONE_FOR_ONE or spec.auto_shutdown is not AutoShutdown.NEVER:
            raise ValueError(f"a dynamic supervisor has no children of its own, is one_for_one and has auto_shutdown never: {spec}")
        self.spec = spec
        self._supervision = DynamicSupervision(spec, next_incarnation=next_incarnation, random=random)
        self._children = DynamicChildren(self._supervision)
        self._requests = DynamicRequests(self._supervision)
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
        """Return what the supervisor is doing: NEW, RUNNING, STOPPING or DONE."""
        if self._supervision.done:
            return Phase.DONE
        if self._supervision.ending is not None:
            return Phase.STOPPING
        return Phase.RUNNING if self._booted else Phase.NEW

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
        invariants.check(invariants.dynamic_problems(sup, booted=self._booted), sup.table, self._story)

    def handle(self, event: Event, now: float) -> list[Instruction]:
        """Take in one event and return what is to be done about it, in order.

        Args:
            event: A fact or a request; facts about a past incarnation are ignored.
            now: Monotonic seconds, never less than at the event before.

        Cost: constant, but for the end of the supervisor and queries (the number of children).
        """
        self._story.add(now, event)
        sup = self._supervision
        match event:
            case Boot():
                self._boot()
            case ChildReady():
                self._children.ready(event, now)
            case ChildIgnored():
                self._children.ignored(event, now)
            case StartFailed() | ChildExited():
                self._children.ended(event, now)
            case TimerFired():
                self._children.timer(event.timer, now)
            case ShutdownRequested():
                if sup.ending is None:
                    sup.finish(Exited(event.reason), State.STOPPED, now)
            case _:
                sup.turns.append(event)
        if self._booted or sup.ending is not None:
            self._advance(now)
        return sup.out.take()

    def _boot(self) -> None:
        if not self._booted and self._supervision.ending is None:
            self._supervision.out.emit(Booted())
        self._booted = True

    def _advance(self, now: float) -> None:
        sup = self._supervision
        while sup.turns:
            item = sup.turns.popleft()
            if isinstance(item, Retry):
                sup.retry(item, now)
            else:
                self._requests.serve(item, now)
