"""The supervision tree as people see it: nested maps, and how each supervisor supervises. Owns no state and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dspex_runtime.node.outcomes import Outcomes
from dspex_runtime.node.registry import Record, Registry
from dspex_runtime.node.supervisor_node import parts_key, supervisor_facts
from dspex_runtime.types import State

if TYPE_CHECKING:
    from dspex_runtime.node.supervision import Supervision


class TreeView:
    """Reads the tree; `now` is the loop's clock."""

    def __init__(self, supervision: Supervision, registry: Registry, outcomes: Outcomes, now: Callable[[], float]) -> None:
        self._supervision = supervision
        self._registry = registry
        self._outcomes = outcomes
        self._now = now

    def as_dict(self, info: Callable[[Record], dict[str, Any]], name: str) -> dict[str, Any]:
        """Return the tree as nested maps; children started alone come last under the root."""
        children: dict[str, list[dict[str, Any]]] = {}
        entries: dict[str, dict[str, Any]] = {}
        for record in self._registry:
            entry = info(record)
            if record.spec.supervisor is not None:
                entry["strategy"] = record.spec.supervisor.strategy.value
                entry["children"] = children.setdefault(record.id, [])
            else:
                entry["restart"] = record.spec.restart.value
            entries[record.id] = entry
        for full_id, entry in entries.items():
            path, _, _ = full_id.rpartition("/")
            children.setdefault(path, []).append(entry)
            if path in entries:
                entries[path]["children"] = children[path]  # also of an owner: its parts
        for path, below in children.items():
            node = self._supervision.node_of(path) or self._supervision.node_of(parts_key(path))
            if node is not None:  # the order of its starts; what is not its own stays where it was, behind
                place = {node.full_id(child.id): number for number, child in enumerate(node.machine.children)}
                below.sort(key=lambda entry: place.get(entry["id"], len(place)))
        root = self.root()
        return {
            "id": "root",
            "name": name,
            "kind": "supervisor",
            "state": root["state"],
            "strategy": root["supervisor"]["strategy"] if root["supervisor"] else "one_for_one",
            "supervisor": root["supervisor"],
            "children": children.get("", []),
        }

    def root(self) -> dict[str, Any]:
        """Return state and `supervisor` of the root supervisor, as `Node.info` has them of the others."""
        node = self._supervision.node_of("")
        ended = self._outcomes.ended.get("")
        failed = ended is None or ended.ending is None or ended.ending.gave_up
        state = State.READY if node is not None else State.FAILED if failed else State.EXITED
        shown = node or ended
        facts = None if shown is None else supervisor_facts(shown.spec, node, self._now())
        return {"state": state.value, "incarnation": 0 if shown is None else shown.incarnation, "supervisor": facts}

    def facts(self, record: Record) -> dict[str, Any] | None:
        """Return how a supervisor supervises, None for another child."""
        spec = record.spec.supervisor
        return None if spec is None else supervisor_facts(spec, self._supervision.node_of(record.id), self._now())
