"""Edges between children, what they say of siblings, and the circles they make. Works on full ids alone: knows no specs.

A child that depends on another makes every supervisor above it, up to the lowest common one, come after the other's: each edge
is *lifted* to two siblings. A replica stands for its group; `groups` says which full id is a replica of which.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from dspex_runtime.core.names import full_id


@dataclass(frozen=True, slots=True)
class Edge:
    """`source` depends on `target`, both full ids; `written` is how the target was named."""

    source: str
    target: str
    written: str


@dataclass(frozen=True, slots=True)
class Lifted:
    """An edge as the lowest common supervisor sees it: its child `source` comes after its child `target`.

    Attributes:
        path: Full id of that supervisor, or of the owner of parts; "" is the root.
        source, target: Ids of its children, a group's in place of a replica's.
    """

    path: str
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Cycle:
    """A circle, for people: `str` names its path, and where that is one of supervisors, by which edges.

    Attributes:
        path: As written; the last is the first.
        edges: In the order of the path.
        lifted: Whether it is one of siblings, none of the edges as they are.
    """

    path: tuple[str, ...]
    edges: tuple[Edge, ...]
    lifted: bool = False

    def __str__(self) -> str:
        path = " -> ".join(self.path)
        if not self.lifted:
            return path
        return f"{path}, by {', '.join(f'{edge.source} -> {edge.target}' for edge in self.edges)}"


_Node: TypeAlias = tuple[str, str]  # a supervisor's full id, or "", and an id below it
_Arc: TypeAlias = tuple[_Node, _Node, Edge]  # from, to, because of


class Arcs:
    """What leads from where to where, and the edges because of which it does."""

    def __init__(self) -> None:
        self._leaving: dict[_Node, dict[_Node, dict[Edge, None]]] = {}
        self._of: dict[Edge, tuple[_Node, _Node]] = {}

    def __eq__(self, other: object) -> bool:
        """Whether the same edges lead to the same, in whatever order they came."""
        return isinstance(other, Arcs) and self._of == other._of and self._leaving == other._leaving

    __hash__ = None  # type: ignore[assignment]

    def add(self, edge: Edge, arc: tuple[_Node, _Node] | None) -> None:
        """An edge leads there now; None: nowhere."""
        if arc is not None:
            self._of[edge] = arc
            self._leaving.setdefault(arc[0], {}).setdefault(arc[1], {})[edge] = None

    def remove(self, edge: Edge) -> None:
        """An edge is gone, or leads elsewhere."""
        arc = self._of.pop(edge, None)
        if arc is None:
            return
        to = self._leaving[arc[0]]
        del to[arc[1]][edge]
        if not to[arc[1]]:
            del to[arc[1]]
            if not to:
                del self._leaving[arc[0]]

    def circle(self, edges: Iterable[Edge]) -> list[_Arc]:
        """Return the arcs of the first circle that these lead to, in order; none: there is none.

        Cost: proportional to what can be reached from them. Walks without recursion: a chain may be long.
        """
        done: set[_Node] = set()
        for start in dict.fromkeys(self._of[edge][0] for edge in edges if edge in self._of):
            trail: list[_Arc] = []  # how the walk came to where it is
            on_trail = {start: 0}
            walks = [iter([] if start in done else self._from(start))]
            while walks:
                if (arc := next(walks[-1], None)) is None:
                    walks.pop()
                    node = trail.pop()[1] if trail else start
                    done.add(node)
                    del on_trail[node]
                elif arc[1] in on_trail:
                    return [*trail[on_trail[arc[1]] :], arc]
                elif arc[1] not in done:
                    trail.append(arc)
                    on_trail[arc[1]] = len(trail)
                    walks.append(iter(self._from(arc[1])))
        return []

    def _from(self, node: _Node) -> list[_Arc]:
        return [(node, to, next(iter(edges))) for to, edges in self._leaving.get(node, {}).items()]


def lift(edge: Edge, groups: Mapping[str, str]) -> Lifted | None:
    """Return what an edge says of two siblings; None where one end is above the other, or they are replicas of one group."""
    source, target = edge.source.split("/"), edge.target.split("/")
    for depth, (one, other) in enumerate(zip(source, target, strict=False)):
        if one != other:
            mine, theirs = _node(source[: depth + 1], groups), _node(target[: depth + 1], groups)
            return None if mine == theirs else Lifted("/".join(source[:depth]), _last(mine), _last(theirs))
    return None


def as_it_is(edge: Edge, groups: Mapping[str, str]) -> tuple[_Node, _Node]:
    """Return where an edge leads, groups in place of replicas."""
    return ("", _node(edge.source.split("/"), groups)), ("", _node(edge.target.split("/"), groups))


def lifted_arc(edge: Edge, groups: Mapping[str, str]) -> tuple[_Node, _Node] | None:
    """Return where an edge leads among siblings; None where it says nothing of them."""
    lifted = lift(edge, groups)
    return None if lifted is None else ((lifted.path, lifted.source), (lifted.path, lifted.target))


def find_cycle(edges: Iterable[Edge], groups: Mapping[str, str]) -> Cycle | None:
    """Return a circle of the edges as they are, if there is one, else one of the siblings they are lifted to, else None."""
    every = list(edges)
    plain, lifted = Arcs(), Arcs()
    for edge in every:
        plain.add(edge, as_it_is(edge, groups))
        lifted.add(edge, lifted_arc(edge, groups))
    return found_among(plain, lifted, every)


def found_among(plain: Arcs, lifted: Arcs, edges: Collection[Edge]) -> Cycle | None:
    """Return a circle that these edges lead to, as `find_cycle` does; `plain` and `lifted` have them, and others."""
    if found := plain.circle(edges):
        by = tuple(edge for _, _, edge in found)
        return Cycle((by[-1].written, *(edge.written for edge in by)), by)
    if found := lifted.circle(edges):
        names = [full_id(path, child) for (path, child), _, _ in found]
        return Cycle((*names, names[0]), tuple(edge for _, _, edge in found), lifted=True)
    return None


def _node(parts: Sequence[str], groups: Mapping[str, str]) -> str:
    """Return a full id with the groups in place of all replicas in it."""
    path: list[str] = []
    for depth, part in enumerate(parts):
        group = groups.get("/".join(parts[: depth + 1]))
        path.append(part if group is None else _last(group))
    return "/".join(path)


def _last(full_id: str) -> str:
    return full_id.rpartition("/")[2]
