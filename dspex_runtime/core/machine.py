"""What the two kinds of supervisor machines have in common, and which one a spec asks for. Decides nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from dspex_runtime.core.child_spec import SupervisorSpec
from dspex_runtime.core.child_table import ChildView
from dspex_runtime.core.dynamic_machine import DynamicMachine
from dspex_runtime.core.events import Event
from dspex_runtime.core.instructions import Instruction
from dspex_runtime.core.operation import Phase
from dspex_runtime.core.supervisor_machine import SupervisorMachine
from dspex_runtime.types import ChildId, Incarnation


class Machine(Protocol):
    """A supervisor without its processes: every decision comes out of `handle`."""

    spec: SupervisorSpec

    @property
    def children(self) -> tuple[ChildView, ...]:
        """Return the children in start order."""

    @property
    def phase(self) -> Phase:
        """Return what the supervisor is doing."""

    def child(self, child_id: ChildId) -> ChildView | None:
        """Return one child, or None."""

    def restarts_within(self, now: float) -> int:
        """Return how many restarts of the last `max_seconds` count towards `max_restarts`."""

    def validate(self) -> None:
        """Raise InvariantError when the machine contradicts itself."""

    def handle(self, event: Event, now: float) -> list[Instruction]:
        """Take in one event and return what is to be done about it, in order."""


def machine_for(
    spec: SupervisorSpec, *, next_incarnation: Callable[[ChildId], Incarnation], random: Callable[[], float]
) -> Machine:
    """Return the machine for a spec: a `DynamicMachine` for a dynamic one, else a `SupervisorMachine`.

    Args:
        spec: What to supervise, and how.
        next_incarnation: Called once for each start; must never return the same number twice for an id.
        random: Uniform in [0, 1), for the jitter of back-off.

    Raises:
        ValueError: The spec contradicts itself; whoever made it should have refused it.
    """
    kind = DynamicMachine if spec.dynamic else SupervisorMachine
    return kind(spec, next_incarnation=next_incarnation, random=random)
