"""A tree of specs with one of them changed. Pure: returns another tree, shares what is the same.

Children are named by their full ids; "" is the root supervisor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dspex_runtime.core.child_spec import ChildSpec, SupervisorSpec

__all__ = ["child_at", "supervisor_at", "with_child", "with_supervisor", "without_child"]


def supervisor_at(tree: SupervisorSpec, path: str) -> SupervisorSpec | None:
    """Return the spec of the supervisor at a path; None: there is none."""
    if not path:
        return tree
    child = child_at(tree, path)
    return None if child is None else child.supervisor


def child_at(tree: SupervisorSpec, id: str) -> ChildSpec | None:
    """Return the spec of a child by its full id; None: there is none."""
    path, _, last = id.rpartition("/")
    above = supervisor_at(tree, path)
    return None if above is None else next((child for child in above.children if child.id == last), None)


def with_supervisor(tree: SupervisorSpec, path: str, spec: SupervisorSpec) -> SupervisorSpec:
    """Return the tree with another spec of the supervisor at `path`, children and all.

    Raises:
        KeyError: There is no supervisor.
    """
    if not path:
        return spec
    above, _, last = path.rpartition("/")
    parent = _required(tree, above)
    if not any(child.id == last and child.supervisor is not None for child in parent.children):
        raise KeyError(path)
    children = tuple(replace(child, supervisor=spec) if child.id == last else child for child in parent.children)
    return with_supervisor(tree, above, replace(parent, children=children))


def with_child(tree: SupervisorSpec, id: str, spec: ChildSpec, order: Sequence[str] = ()) -> SupervisorSpec:
    """Return the tree with this child, in place of the one of that id or as a new one.

    Args:
        tree: The tree.
        id: Full id of the child.
        spec: Of the child.
        order: Ids of its siblings, and its own, in the order in which they are to stand; others stay behind these.

    Raises:
        KeyError: There is no supervisor for it.
    """
    path, _, last = id.rpartition("/")
    parent = _required(tree, path)
    present = any(child.id == last for child in parent.children)
    children = [spec if child.id == last else child for child in parent.children] if present else [*parent.children, spec]
    place = {name: number for number, name in enumerate(order)}
    children.sort(key=lambda child: place.get(child.id, len(place)))
    return with_supervisor(tree, path, replace(parent, children=tuple(children)))


def without_child(tree: SupervisorSpec, id: str) -> SupervisorSpec:
    """Return the tree without a child; one that is not there is no mistake."""
    path, _, last = id.rpartition("/")
    parent = supervisor_at(tree, path)
    if parent is None:
        return tree
    return with_supervisor(tree, path, replace(parent, children=tuple(child for child in parent.children if child.id != last)))


def _required(tree: SupervisorSpec, path: str) -> SupervisorSpec:
    found = supervisor_at(tree, path)
    if found is None:
        raise KeyError(path)
    return found
