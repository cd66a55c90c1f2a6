"""One supervisor in the runtime process: its machine, its timers and its place in the tree."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.core import instructions as do
from dspex_runtime.core.child_spec import ChildSpec, SupervisorSpec
from dspex_runtime.core.machine_kinds import machine_for
from dspex_runtime.core.operation import Phase
from dspex_runtime.core.restart_policy import Verdict, verdict
from dspex_runtime.errors import DspexError, StartError
from dspex_runtime.exit_reason import ExitReason, describe
from dspex_runtime.node.event_loop import Timer
from dspex_runtime.node.registry import Record, Registry
from dspex_runtime.types import ChildId, Incarnation, State

if TYPE_CHECKING:
    from dspex_runtime.node.module_process import ModuleProcess

Booted = Callable[[StartError | None], None]
SupervisorExited = Callable[[bool], None]

ENDING: Final = frozenset({Phase.STOPPING, Phase.DONE})
_OURS: Final = f"{StartError.__module__}.{StartError.__qualname__}"


class SupervisorNode:
    """A supervisor under a parent supervisor, or (parent None) a root of its own.

    `path` is the prefix of its children's full ids; `key` its name in the table of supervisors. One of an owner's parts is a root.
    """

    def __init__(
        self,
        registry: Registry,
        spec: SupervisorSpec,
        *,
        key: str,
        path: str,
        booted: Booted,
        exited: SupervisorExited,
        parent: SupervisorNode | None = None,
        child_id: ChildId | None = None,
        incarnation: int = 0,
    ) -> None:
        self._registry = registry
        self.spec = spec
        self.key = key
        self.path = path
        self.booted: Booted | None = booted
        self.exited = exited
        self.parent = parent
        self.child_id = child_id if child_id is not None else ChildId("")
        self.incarnation = incarnation
        # Both in the order in which they were started. A dict, for a set has no order.
        self.processes: dict[ModuleProcess, None] = {}  #: alive and directly under it, or waiting for a process
        self.below: dict[SupervisorNode, None] = {}  #: supervisors alive and directly under it
        self.announced = 0  #: starts that the launcher expects of its boot
        self.timers: dict[Any, Timer] = {}
        self.closed = False
        self.killed_because: ExitReason | None = None  #: set while a brutal kill of it waits for its processes
        self.ending: do.Exited | None = None  #: how a root ended that is kept, to be shown and started again
        self.machine = machine_for(spec, next_incarnation=self._next_incarnation, random=random.random)

    def _next_incarnation(self, child: ChildId) -> Incarnation:
        return Incarnation(self._registry.next_incarnation(self.full_id(child)))

    @property
    def is_of_parts(self) -> bool:
        """Whether its path is the id of an owner, whose parts it has: no child is this supervisor."""
        return self.key.endswith("/")

    def full_id(self, child: ChildId) -> str:
        """Return a child's full id."""
        return f"{self.path}/{child}" if self.path else child

    def launched(self, spec: ChildSpec) -> ChildSpec:
        """Return a child's spec as its process gets it: with this supervisor's `extra_arguments` before its own."""
        extra = self.spec.extra_arguments
        if not extra or spec.launch is None:
            return spec
        return replace(spec, launch=replace(spec.launch, args=(*extra, *spec.launch.args)))

    def free_id(self, wanted: str, *, named: bool) -> ChildId:
        """Return an id for a new child of a dynamic supervisor, where ids need not be unique (Elixir ignores them).

        Here they address processes: one that is missing or taken becomes `wanted#1`, `wanted#2` ..., never the same twice.
        """
        id = ChildId(wanted)
        if named and self._registry.get(self.full_id(id)) is None:
            return id
        return ChildId(self._registry.unique_id(self.full_id(id)).rpartition("/")[2])

    def brings_back(self, record: Record, reason: ExitReason) -> bool:
        """Return whether a child that has just ended will be started again, as far as that can be told before it is decided."""
        if self.closed or self.killed_because is not None:
            return False
        if record.state is State.STOPPING:
            return self.machine.starts_again(record.spec.id)
        return self.machine.phase not in ENDING and verdict(record.spec.restart, reason) is Verdict.RESTART

    def again(self, booted: Booted) -> SupervisorNode:
        """Return a fresh supervisor in the place of one that has ended."""
        return SupervisorNode(
            self._registry,
            self.spec,
            key=self.key,
            path=self.path,
            booted=booted,
            exited=self.exited,
            incarnation=self.incarnation + 1,
        )

    def close(self) -> None:
        """Drop the timers; events that are still under way to it are ignored."""
        self.closed = True
        for timer in self.timers.values():
            timer.cancel()
        self.timers.clear()


def parts_key(owner: str) -> str:
    """Return the key of the supervisor of an owner's parts; no full id ends so."""
    return f"{owner}/"


def supervisor_facts(spec: SupervisorSpec, node: SupervisorNode | None, now: float) -> dict[str, Any]:
    """Return how a supervisor supervises, as people see it; `node` is None while it does not run."""
    facts: dict[str, Any] = {
        "strategy": spec.strategy.value,
        "max_restarts": spec.max_restarts,
        "max_seconds": spec.max_seconds,
        "restarts_used": 0 if node is None else node.machine.restarts_within(now),
        "auto_shutdown": spec.auto_shutdown.value,
        "dynamic": spec.dynamic,
        "children": 0 if node is None else len(node.machine.children),
    }
    return facts | ({"max_children": spec.max_children} if spec.dynamic else {})


def start_error(full_id: str, reason: ExitReason, fault: dict[str, Any] | None) -> StartError:
    """Return the error for a child that did not become ready, with its own traceback; of one further down, that one's error."""
    if fault is not None and fault.get("class") == "StartError":  # it says more than we could
        inner = DspexError.from_wire(fault)
        assert isinstance(inner, StartError)
        return inner
    if isinstance(reason, tuple) and reason[:2] == ("error", _OURS):
        # The host refused (no such class, not hostable): the text is the whole story, the frames would be ours.
        return StartError(f"{full_id!r} did not start: {reason[2]}", id=full_id, reason=reason)
    traceback = (fault or {}).get("traceback") or None
    if traceback is None and isinstance(reason, tuple) and reason[0] == "error":
        traceback = reason[3] or None
    is_another_ones = fault is not None and fault.get("type") == _OURS  # a part of it did not start
    text = fault["message"] if is_another_ones and fault is not None else describe(reason)
    return StartError(f"{full_id!r} did not start: {text}", id=full_id, reason=reason, remote_traceback=traceback)
