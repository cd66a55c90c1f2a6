"""Every child of a checked tree of plain data, with its full id and where it is written; the tree as specs that have only ids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dspex_runtime.config.merging import kind_of
from dspex_runtime.config.problems import INVALID, Path
from dspex_runtime.config.replicas import expanded
from dspex_runtime.core.child_spec import ChildSpec, Dependency, SupervisorSpec
from dspex_runtime.core.names import full_id
from dspex_runtime.types import ChildId, Kind

__all__ = ["Found", "outline", "walk", "walk_child"]


@dataclass(frozen=True, slots=True)
class Found:
    """One child.

    Attributes:
        id: Full id; of one with replicas that of the group.
        data: What is written.
        path: Where.
        above: Its supervisor.
    """

    id: str
    data: dict[str, Any]
    path: Path
    above: Mapping[str, Any]


def walk(supervisor: Mapping[str, Any], path: Path, id: str = "") -> Iterator[Found]:
    """Yield the children below a supervisor that have an id, in the order of the file; a supervisor comes before its children."""
    for index, child in enumerate(supervisor.get("children", ())):
        if child is not INVALID and "id" in child:
            yield from walk_child(child, (*path, "children", index), id, supervisor)


def walk_child(child: dict[str, Any], path: Path, id: str, above: Mapping[str, Any]) -> Iterator[Found]:
    """Yield a child and all below it; `id` is the full id of its supervisor."""
    found = Found(full_id(id, child["id"]), child, path, above)
    yield found
    if isinstance(child.get("supervisor"), Mapping):
        yield from walk(child["supervisor"], (*path, "supervisor"), found.id)


def outline(supervisor: Mapping[str, Any], id: str = "") -> SupervisorSpec:
    """Return the tree with ids, kinds, replicas and dependencies only, whatever else is wrong with it."""
    children: list[ChildSpec] = []
    for child in supervisor.get("children", ()):
        if child is INVALID or "id" not in child:
            continue
        nested = child.get("supervisor")
        spec = ChildSpec(
            ChildId(child["id"]),
            Kind(kind_of(child) or Kind.MODULE),
            supervisor=outline(nested, full_id(id, child["id"])) if isinstance(nested, Mapping) else None,
            depends_on={target: Dependency() for target in child.get("depends_on", ())},
        )
        replicas = None if spec.supervisor is not None else child.get("replicas")
        children += [spec] if replicas is None else expanded(spec, replicas["count"], True, id)
    return SupervisorSpec(children=tuple(children))
