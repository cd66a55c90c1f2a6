"""What depends on what, looked at: for people, for processes that start, and for those that wait. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dspex_runtime.core.child_spec import Dependency
from dspex_runtime.core.dependencies import Dependencies as Machine
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.node.registry import Record, Registry
from dspex_runtime.types import OnDown

if TYPE_CHECKING:
    from dspex_runtime.node.module_process import ModuleProcess

__all__ = ["DependencyView", "table_of"]


class DependencyView:
    """Of one runtime.

    Attributes:
        machine: What it goes by; to be asked, and told nothing but by `dependencies.Dependencies`.
    """

    def __init__(self, registry: Registry) -> None:
        self.machine = Machine()
        self._registry = registry

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
        """Return what is shown of what something depends on, a child or a group; None of what is not there."""
        record, group = self._registry.get(id), self._registry.groups.get(id)
        if record is not None:
            return record.shown.value
        return None if group is None else group.state.value

    def around(self, id: str) -> list[str]:
        """Return the ids of all that a start of it would wait for, and of those that are stopped with it."""
        seen, left = {id: None}, [id]
        while left:
            for dep, edge in self.machine.edges(left.pop()).items():
                if dep not in seen and edge.on_down not in (OnDown.FAIL, OnDown.DEGRADE):
                    seen[dep] = None
                    left.append(dep)
        stopped = [other for other in self.machine.needed_by(id) if self.machine.edges(other)[id].on_down is OnDown.STOP]
        return [each for each in (*seen, *stopped) if each != id]

    def processes_of(self, id: str) -> Iterator[ModuleProcess]:
        """Yield the processes of a child, of a group, or of all below a supervisor.

        Cost: of a supervisor, one look at the whole registry.
        """
        for record in self._records_of(id):
            if record.process is not None:
                yield record.process

    def _records_of(self, id: str) -> Iterable[Record]:
        record, group = self._registry.get(id), self._registry.groups.get(id)
        if record is not None and record.spec.supervisor is not None:
            return (other for other in self._registry if other.id.startswith(f"{id}/"))
        return (*(() if record is None else (record,)), *(() if group is None else group.records))


def table_of(edges: Mapping[str, Dependency], down: Mapping[str, ExitReason]) -> dict[str, dict[str, Any]]:
    """Return dependencies as plain data."""
    return {id: {"on_down": edge.on_down.value, "fallback": edge.fallback, "down": down.get(id)} for id, edge in edges.items()}
