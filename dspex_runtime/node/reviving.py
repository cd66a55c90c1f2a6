"""What was stopped, has exited or has failed, started again on request; and the ended supervisor above it, when that is why.

Owns no state. Never restarts anything by policy: that is the supervisors' machines.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from dspex_runtime.core import events as ev
from dspex_runtime.errors import DspexError, NoProcessError, StartError, SupervisorError
from dspex_runtime.node.outcomes import Outcomes
from dspex_runtime.node.registry import Record, Registry
from dspex_runtime.node.states import States
from dspex_runtime.node.supervisor_node import SupervisorNode, parts_key

if TYPE_CHECKING:
    from dspex_runtime.node.supervision import Answer, Supervision


class Reviving:
    """Brings back what is down."""

    def __init__(self, supervision: Supervision, registry: Registry, outcomes: Outcomes, states: States) -> None:
        self._supervision = supervision
        self._registry = registry
        self._outcomes = outcomes
        self._states = states

    @property
    def dead_root(self) -> SupervisorNode | None:
        """The root supervisor, after it gave up or shut itself down."""
        return self._outcomes.ended.get("")

    def start(self, record: Record, answer: Answer) -> None:
        """Start what was stopped, has exited or has failed, once what it depends on is up; see `_start`."""
        go = lambda: self._start(record, answer)  # noqa: E731
        self._supervision.starts.when_possible(record.id, record.spec, go, lambda error: answer(None, error))

    def _start(self, record: Record, answer: Answer) -> None:
        """Start it; a failed supervisor above it is started instead."""
        if self._supervision.owner(record.id) is not None:
            self._supervision.ask_owner(record, lambda request: ev.RestartChildAsked(request, record.spec.id), answer)
            return
        path, _, _ = record.id.rpartition("/")
        above = self._registry.get(path) if path else None
        dead = self._outcomes.ended.get(parts_key(path))
        if above is not None and dead is not None and not above.gone:  # the parts of an owner that is up gave up
            self._again(dead, lambda error: self._revived(record, error, answer))
            return
        if above is not None:
            self.start(above, lambda _, error: self._revived(record, error, answer))
            return
        dead = self._outcomes.ended.get(self._registry.alone_key(record.id)) or self._outcomes.ended.get("")
        if dead is None:
            answer(None, NoProcessError(f"{record.id!r} has no supervisor to start it", id=record.id))
            return
        self._again(dead, lambda error: self._revived(record, error, answer))

    def _revived(self, record: Record, error: DspexError | None, answer: Answer) -> None:
        if error is None and self._registry.get(record.id) is None:
            text = f"{record.id!r} was added to its supervisor while that ran and is forgotten; the supervisor runs again"
            error = NoProcessError(text, id=record.id, hint="start it anew, with its spec")
        answer(record.id if error is None else None, error)

    def start_root(self, answer: Answer) -> None:
        """Start the root supervisor that gave up or shut itself down."""
        dead = self._outcomes.ended.get("")
        if dead is None:
            answer(None, SupervisorError("already_started", "the root supervisor is running", id="root"))
        else:
            self._again(dead, lambda error: answer("root" if error is None else None, error))

    def _again(self, dead: SupervisorNode, booted: Callable[[StartError | None], None]) -> None:
        """Boot an ended root anew; children that were added to it are lost, as OTP's."""
        if not dead.key:
            kept = {str(child.id) for child in dead.spec.children}
            for record in [r for r in self._registry if "/" not in r.id and r.id not in kept]:
                if not self._is_alone(record.id):
                    self._states.forget(record.id, itself=True)
        self._supervision.open_node(dead.again(booted))

    def _is_alone(self, id: str) -> bool:
        key = self._registry.alone_key(id)
        return self._supervision.node_of(key) is not None or key in self._outcomes.ended
