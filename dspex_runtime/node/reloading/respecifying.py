"""Other specs for what runs: told to the supervisors that go by them, and to those above, who would start them again.

Never starts or stops anything. What a supervisor would begin with is `SupervisorNode.spec`; the root's has the whole tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from dspex_runtime.config.spec_tree import child_at, supervisor_at
from dspex_runtime.core import events
from dspex_runtime.core.child_spec import ChildSpec, SupervisorSpec
from dspex_runtime.errors import DspexError
from dspex_runtime.node.operations.answers import tree_of
from dspex_runtime.node.reloading.in_turn import Action, Done
from dspex_runtime.node.reloading.running import boot_tree

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node

__all__ = ["Edit", "change_child", "change_supervisor", "keep"]

Edit = Callable[[SupervisorSpec], SupervisorSpec]


def change_child(node: Node, id: str, spec: ChildSpec) -> Iterator[Action]:
    """Have a child's supervisor go by another spec of it; nothing where that does not run."""
    path = id.rpartition("/")[0]
    if tree_of(node).node_of(path) is not None:
        yield lambda done: tree_of(node).ask(path, lambda number: events.ChangeSpecAsked(number, spec), _said(done))
    record = node.registry.get(id)
    if record is None:
        return
    node.registry.ensure(id, spec)
    process, above = record.process, tree_of(node).owner(id)
    if process is not None:
        process.spec = spec if above is None else above.launched(spec)
    node.registry.changed(record)


def change_supervisor(node: Node, path: str, spec: SupervisorSpec) -> Iterator[Action]:
    """Have a supervisor go by another spec, where it runs and stays of its kind; its children it keeps."""
    supervisor = tree_of(node).node_of(path)
    if supervisor is not None and supervisor.spec.dynamic == spec.dynamic:
        yield lambda done: tree_of(node).ask(path, lambda number: events.ChangeSupervisorAsked(number, spec), _said(done))


def keep(node: Node, path: str, edit: Edit) -> Iterator[Action]:
    """Note what the supervisor at `path` would begin with, and have those above it know: `edit` is done to the whole tree.

    At once, whatever is still on its way to the supervisors: what one of them begins with is looked up when it begins.
    """
    tree = edit(boot_tree(node))
    root = tree_of(node).node_of("") or tree_of(node).reviving.dead_root
    if root is not None:
        root.spec = tree
    for above in _upwards(path):
        _note(node, above, tree)
    yield from change_supervisor(node, path, supervisor_at(tree, path) or tree)
    for above in _upwards(path):
        own = child_at(boot_tree(node), above)
        if own is not None:
            yield from change_child(node, above, own)


def _note(node: Node, path: str, tree: SupervisorSpec) -> None:
    supervisor, spec = tree_of(node).node_of(path), supervisor_at(tree, path)
    if supervisor is not None and spec is not None and supervisor.spec.dynamic == spec.dynamic:
        supervisor.spec = spec


def _upwards(path: str) -> Iterator[str]:
    """Yield the path and those above it, but not the root's."""
    while path:
        yield path
        path = path.rpartition("/")[0]


def _said(done: Done) -> Callable[[Any, DspexError | None], None]:
    return lambda _value, error: done(error)
