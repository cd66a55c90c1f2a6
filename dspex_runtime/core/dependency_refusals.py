"""Which declarations would make a circle with what is known. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dspex_runtime.core.dependency_cycles import Cycle, Edge, find_cycle
from dspex_runtime.core.dependency_events import Declared
from dspex_runtime.core.dependency_node import Node


def circle(nodes: Mapping[str, Node], declared: Mapping[str, Declared]) -> Cycle | None:
    """Return a circle that there is with these declarations, by id, in place of earlier ones of the same ids."""
    known = [Declared(node.id, node.edges, node.group) for node in nodes.values() if node.id not in declared]
    every = [*declared.values(), *known]
    groups = {each.id: each.group for each in every if each.group is not None}
    return find_cycle((Edge(each.id, dep, dep) for each in every for dep in each.edges), groups)


def refused(nodes: Mapping[str, Node], declared: Sequence[Declared]) -> dict[str, Cycle]:
    """Return the circles that these would make, by id; of those that make one together the last is to blame.

    Cost: one look at all dependencies where there is no circle, or nothing that could make one.
    """
    if not any(each.edges or each.group for each in declared) or circle(nodes, {each.id: each for each in declared}) is None:
        return {}
    found: dict[str, Cycle] = {}
    accepted: dict[str, Declared] = {}
    for each in declared:
        cycle = circle(nodes, {**accepted, each.id: each})
        if cycle is None:
            accepted[each.id] = each
        else:
            found[each.id] = cycle
    return found
