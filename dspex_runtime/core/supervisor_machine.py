"""One supervisor's decisions: `handle(event, now) -> list[Instruction]`.

Never reads a clock, never does I/O, never starts a thread; never looks inside a nested supervisor, which is a child like
others. The parts: `supervision` (state, restart decisions), `runner` (the operation in progress), `static_children` and `requests`
(the handlers), `invariants`; the frame is `machine`'s.

OTP's supervisor, and serial like it: while it starts or sweeps, requests and the ends of other children wait in order.
Different by design: start time-outs, back-off (`backoff=None` is OTP's), `CycleChildAsked`, and a float restart window.

Source: supervisor.erl; DESIGN §4.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from dspex_runtime.core import invariants
from dspex_runtime.core.child_spec import SupervisorSpec
from dspex_runtime.core.events import Cascade, Request
from dspex_runtime.core.instructions import Exited
from dspex_runtime.core.machine import Machine
from dspex_runtime.core.operation import Internal, Operation, Phase, Purpose
from dspex_runtime.core.requests import Requests
from dspex_runtime.core.static_children import StaticChildren
from dspex_runtime.core.supervision import Supervision
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.types import ChildId, Incarnation, RestartType, State


class SupervisorMachine(Machine):
    """A supervisor with a strategy; its last instruction is `Exited` or `BootFailed`.

    Args:
        spec: Strategy, restart budget, children in start order (ids unique).
        next_incarnation: Called once for each start; must never return the same number twice for an id.
        random: Uniform in [0, 1), for the jitter of back-off.

    Raises:
        ValueError: Two children of the spec have the same id.
    """

    _supervision: Supervision

    def __init__(
        self, spec: SupervisorSpec, *, next_incarnation: Callable[[ChildId], Incarnation], random: Callable[[], float]
    ) -> None:
        supervision = Supervision(spec, next_incarnation=next_incarnation, random=random)
        super().__init__(supervision, StaticChildren(supervision))
        self._requests = Requests(supervision)

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

    def starts_again(self, child_id: ChildId) -> bool:
        """Return whether a child that is being stopped is to be started again by what stops it."""
        operation, record = self._supervision.runner.operation, self._supervision.table.get(child_id)
        if operation is None or record is None or child_id not in operation.to_start:
            return False
        return operation.purpose is not Purpose.RESTART or record.spec.restart is not RestartType.TEMPORARY

    def _boot(self) -> None:
        runner = self._supervision.runner
        if not runner.done:
            runner.operation = Operation(Purpose.BOOT, to_start=deque(self._supervision.table.ids()))

    def _shut_down(self, reason: ExitReason, now: float) -> None:  # noqa: ARG002 (its children are stopped one by one)
        runner = self._supervision.runner
        if not runner.done and not runner.is_finishing:
            self._supervision.finish(Exited(reason), State.STOPPED)

    def _take_along(self, cascade: Cascade) -> None:
        runner = self._supervision.runner
        if not runner.done and not runner.is_finishing:
            self._supervision.queue.append(cascade)

    def _accept(self, request: Request) -> None:
        self._requests.accept(request)

    def _advance(self, now: float) -> None:
        """Go on until the operation waits for an event, and the head of the queue for the operation."""
        sup = self._supervision
        while True:
            if sup.runner.step(now):
                continue
            if sup.runner.operation is not None or not sup.queue or not self._booted:
                return
            item = sup.queue.popleft()
            if isinstance(item, Internal):
                sup.take(item, now)
            else:
                self._requests.serve(item, now)

    def _problems(self) -> Iterator[str]:
        sup = self._supervision
        queue = sup.queue if self._booted else ()
        return invariants.problems(sup.table, sup.runner.operation, queue, sup.out.armed, sup.held, done=sup.runner.done)
