"""One dynamic supervisor's decisions: `handle(event, now) -> list[Instruction]`, as `SupervisorMachine` has it.

Elixir's DynamicSupervisor: no children of its own, one_for_one, a full spec with each start_child, `max_children`, and all
children stopped at the same time. Never reads a clock, never does I/O, never starts a thread; ids are the shell's to
make unique, `extra_arguments` the shell's to prepend.

Different by design: it is serial for each child, not for all of them together, so that a start of seconds delays nobody
else; start time-outs, back-off and `CycleChildAsked` as for static supervisors.

Source: Elixir's lib/elixir/lib/dynamic_supervisor.ex; DESIGN §4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dspex_runtime.core import invariants
from dspex_runtime.core.child_spec import SupervisorSpec
from dspex_runtime.core.dynamic_children import DynamicChildren
from dspex_runtime.core.dynamic_requests import DynamicRequests
from dspex_runtime.core.dynamic_supervision import DynamicSupervision
from dspex_runtime.core.dynamic_work import Job
from dspex_runtime.core.events import Cascade, Request, RestartAsked, StopAsked
from dspex_runtime.core.instructions import Booted, Exited
from dspex_runtime.core.machine import Machine
from dspex_runtime.core.operation import Phase, Retry
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.types import AutoShutdown, ChildId, Incarnation, State, Strategy


class DynamicMachine(Machine):
    """A dynamic supervisor; its last instruction is `Exited`, it never emits `BootFailed`.

    Args:
        spec: Restart budget and limits; it has no children, is one_for_one and never shuts down automatically.
        next_incarnation: Called once for each start; must never return the same number twice for an id.
        random: Uniform in [0, 1), for the jitter of back-off.

    Raises:
        ValueError: The spec is that of a static supervisor.
    """

    _supervision: DynamicSupervision

    def __init__(
        self, spec: SupervisorSpec, *, next_incarnation: Callable[[ChildId], Incarnation], random: Callable[[], float]
    ) -> None:
        if spec.children or spec.strategy is not Strategy.ONE_FOR_ONE or spec.auto_shutdown is not AutoShutdown.NEVER:
            raise ValueError(f"a dynamic supervisor has no children of its own, is one_for_one and has auto_shutdown never: {spec}")
        supervision = DynamicSupervision(spec, next_incarnation=next_incarnation, random=random)
        super().__init__(supervision, DynamicChildren(supervision))
        self._requests = DynamicRequests(supervision)

    @property
    def phase(self) -> Phase:
        """Return what the supervisor is doing: NEW, RUNNING, STOPPING or DONE."""
        if self._supervision.done:
            return Phase.DONE
        if self._supervision.ending is not None:
            return Phase.STOPPING
        return Phase.RUNNING if self._booted else Phase.NEW

    def starts_again(self, child_id: ChildId) -> bool:
        """Return whether a child that is being stopped is to be started again by what stops it."""
        work = self._supervision.work.get(child_id)
        return work is not None and work.job in (Job.CYCLE, Job.CASCADE)

    def _boot(self) -> None:
        if self._supervision.ending is None:
            self._supervision.out.emit(Booted())

    def _shut_down(self, reason: ExitReason, now: float) -> None:
        if self._supervision.ending is None:
            self._supervision.finish(Exited(reason), State.STOPPED, now)

    def _take_along(self, cascade: Cascade) -> None:
        self._supervision.turns.append(cascade)

    def _accept(self, request: Request) -> None:
        self._supervision.turns.append(request)

    def _advance(self, now: float) -> None:
        sup = self._supervision
        while sup.turns and (self._booted or sup.ending is not None):
            item = sup.turns.popleft()
            if isinstance(item, Retry):
                sup.retry(item, now)
            elif isinstance(item, RestartAsked | StopAsked):
                sup.take_along(item, now)
            else:
                self._requests.serve(item, now)

    def _problems(self) -> Iterator[str]:
        return invariants.dynamic_problems(self._supervision, booted=self._booted)
