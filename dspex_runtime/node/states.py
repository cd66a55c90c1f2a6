"""What is shown of children: machines say it, people and waiting callers read it in the registry and in the events.

A child is shown as down for good (STOPPED, EXITED, FAILED) only when nothing brings it back by itself: callers and `wait`
give up on those. Decides nothing about the tree.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.core import instructions as do
from dspex_runtime.core.operation import Phase
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.node.registry import Record, Registry
from dspex_runtime.node.reports import Reports
from dspex_runtime.node.supervisor_node import SupervisorNode
from dspex_runtime.types import State

if TYPE_CHECKING:
    from dspex_runtime.node.supervision import Supervision

ENDING: Final = frozenset({Phase.STOPPING, Phase.DONE})
AFTER_ITS_SUPERVISOR: Final = {
    State.FAILED: State.FAILED,
    State.STOPPED: State.STOPPED,
    State.EXITED: State.STOPPED,
    State.BACKOFF: State.PENDING,
    State.PENDING: State.PENDING,
}


class States:
    """The states of all children, as they are shown."""

    def __init__(self, supervision: Supervision, registry: Registry, reports: Reports) -> None:
        self._supervision = supervision
        self._registry = registry
        self._reports = reports

    def show(self, node: SupervisorNode, shown: do.ChildState) -> None:
        """Show a child as its supervisor's machine says, and those below a supervisor that is down."""
        view = node.machine.child(shown.child_id)
        known = self._registry.get(node.full_id(shown.child_id))
        # A child that the machine has dropped meanwhile is shown once more, before it is forgotten.
        record = known if view is None else self._registry.ensure(node.full_id(shown.child_id), view.spec)
        if record is None:
            return
        state = _meant(node, record, shown.state)
        if record.spec.supervisor is not None:
            self._follow(record, state)
            if state is State.READY and record.state is not State.READY:  # else a child of it was given another spec
                record.started_at = time.time()
        if record.shown is not record.shown_in(state) or record.incarnation != shown.incarnation:
            self._tell(record, state, shown.incarnation, {key: value for key, value in shown.detail.items() if key != "error"})
        record.state = state
        record.restarts = record.restarts if view is None else view.restarts
        self._registry.changed(record)

    def starting(self, record: Record, incarnation: int) -> None:
        """Show a new incarnation, ahead of its machine: what is told of it, the key it gets, comes after this."""
        if record.state is not State.STARTING or record.incarnation != incarnation:
            self._tell(record, State.STARTING, incarnation, {})
        record.state, record.incarnation = State.STARTING, incarnation

    def swapping(self, record: Record, *, swaps: bool) -> None:
        """Show that a child that serves takes no calls while it is swapped; or that it does again, nothing having come of it."""
        if record.state is (State.READY if swaps else State.SWAPPING):
            self._set(record, State.SWAPPING if swaps else State.READY)

    def depending(self, record: Record, down: Mapping[str, ExitReason]) -> None:
        """Show what a child depends on and is down."""
        before, record.down = record.shown, down
        if record.shown is not before:
            self._tell(record, record.state, record.incarnation, {"waiting_for": list(down)} if down else {})
        self._registry.changed(record)

    def killed(self, node: SupervisorNode) -> None:
        """Show what was under a supervisor that was killed: its machine will not say it."""
        for child in node.machine.children:
            record = self._registry.get(node.full_id(child.id))
            if record is not None and not record.gone:
                self._set(record, State.STOPPING)

    def forget(self, path: str, keep: frozenset[str] = frozenset(), *, itself: bool = False) -> None:
        """Forget what was below a child, but for what is under the ids in `keep`; with `itself` the child, too."""
        lost = self._registry.prune(path, keep)
        if itself:
            self._registry.remove(path)
            lost.append(path)
        for full_id in lost:
            self._reports.emit("deleted", full_id)

    def _follow(self, supervisor: Record, state: State) -> None:
        """What was stopped with a supervisor stays down with it, or waits for it to come back."""
        below = AFTER_ITS_SUPERVISOR.get(state)
        if below is None or self._supervision.node_of(supervisor.id) is not None:
            return
        prefix = supervisor.id + "/"
        for record in [r for r in self._registry if r.id.startswith(prefix) and r.state in (State.STOPPING, State.PENDING)]:
            if record.process is None:  # else a part, which is stopped after its owner
                self._set(record, below)

    def _set(self, record: Record, state: State) -> None:
        if record.state is not state:
            self._tell(record, state, record.incarnation, {})
            record.state = state
            self._registry.changed(record)

    def _tell(self, record: Record, state: State, incarnation: int, detail: dict[str, Any]) -> None:
        self._reports.emit("state", record.id, state=record.shown_in(state).value, incarnation=incarnation, **detail)


def _meant(node: SupervisorNode, record: Record, state: State) -> State:
    if state is State.EXITED and record.gave_up:
        return State.FAILED  # OTP's parent sees it exit with "shutdown"; people must see that it failed
    if node.parent is not None and node.machine.phase in ENDING and state in (State.STOPPED, State.FAILED):
        return State.STOPPING  # with its supervisor; whether that comes back is its parent's to say
    return state
