"""The edges of a runtime as a graph that is kept: what one more would lead to is searched from there, not from everywhere.

Two kinds of arcs are kept, each counted by the edges that make it: the edges as they are, and those of the siblings that they
are lifted to (`dependency_cycles`). A graph without a circle has one after a change only by way of an arc that is new with it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from dspex_runtime.core.dependency_cycles import Arcs, Cycle, Edge, as_it_is, find_cycle, found_among, lifted_arc

Wanted: TypeAlias = tuple[str, Iterable[str], str | None]  # an id, what it depends on, the group that it is a replica of
Place: TypeAlias = tuple[tuple[str, ...], str | None]  # the same of one id

NOWHERE: Final[Place] = ((), None)


class DependencyGraph:
    """See the module docstring. `put` is the only mutator."""

    def __init__(self) -> None:
        self._places: dict[str, Place] = {}
        self._groups: dict[str, str] = {}
        self._through: dict[str, dict[Edge, None]] = {}  #: by each full id that an end of them is, or is below
        self._plain = Arcs()
        self._lifted = Arcs()

    def put(self, id: str, targets: Iterable[str] = (), group: str | None = None) -> Collection[Edge]:
        """Have an id depend on these and on nothing else, and be a replica of that group, or of none.

        Returns:
            The edges that lead somewhere else than before.

        Cost: proportional to its edges; where the group is another one, to those of all that is below it, too.
        """
        place = (tuple(targets), group)
        before = self._places.get(id, NOWHERE)
        if place == before:
            return ()
        changed: dict[Edge, None] = {}
        if group != before[1]:
            changed.update(self._through.get(id, {}))
            self._turn(changed, id, group)
        edges = {Edge(id, target, target): None for target in place[0]}
        for edge in [Edge(id, target, target) for target in before[0]]:
            if edge not in edges:
                self._drop(edge)
                changed.pop(edge, None)
        for edge in edges:
            if edge.target not in before[0]:
                self._add(edge)
                changed[edge] = None
        if place == NOWHERE:
            del self._places[id]
        else:
            self._places[id] = place
        return changed

    def refusals(self, wanted: Sequence[Wanted]) -> dict[str, Cycle]:
        """Return the circles that these (id, targets, group) would make, by id, and change nothing.

        Of those that make one together the last is to blame.

        Cost: proportional to what they depend on, directly or not; nothing of those that depend on nothing.
        """
        wanted = [each for each in wanted if self._is_news(*each)]
        if not wanted:
            return {}  # as of nearly every start
        before = {id: self._places.get(id, NOWHERE) for id, _, _ in wanted}
        found: dict[str, Cycle] = {}
        try:
            if self._circle_with(wanted) is not None:
                self._restore(before)
                for id, targets, group in wanted:
                    here = self._places.get(id, NOWHERE)
                    cycle = self._circle_with([(id, targets, group)])
                    if cycle is not None:
                        found[id] = cycle
                        self._restore({id: here})
        finally:
            self._restore(before)
        return found

    def _is_news(self, id: str, targets: Iterable[str], group: str | None) -> bool:
        return (tuple(targets), group) != self._places.get(id, NOWHERE)

    def _circle_with(self, wanted: Iterable[Wanted]) -> Cycle | None:
        new = {edge: None for each in wanted for edge in self.put(*each)}
        return found_among(self._plain, self._lifted, new) if new else None

    def _restore(self, places: Mapping[str, Place]) -> None:
        for id, place in places.items():
            self.put(id, *place)

    def problem(self, every: Iterable[Wanted]) -> str | None:
        """Return why it is not a graph of these, made anew and searched from everywhere, or why it may not be one."""
        anew = DependencyGraph()
        edges = [edge for each in every for edge in anew.put(*each)]
        if (self._plain, self._lifted) != (anew._plain, anew._lifted):
            return "the graph is not that of the edges"
        cycle = find_cycle(edges, anew._groups)
        return None if cycle is None else f"there is a circle: {cycle}"

    # -- arcs -------------------------------------------------------------------------------------------------------

    def _turn(self, edges: Iterable[Edge], id: str, group: str | None) -> None:
        """Have an id be a replica of a group: edges of it, and of what is below it, lead elsewhere."""
        for edge in edges:
            self._unlink(edge)
        if group is None:
            self._groups.pop(id, None)
        else:
            self._groups[id] = group
        for edge in edges:
            self._link(edge)

    def _add(self, edge: Edge) -> None:
        for id in _above(edge):
            self._through.setdefault(id, {})[edge] = None
        self._link(edge)

    def _drop(self, edge: Edge) -> None:
        self._unlink(edge)
        for id in _above(edge):
            among = self._through[id]
            del among[edge]
            if not among:
                del self._through[id]

    def _link(self, edge: Edge) -> None:
        self._plain.add(edge, as_it_is(edge, self._groups))
        self._lifted.add(edge, lifted_arc(edge, self._groups))

    def _unlink(self, edge: Edge) -> None:
        self._plain.remove(edge)
        self._lifted.remove(edge)


def _above(edge: Edge) -> Iterable[str]:
    """Return the ends of an edge and all that they are below, each once."""
    found: dict[str, None] = {}
    for end in (edge.source, edge.target):
        while end not in found:
            found[end] = None
            if not (end := end.rpartition("/")[0]):
                break
    return found
