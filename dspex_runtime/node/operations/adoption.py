"""A child's spec as a client sends it, made ready for the supervisor that is to have it: checked against it, and with an id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dspex_runtime.config import parse_child
from dspex_runtime.config.names import id_from_target, is_id
from dspex_runtime.core.child_spec import ChildSpec, SupervisorSpec
from dspex_runtime.core.dependency_order import after_of
from dspex_runtime.core.names import full_id
from dspex_runtime.node.operations.answers import supervisor_of, tree_of

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node


def path_of(node: Node, supervisor: str | None) -> str:
    """Return the path of a supervisor as clients name it: "" is the root."""
    return "" if supervisor in (None, "root") else supervisor_of(node, str(supervisor)).id


def spec_at(node: Node, path: str) -> SupervisorSpec:
    """Return the spec of the supervisor at a path, running or not."""
    assert node.spec is not None
    record = node.registry.get(path) if path else None
    return record.spec.supervisor if record is not None and record.spec.supervisor is not None else node.spec.tree


def adopted(node: Node, given: Mapping[str, Any], path: str | None, *, named: bool = True) -> ChildSpec:
    """Return the spec of a new child of the supervisor at `path`.

    Under a dynamic supervisor an id may be left out, and one that is taken is no mistake.

    Args:
        node: The runtime.
        given: The YAML's keys of a child.
        path: Of its supervisor; None for a supervisor of its own.
        named: Whether the id is its user's; another one is replaced where ids may be left out.

    Raises:
        ConfigError: Anything in it is wrong, or does not go with this supervisor (OTP's bad combinations).
    """
    assert node.spec is not None
    under = None if path is None else spec_at(node, path)
    if under is None or not under.dynamic or not isinstance(given, Mapping):
        return _placed(node, _parsed(node, given, path), path)
    named = named and given.get("id") is not None
    wanted = str(given["id"]) if named else _name(given)
    child = _parsed(node, given if named else {**given, "id": wanted if is_id(wanted) else "child"}, path)
    supervisor = tree_of(node).node_of(path or "")
    return _placed(node, child if supervisor is None else replace(child, id=supervisor.free_id(wanted, named=named)), path)


def _parsed(node: Node, given: Mapping[str, Any], path: str | None) -> ChildSpec:
    assert node.spec is not None
    under = None if path is None else spec_at(node, path)
    return parse_child(
        given, spec=node.spec, under=under, at=path or "", present=lambda: ((record.id, record.spec) for record in node.registry)
    )


def _placed(node: Node, child: ChildSpec, path: str | None) -> ChildSpec:
    """Return the spec of a child with its place among its siblings, when what it depends on does not depend on it."""
    id = full_id(path or "", child.id)
    tree_of(node).dependencies.check(id, child)
    supervisor = None if path is None else tree_of(node).node_of(path)
    if supervisor is None or not child.depends_on:
        return child
    return replace(child, after=after_of(id, child.depends_on, (view.spec for view in supervisor.machine.children)))


def _name(given: Mapping[str, Any]) -> str:
    """Return what `rt.start` would call it: its class in lower snake case."""
    target = next((given[kind] for kind in ("module", "server") if isinstance(given.get(kind), str)), "supervisor")
    return id_from_target(target)
