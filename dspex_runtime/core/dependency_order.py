"""What children depend on: the ids that are meant, and the order of starts that follows. Pure: for files and for requests.

    resolve("b", "s/a", names)       "s/b": the id that is meant
    arranged(tree)                   the tree in start order, every child with its `after`
    after_of("s/a", edges, siblings) `after` of one child that is added while the tree runs

Circles are `dependency_cycles`'.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from dspex_runtime.core.child_spec import ChildSpec, SupervisorSpec
from dspex_runtime.core.dependency_cycles import Edge, find_cycle, lift
from dspex_runtime.core.names import NameIndex, full_id
from dspex_runtime.errors import ConfigError, NoProcessError
from dspex_runtime.types import ChildId

__all__ = ["after_of", "arranged", "edges_of", "groups_of", "resolve", "start_order", "walk"]


def walk(tree: SupervisorSpec, path: str = "") -> Iterator[tuple[str, ChildSpec]]:
    """Yield every child below `path` with its full id, a supervisor before its children, in the order of the lists."""
    for child in tree.children:
        id = full_id(path, child.id)
        yield id, child
        if child.supervisor is not None:
            yield from walk(child.supervisor, id)


def groups_of(tree: SupervisorSpec) -> dict[str, str]:
    """Return the group of every replica, both by full id."""
    return {id: child.replica.of for id, child in walk(tree) if child.replica is not None}


def edges_of(tree: SupervisorSpec, written: Mapping[tuple[str, str], str] | None = None) -> list[Edge]:
    """Return every edge of a tree whose `depends_on` are full ids; `written` as `arranged` takes it."""
    names = written or {}
    return [Edge(id, target, names.get((id, target), target)) for id, child in walk(tree) for target in child.depends_on]


def resolve(written: str, source: str, names: NameIndex, owners: Collection[str] = ()) -> str:
    """Return the full id of what a child depends on.

    Args:
        written: A full id, or the end of one that only one child has.
        source: Full id of the child that depends on it, a replica's: its group's.
        names: What there is.
        owners: Full ids below which there may be more than `names` has: parts, which only their owner's class knows.

    Raises:
        ConfigError: There is none (the hint names near misses), or there are several; it is the child itself, or one that it is
            below, or one that is below it.
    """
    target = _found(written, names, owners)
    if target == source:
        raise ConfigError(f"{source!r} cannot depend on itself", id=source)
    if source.startswith(f"{target}/"):
        raise ConfigError(f"{source!r} cannot depend on {target!r}, which it is part of: that is up when {source!r} is", id=source)
    if target.startswith(f"{source}/"):
        raise ConfigError(f"{source!r} cannot depend on {target!r}, which is part of it: it starts that itself", id=source)
    return target


def _found(written: str, names: NameIndex, owners: Collection[str]) -> str:
    try:
        return names.resolve(written)
    except NoProcessError as error:
        owner = written
        while owner := owner.rpartition("/")[0]:
            if owner in owners:
                return written
        raise ConfigError(error.message, id=written, hint=error.hint) from error


def arranged(tree: SupervisorSpec, written: Mapping[tuple[str, str], str] | None = None) -> SupervisorSpec:
    """Return the tree with every supervisor's children in start order, and with their `after`.

    The order is that of the lists where no dependency says otherwise. Arranging again changes nothing.

    Args:
        tree: All `depends_on` are full ids (`resolve`), replicas are expanded. Targets that are not in the tree order nothing.
        written: How a target was written, by (full id of the source, full id of the target); default: as its full id.

    Raises:
        ConfigError: There is a circle; the text names its path, as written.
    """
    edges, groups = edges_of(tree, written), groups_of(tree)
    cycle = find_cycle(edges, groups)
    if cycle is not None:
        raise ConfigError(f"depends_on has a cycle: {cycle}")
    after: dict[str, dict[str, set[str]]] = {}
    for edge in edges:
        lifted = lift(edge, groups)
        if lifted is not None:
            after.setdefault(lifted.path, {}).setdefault(lifted.source, set()).add(lifted.target)
    return _arranged(tree, "", after)


def _arranged(spec: SupervisorSpec, path: str, after: Mapping[str, Mapping[str, set[str]]]) -> SupervisorSpec:
    here = after.get(path, {})
    members: dict[str, list[ChildId]] = {}
    for child in spec.children:
        members.setdefault(_name(child), []).append(child.id)
    children: dict[ChildId, ChildSpec] = {}
    for child in spec.children:
        siblings = frozenset(id for name in here.get(_name(child), ()) for id in members.get(name, ()))
        below = child.supervisor and _arranged(child.supervisor, full_id(path, child.id), after)
        children[child.id] = replace(child, after=siblings, supervisor=below)
    order = start_order(list(children), {child.id: child.after for child in children.values()})
    return replace(spec, children=tuple(children[id] for id in order))


def _name(child: ChildSpec) -> str:
    """Return what siblings depend on: the id, of a replica that of its group."""
    return str(child.id) if child.replica is None else child.replica.of.rpartition("/")[2]


def after_of(id: str, targets: Iterable[str], siblings: Iterable[ChildSpec]) -> frozenset[ChildId]:
    """Return the siblings that a child comes after, for its own sake: those it depends on, and those that such a one is below.

    Args:
        id: Full id of the child.
        targets: Full ids of what it depends on.
        siblings: The children of its supervisor; it may be among them.
    """
    path = id.rpartition("/")[0]
    prefix = f"{path}/" if path else ""
    wanted = {target[len(prefix) :].partition("/")[0] for target in targets if target.startswith(prefix)}
    here = id[len(prefix) :]
    return frozenset(child.id for child in siblings if child.id != here and not wanted.isdisjoint({str(child.id), _name(child)}))


def start_order(ids: Sequence[ChildId], after: Mapping[ChildId, Collection[ChildId]]) -> list[ChildId]:
    """Return the ids with each behind those it is after, in the order they had where nothing says otherwise.

    Ids that are not among them count for nothing. Of those in a circle the first goes first.
    """
    place = {id: number for number, id in enumerate(ids)}
    left = {id: {other for other in after.get(id, ()) if other in place and other != id} for id in ids}
    waiting: dict[ChildId, list[ChildId]] = {}
    for id in ids:
        for other in left[id]:
            waiting.setdefault(other, []).append(id)
    free = [place[id] for id in ids if not left[id]]
    order: list[ChildId] = []
    while left:
        id = ids[heapq.heappop(free)] if free else next(iter(left))
        del left[id]
        order.append(id)
        for other in waiting.get(id, ()):
            if other in left:
                left[other].discard(id)
                if not left[other]:
                    heapq.heappush(free, place[other])
    return order
