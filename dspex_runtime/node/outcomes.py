"""What became of a supervisor (up, not up, ended, killed), told to whoever it concerns: its parent, who waits, who watches.

Owns the roots that have ended and may be started again. Never decides that a supervisor ends, and never ends a process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dspex_runtime.core import events as ev
from dspex_runtime.core import instructions as do
from dspex_runtime.core.names import ROOT
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.node.registry import Registry
from dspex_runtime.node.relations import Relations
from dspex_runtime.node.reports import Reports
from dspex_runtime.node.states import States
from dspex_runtime.node.supervisor_node import SupervisorNode, start_error
from dspex_runtime.types import ChildId, Incarnation

if TYPE_CHECKING:
    from dspex_runtime.node.supervision import Supervision


class Outcomes:
    """Tells what became of supervisors.

    Attributes:
        ended: Roots that gave up or shut themselves down, by key.
    """

    def __init__(
        self, supervision: Supervision, registry: Registry, reports: Reports, relations: Relations, states: States
    ) -> None:
        self._supervision = supervision
        self._registry = registry
        self._reports = reports
        self._relations = relations
        self._states = states
        self.ended: dict[str, SupervisorNode] = {}

    def booted(self, node: SupervisorNode) -> None:
        """It is up."""
        self.ended.pop(node.key, None)
        self._supervision.announce(node, 0)
        booted, node.booted = node.booted, None
        if booted is not None:
            booted(None)

    def boot_failed(self, node: SupervisorNode, child: ChildId, reason: ExitReason, error: dict[str, Any] | None) -> None:
        """A child of it did not start, so it does not come up."""
        booted, node.booted = node.booted, None
        self._supervision.close_node(node)
        self._down(node, reason)
        if booted is not None:
            booted(start_error(node.full_id(child), reason, error))

    def exited(self, node: SupervisorNode, exited: do.Exited) -> None:
        """It ended by itself or because it was asked to, and nothing is left below it."""
        booted, node.booted = node.booted, None
        self._supervision.close_node(node)
        parent = node.parent
        if exited.gave_up:
            self._reports.emit("gave_up", _title(node), max_restarts=node.spec.max_restarts, parts=node.is_of_parts)
        elif node.spec.dynamic and parent is not None:
            self._states.forget(node.path)  # nothing brings them back; what gave up stays visible until it is started again
        if exited.auto_shutdown:
            self._reports.emit("auto_shutdown", _title(node), auto_shutdown=node.spec.auto_shutdown.value)
        self._down(node, exited.reason, gave_up=exited.gave_up)
        if parent is None:
            node.ending = exited
            if exited.gave_up or exited.auto_shutdown:
                self.ended[node.key] = node
            node.exited(exited.gave_up)
        else:
            child, incarnation = node.child_id, Incarnation(node.incarnation)
            if booted is not None:  # stopped before it was up
                self._supervision.deliver(parent, ev.StartFailed(child, incarnation, exited.reason, None))
            else:
                self._supervision.deliver(parent, ev.ChildExited(child, incarnation, exited.reason))

    def killed(self, node: SupervisorNode, reason: ExitReason) -> None:
        """It was killed and nothing is left below it. Its parent is not told here: that may have been killed with it."""
        self._supervision.close_node(node)
        if node.spec.dynamic:
            self._states.forget(node.path)
        self._states.killed(node)
        self._down(node, reason)

    def _down(self, node: SupervisorNode, reason: ExitReason, *, gave_up: bool = False) -> None:
        if node.is_of_parts:
            return  # nobody can name it, and its path is the owner's
        record = self._registry.get(node.path)
        if record is not None:
            record.exited(node.incarnation, reason)
            record.gave_up = gave_up
            comes_back = node.parent is not None and node.parent.brings_back(record, reason)
            self._supervision.dependencies.down((record, reason, comes_back))
        self._relations.ended(node.path or node.key or ROOT, node.incarnation, reason)


def _title(node: SupervisorNode) -> str:
    """Return what events call a supervisor; one of a child alone goes by the child's id."""
    return node.path or node.key.removeprefix("@") or "root"
