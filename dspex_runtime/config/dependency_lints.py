"""Warnings about dependencies: what the strategy or a restart type makes of no use. Pure, on checked plain data with full ids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dspex_runtime.config.dependency_rules import edge_path
from dspex_runtime.config.merging import Inherited, effective, kind_of
from dspex_runtime.config.problems import Path, Problems
from dspex_runtime.config.tree_walk import Found, outline, walk
from dspex_runtime.core.child_spec import SupervisorSpec
from dspex_runtime.core.dependency_order import arranged
from dspex_runtime.types import OnDown, RestartType, Strategy

__all__ = ["lint_dependencies"]


def lint_dependencies(tree: Mapping[str, Any], path: Path, inherited: Inherited, problems: Problems) -> None:
    """Add the warnings of a tree without problems."""
    every = {found.id: found for found in walk(tree, path)}
    for found in every.values():
        for index, (target, edge) in enumerate(found.data.get("depends_on", {}).items()):
            other = every.get(target) or every.get(
                target.rpartition("#")[0]
            )  # a replica is as its group; of parts nothing is known
            for text in () if other is None else _of_edge(found, OnDown(edge["on_down"]), other, inherited):
                problems.warn(edge_path(found.path, target, index, problems), text)
    if not any("depends_on" in found.data for found in every.values()):
        return
    shape = outline(tree)
    _lint_order(tree, path, shape, arranged(shape), problems)


def _of_edge(found: Found, on_down: OnDown, other: Found, inherited: Inherited) -> Iterator[str]:
    its, own = _restart(other, inherited), _restart(found, inherited)
    strategy = other.above.get("strategy", Strategy.ONE_FOR_ONE)
    if on_down is not OnDown.WAIT and _takes_along(other, found) and its is not RestartType.TEMPORARY:
        text = f"{other.id!r} takes this one along when it is restarted (strategy: {strategy})"
        yield f"{text}: on_down: {on_down} counts only while it is stopped by request"
    if on_down is OnDown.RESTART and own is RestartType.TEMPORARY:
        yield "on_down: restart on a temporary child, which nothing restarts: on_down: stop says what happens"
    if on_down is OnDown.WAIT and its is not RestartType.PERMANENT:
        when = "it has ended normally" if its is RestartType.TRANSIENT else "it has ended"
        yield f"calls wait for {other.id!r}, which is {its}: once {when} nothing starts it again and they wait for their deadline"


def _takes_along(other: Found, found: Found) -> bool:
    """Whether the strategy of its supervisor restarts both: the other is started before, so that it is among the rest, too."""
    above = other.id.rpartition("/")[0]
    return other.above.get("strategy", Strategy.ONE_FOR_ONE) != Strategy.ONE_FOR_ONE and (
        not above or found.id.startswith(f"{above}/")
    )


def _restart(found: Found, inherited: Inherited) -> RestartType:
    kind = kind_of(found.data)
    assert kind is not None
    return RestartType(effective(found.data, kind, inherited).get("restart", RestartType.PERMANENT))


def _lint_order(
    written: Mapping[str, Any], path: Path, listed: SupervisorSpec, started: SupervisorSpec, problems: Problems
) -> None:
    """Warn where rest_for_one goes by another order than the one that is written."""
    order = [str(child.id) for child in started.children]
    if written.get("strategy") == Strategy.REST_FOR_ONE and order != [str(child.id) for child in listed.children]:
        text = "rest_for_one goes by the order in which they are started, which depends_on makes another one than that of this list"
        problems.warn((*path, "children"), f"{text}: {', '.join(order)}")
    by_id = {child.id: child for child in started.children}
    children = {child.id: child for child in listed.children}
    for index, child in enumerate(written.get("children", ())):
        below, others = children.get(child["id"]), by_id.get(child["id"])
        if below is not None and others is not None and below.supervisor is not None and others.supervisor is not None:
            nested = (*path, "children", index, "supervisor")
            _lint_order(child["supervisor"], nested, below.supervisor, others.supervisor, problems)
