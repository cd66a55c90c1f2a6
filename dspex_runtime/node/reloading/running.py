"""What runs, as a spec that can be compared with a file's: with swaps, rollbacks and children of users as they are now.

Reads only. Which children are the file's: those that their supervisor would begin with, and those that the file wants.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dspex_runtime.config.differences import child_changes
from dspex_runtime.config.plan import ROOT, Running
from dspex_runtime.config.runtime_spec import RuntimeSpec
from dspex_runtime.config.spec_tree import child_at, supervisor_at
from dspex_runtime.core.child_spec import ChildSpec, SupervisorSpec
from dspex_runtime.core.names import full_id
from dspex_runtime.node import sources
from dspex_runtime.node.operations.answers import tree_of
from dspex_runtime.types import ChildId, RestartType, State

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node
    from dspex_runtime.node.registry import Record
    from dspex_runtime.node.supervisor_node import SupervisorNode

__all__ = ["Present", "boot_tree"]


class Present:
    """What runs now, seen from a file.

    Args:
        node: The runtime.
        wanted: The file.
        only: One child by its full id: only it, and what is below it, is looked at.

    Attributes:
        spec: What a file would say that described it; not with `only`.
        child: The spec of `only`; None: it is not there.
        running: How children are, by full id.
        left: Full ids of children that are not the file's.
    """

    def __init__(self, node: Node, wanted: RuntimeSpec, only: str | None = None) -> None:
        assert node.spec is not None
        self.spec = node.spec
        self.child: ChildSpec | None = None
        self.running: dict[str, Running] = {}
        self.left: list[str] = []
        self._node = node
        self._tree = tree_of(node)
        self._changed: dict[Any, tuple[str, ...]] = {}  # by files: many processes are made of the same
        if only is not None:
            self._look_at(only, wanted.tree)
            return
        self.running[ROOT] = Running(State(self._tree.view.root()["state"]))
        self.spec = replace(node.spec, tree=self._supervisor("", boot_tree(node), wanted.tree))

    def _look_at(self, id: str, wanted: SupervisorSpec) -> None:
        path, _, last = id.rpartition("/")
        above, siblings = self._tree.node_of(path), supervisor_at(wanted, path)
        others = () if siblings is None else siblings.children
        if above is None:
            spec = child_at(boot_tree(self._node), id)
            self.running[id] = Running(waits=True)
        else:
            view = above.machine.child(ChildId(last))
            spec = None if view is None else view.spec
            if spec is None:
                spec = next((child for child in self._through(path, above, others) if child.id == last), None)
            elif not path:
                self._look_for_alone(above, others)
        if spec is not None and id not in self.running:
            spec = self._child(path, spec, others, waits=above is None)
        self.child = spec

    def _supervisor(self, path: str, begins: SupervisorSpec, wanted: SupervisorSpec | None) -> SupervisorSpec:
        supervisor = self._tree.node_of(path)
        children = () if wanted is None else wanted.children
        if supervisor is None:
            return replace(begins, children=tuple(self._child(path, child, children, waits=True) for child in begins.children))
        own = supervisor.spec
        if own.dynamic:
            return replace(own, children=())
        present = [*self._of_machine(path, supervisor, children), *self._through(path, supervisor, children)]
        if not path:
            self._look_for_alone(supervisor, children)
        return replace(own, children=tuple(present))

    def _of_machine(self, path: str, supervisor: SupervisorNode, wanted: Iterable[ChildSpec]) -> Iterable[ChildSpec]:
        of_the_file = {child.id for child in (*supervisor.spec.children, *wanted)}
        for view in supervisor.machine.children:
            if view.id in of_the_file:
                yield self._child(path, view.spec, wanted)
            else:
                self.left.append(supervisor.full_id(view.id))

    def _through(self, path: str, supervisor: SupervisorNode, wanted: Iterable[ChildSpec]) -> Iterable[ChildSpec]:
        """Temporary children that have ended, as they were to: they are there as far as the file is concerned."""
        now = {child.id: child for child in wanted}
        for child in supervisor.spec.children:
            same = child.id in now and not child_changes(child, now[child.id])
            if same and child.restart is RestartType.TEMPORARY and supervisor.machine.child(child.id) is None:
                self.running[full_id(path, child.id)] = Running(State.EXITED)
                yield child

    def _child(self, path: str, spec: ChildSpec, wanted: Iterable[ChildSpec], *, waits: bool = False) -> ChildSpec:
        id = full_id(path, spec.id)
        record = self._node.registry.get(id)
        state = State.PENDING if record is None else record.state
        self.running[id] = Running(state, self._changed_files(record), waits=waits)
        if spec.supervisor is None:
            return spec
        other = next((child.supervisor for child in wanted if child.id == spec.id), None)
        return replace(spec, supervisor=self._supervisor(id, spec.supervisor, other))

    def _changed_files(self, record: Record | None) -> tuple[str, ...]:
        process = None if record is None else record.process
        if process is None or not process.serving or not process.files:
            return ()
        key = tuple(map(tuple, process.files))
        if key not in self._changed:
            self._changed[key] = tuple(sources.changed(process.files))
        return self._changed[key]

    def _look_for_alone(self, root: SupervisorNode, wanted: Iterable[ChildSpec]) -> None:
        for child in wanted:
            if root.machine.child(child.id) is None and self._node.registry.get(child.id) is not None:
                self.running.setdefault(str(child.id), Running(alone=True))


def boot_tree(node: Node) -> SupervisorSpec:
    """Return what the root supervisor would begin with, were it started now."""
    assert node.spec is not None
    tree = tree_of(node)
    root = tree.node_of("") or tree.reviving.dead_root
    return node.spec.tree if root is None else root.spec
