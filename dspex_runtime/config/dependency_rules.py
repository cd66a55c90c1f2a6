"""Rules of `depends_on` and of what parts say of fallbacks: every id is one, and nothing depends on itself, however far around.

Works on data that the schema has checked. Puts full ids in place of what was written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from dspex_runtime.config.parts_schema import SUPERVISION
from dspex_runtime.config.problems import Path, Problems
from dspex_runtime.config.tree_walk import Found, outline, walk, walk_child
from dspex_runtime.core.child_spec import ChildSpec
from dspex_runtime.core.dependency_cycles import Edge, find_cycle
from dspex_runtime.core.dependency_order import groups_of, resolve
from dspex_runtime.core.dependency_order import walk as specs
from dspex_runtime.core.names import NameIndex
from dspex_runtime.errors import ConfigError, DspexError
from dspex_runtime.types import FullId, Kind, OnDown

__all__ = ["Present", "check_dependencies", "check_dependencies_of", "edge_path"]

Present: TypeAlias = Callable[[], Iterable[tuple[str, ChildSpec]]]


@dataclass(frozen=True, slots=True)
class Known:
    """What there is to depend on.

    Attributes:
        names: All full ids.
        owners: Those of what may have parts, whose names only a class knows.
        supervisors: Those of supervisors.
    """

    names: NameIndex
    owners: frozenset[str] = frozenset()
    supervisors: frozenset[str] = frozenset()

    @classmethod
    def of(cls, children: Iterable[tuple[str, ChildSpec]]) -> Known:
        """Read it from children by their full ids."""
        names, owners, supervisors = NameIndex(), set(), set()
        for full_id, child in children:
            replica = child.replica
            for id in (full_id,) if replica is None else (full_id, replica.of):
                names.add(FullId(id))
                if child.kind is Kind.MODULE:
                    owners.add(id)
            if child.kind is Kind.SUPERVISOR:
                supervisors.add(full_id)
        return cls(names, frozenset(owners), frozenset(supervisors))


def check_dependencies(tree: Mapping[str, Any], path: Path, problems: Problems) -> None:
    """Check what the children of a whole tree depend on."""
    every = list(walk(tree, path))
    if not _concerns(every):
        return
    shape = outline(tree)
    _check(every, Known.of(specs(shape)), groups_of(shape), problems)


def check_dependencies_of(child: dict[str, Any], at: str, present: Present, problems: Problems) -> None:
    """Check what a child, and all below it, depend on.

    Args:
        child: A checked one.
        at: Full id of its supervisor.
        present: Gives what there is besides, by full ids; asked only where something depends on something.
        problems: Where problems go.
    """
    every = list(walk_child(child, (), at, {}))
    if not _concerns(every):
        return
    shape = outline({"children": [child]}, at)
    _check(every, Known.of((*present(), *specs(shape, at))), groups_of(shape), problems)


def _concerns(every: Iterable[Found]) -> bool:
    """Whether any of them says anything of that: a tree of thousands mostly does not, and need not be looked at again."""
    return any("depends_on" in found.data or "parts" in found.data for found in every)


def _check(every: Iterable[Found], known: Known, groups: Mapping[str, str], problems: Problems) -> None:
    edges: dict[Edge, Path] = {}
    for found in every:
        _resolve_all(found, known, edges, problems)
        _resolve_fallbacks(found.data.get("parts"), found.id, (*found.path, "parts"), known, problems)
    _check_cycles(edges, groups, problems)


def edge_path(path: Path, id: str, index: int, problems: Problems) -> Path:
    """Return where an edge is written: in a map under its id, in a list under its number."""
    here = (*path, "depends_on")
    return (*here, index) if (*here, 0) in problems.places else (*here, id)


def _resolve_all(found: Found, known: Known, edges: dict[Edge, Path], problems: Problems) -> None:
    given = found.data.get("depends_on")
    if not given:
        return
    meant: dict[str, dict[str, Any]] = {}
    before: dict[str, str] = {}  # how each was written, by its full id
    is_server = "server" in found.data
    for index, (written, edge) in enumerate(given.items()):
        here = edge_path(found.path, written, index, problems)
        target = _resolved(written, found.id, here, known, problems)
        if is_server and edge["on_down"] == OnDown.DEGRADE and "fallback" not in edge:
            problems.add(here, "found on_down: degrade on a server; allowed: with a fallback, as a server has no forward_degraded")
        fallback = edge.get("fallback")
        if fallback is not None:
            fallback = _fallback(fallback, found.id, (*here, "fallback"), known, problems)
            if fallback is not None and fallback == target:
                problems.add((*here, "fallback"), f"found {edge['fallback']!r}, which is what is down; allowed: another module")
        if target is None:
            continue
        if target in before:
            problems.add(here, f"found {written!r}, which is {before[target]!r} again; allowed: each once", at_key=True)
            continue
        before[target] = written
        meant[target] = {"on_down": edge["on_down"], **({} if fallback is None else {"fallback": fallback})}
        edges[Edge(found.id, target, written)] = here
    found.data["depends_on"] = meant


def _resolve_fallbacks(parts: Mapping[str, Any] | None, owner: str, path: Path, known: Known, problems: Problems) -> None:
    for name, part in (parts or {}).items():
        if name in SUPERVISION:
            continue
        if "fallback" in part:
            meant = _fallback(part["fallback"], owner, (*path, name, "fallback"), known, problems)
            part["fallback"] = meant or part["fallback"]
        _resolve_fallbacks(part.get("parts"), f"{owner}/{name}", (*path, name, "parts"), known, problems)


def _fallback(written: str, source: str, path: Path, known: Known, problems: Problems) -> str | None:
    target = _resolved(written, source, path, known, problems)
    if target in known.supervisors:
        problems.add(path, f"found {written!r}, a supervisor; allowed: what answers calls, a module or a server")
        return None
    return target


def _resolved(written: str, source: str, path: Path, known: Known, problems: Problems) -> str | None:
    try:
        return resolve(written, source, known.names, known.owners)
    except ConfigError as exc:
        problems.add(path, _text(exc), at_key=True)
        return None


def _text(exc: DspexError) -> str:
    return f"{exc.message}; {exc.hint}" if exc.hint else exc.message


def _check_cycles(edges: Mapping[Edge, Path], groups: Mapping[str, str], problems: Problems) -> None:
    """Report a cycle at its first edge, then look for others without that one."""
    left = dict(edges)
    while (cycle := find_cycle(left, groups)) is not None:
        problems.add(
            left.pop(cycle.edges[0]), f"found a cycle: {cycle}; allowed: dependencies that lead to no child again", at_key=True
        )
