"""Which machine a spec asks for. Knows both kinds; decides nothing else."""

from __future__ import annotations

from collections.abc import Callable

from dspex_runtime.core.child_spec import SupervisorSpec
from dspex_runtime.core.dynamic_machine import DynamicMachine
from dspex_runtime.core.machine import Machine
from dspex_runtime.core.supervisor_machine import SupervisorMachine
from dspex_runtime.types import ChildId, Incarnation


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
