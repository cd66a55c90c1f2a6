"""What depends on what, looked at: for people, for processes that start, and for those that wait. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.core.child_spec import Dependency
from dspex_runtime.core.dependencies import Dependencies as Machine
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.node.registry import Record, Registry
from dspex_runtime.types import OnDown, State

if TYPE_CHECKING:
    from dspex_runtime.node.module_process import ModuleProcess

__all__ = ["DependencyView", "table_of"]

BEST_FIRST: Final = (
    State.READY, State.DEGRADED, State.SWAPPING, State.DRAINING, State.STARTING, State.BACKOFF, State.PENDING, State.STOPPING,
    State.STOPPED, State.EXITED, State.FAILED,
)  # fmt: skip


class DependencyView:
    """Of one runtime.

    Attributes:
        machine: What it goes by; to be asked, and told nothing but by `dependencies.Dependencies`.
    """

    def __init__(self, registry: Registry) -> None:
        self.machine = Machine()
        self._registry = registry
        self._replicas: dict[str, set[str]] = {}  #: by group

    def table(self, id: str) -> dict[str, dict[str, Any]]:
        """Return what a process is told of what it depends on (`host.dependencies`)."""
        return table_of(self.machine.edges(id), self.machine.down(id))

    def shown(self, record: Record) -> dict[str, Any]:
        """Return depends_on, waiting_for and needed_by of a child, as `info` has them."""
        edges = self.machine.edges(record.id)
        down = self.machine.down(record.id) if edges else {}
        depends_on = {
            id: {"on_down": edge.on_down.value, "fallback": edge.fallback, "state": self.state_of(id)} for id, edge in edges.items()
        }
        ids = (record.id,) if record.spec.replica is None else (record.id, record.spec.replica.of)
        needed_by = [other for id in ids for other in self.machine.needed_by(id)]
        return {"depends_on": depends_on, "waiting_for": list(down), "needed_by": needed_by}

    def state_of(self, id: str) -> str | None:
        """Return what is shown of what something depends on; of a group the best of its replicas'; None of what is not there."""
        record = self._registry.get(id)
        if record is not None:
            return record.shown.value
        states = {record.shown for each in self._replicas.get(id, ()) if (record := self._registry.get(each)) is not None}
        return next((state.value for state in BEST_FIRST if state in states), None)

    def processes_around(self, id: str) -> Iterator[ModuleProcess]:
        """Yield the processes of all that a start of it would wait for, and of those that are stopped with it."""
        seen, left = {id: None}, [id]
        while left:
            for dep, edge in self.machine.edges(left.pop()).items():
                if dep not in seen and edge.on_down not in (OnDown.FAIL, OnDown.DEGRADE):
                    seen[dep] = None
                    left.append(dep)
        stopped = [other for other in self.machine.needed_by(id) if self.machine.edges(other)[id].on_down is OnDown.STOP]
        for each in (*seen, *stopped):
            if each != id:
                yield from self._processes_of(each)

    def _processes_of(self, id: str) -> Iterator[ModuleProcess]:
        """Yield the processes of a child, of a group, or of all below a supervisor."""
        record = self._registry.get(id)
        if record is not None and record.spec.supervisor is not None:
            records = [other for other in self._registry if other.id.startswith(f"{id}/")]
        else:
            found = (record, *(self._registry.get(replica) for replica in self._replicas.get(id, ())))
            records = [each for each in found if each is not None]
        yield from (each.process for each in records if each.process is not None)


def table_of(edges: Mapping[str, Dependency], down: Mapping[str, ExitReason]) -> dict[str, dict[str, Any]]:
    """Return dependencies as plain data."""
    return {id: {"on_down": edge.on_down.value, "fallback": edge.fallback, "down": down.get(id)} for id, edge in edges.items()}
