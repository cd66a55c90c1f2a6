"""Edges between children, what they say of siblings, and the circles they make. Works on full ids alone: knows no specs.

A child that depends on another makes every supervisor above it, up to the lowest common one, come after the other's: each edge
is *lifted* to two siblings. A replica stands for its group; `groups` says which full id is a replica of which.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias


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


def lift(edge: Edge, groups: Mapping[str, str]) -> Lifted | None:
    """Return what an edge says of two siblings; None where one end is above the other, or they are replicas of one group."""
    source, target = edge.source.split("/"), edge.target.split("/")
    for depth, (one, other) in enumerate(zip(source, target, strict=False)):
        if one != other:
            mine, theirs = _node(source[: depth + 1], groups), _node(target[: depth + 1], groups)
            return None if mine == theirs else Lifted("/".join(source[:depth]), _last(mine), _last(theirs))
    return None


def find_cycle(edges: Iterable[Edge], groups: Mapping[str, str]) -> Cycle | None:
    """Return a circle of the edges as they are, if there is one, else one of the siblings they are lifted to, else None."""
    every = list(edges)
    found = _search(
        (("", _node(edge.source.split("/"), groups)), ("", _node(edge.target.split("/"), groups)), edge) for edge in every
    )
    if found:
        by = tuple(edge for _, _, edge in found)
        return Cycle((by[-1].written, *(edge.written for edge in by)), by)
    found = _search(_lifted_arcs(every, groups))
    if found:
        names = [_below(path, child) for (path, child), _, _ in found]
        return Cycle((*names, names[0]), tuple(edge for _, _, edge in found), lifted=True)
    return None


def _lifted_arcs(edges: Iterable[Edge], groups: Mapping[str, str]) -> Iterator[_Arc]:
    for edge in edges:
        lifted = lift(edge, groups)
        if lifted is not None:
            yield (lifted.path, lifted.source), (lifted.path, lifted.target), edge


def _search(arcs: Iterable[_Arc]) -> list[_Arc]:
    """Return the arcs of the first circle, in order; none: no circle. Walks without recursion: a chain may be long."""
    leaving: dict[_Node, list[_Arc]] = {}
    for each in arcs:
        leaving.setdefault(each[0], []).append(each)
    done: set[_Node] = set()
    for start in leaving:
        trail: list[_Arc] = []  # how the walk came to where it is
        on_trail = {start: 0}
        walks: list[Iterator[_Arc]] = [iter([] if start in done else leaving[start])]
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
                walks.append(iter(leaving.get(arc[1], [])))
    return []


def _node(parts: Sequence[str], groups: Mapping[str, str]) -> str:
    """Return a full id with the groups in place of all replicas in it."""
    path: list[str] = []
    for depth, part in enumerate(parts):
        group = groups.get("/".join(parts[: depth + 1]))
        path.append(part if group is None else _last(group))
    return "/".join(path)


def _last(full_id: str) -> str:
    return full_id.rpartition("/")[2]


def _below(path: str, child: str) -> str:
    return f"{path}/{child}" if path else child
