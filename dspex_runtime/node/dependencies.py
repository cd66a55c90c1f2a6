"""What depends on what, in the runtime process: tells the machine (`core.dependencies`) what happens and does what follows.

Facts go in before a supervisor decides on an exit, all exits of one batch at once. What follows goes to the module's process (its
whole table, each time), to the supervisors, to the events, and into what is shown. Decides nothing.

Up is a child that became READY and has not ended since; a supervisor that has booted; a group while one of its replicas is up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, assert_never

from dspex_runtime.core import dependency_events as de
from dspex_runtime.core import events as ev
from dspex_runtime.core.child_spec import ChildSpec, Dependency, SupervisorSpec
from dspex_runtime.core.dependency_order import walk
from dspex_runtime.errors import ConfigError
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.node.dependency_view import DependencyView
from dspex_runtime.node.registry import Record, Registry
from dspex_runtime.node.reports import Reports
from dspex_runtime.node.tellings import Tellings
from dspex_runtime.types import ChildId, Incarnation, State

if TYPE_CHECKING:
    from dspex_runtime.node.supervision import Supervision


class Dependencies(DependencyView):
    """Of one runtime.

    Attributes:
        used: Something was declared to depend on something.
        tellings: What processes were told and may not go by yet.
        on_change: Called with the ids of which anything may be another way than before.
    """

    def __init__(self, supervision: Supervision, registry: Registry, reports: Reports) -> None:
        super().__init__(registry)
        self._supervision = supervision
        self._reports = reports
        self.used = False
        self.on_change: list[Callable[[Collection[str]], None]] = []
        self._declared: dict[str, tuple[Mapping[str, Dependency], str | None]] = {}
        self._parts: dict[str, Mapping[str, Dependency]] = {}  #: what owners depend on beside what their specs say, by full id
        self._queue: deque[de.Consequence] = deque()
        self._changed: set[str] = set()  #: since `on_change` was called
        self._busy = False
        self._coming: dict[str, bool] = {}  #: of what is down: what the machine was told last
        self._up: dict[str, set[str]] = {}  #: those that are up, by group
        self._rounds: dict[str, int] = {}  #: how often a group has come up
        self.tellings = Tellings(self.machine)
        registry.on_specified.append(self._specified)
        registry.on_removed.append(self._removed)
        registry.on_change.append(self._shown)

    # -- facts ------------------------------------------------------------------------------------------------------

    def declare(self, path: str, spec: SupervisorSpec) -> None:
        """A supervisor is about to start these, and what is below them: told at once, circles are looked for once."""
        facts = list(self._below(path, spec))
        if facts:
            self._feed(*facts)

    def owns(self, owner: str, parts: Mapping[str, Dependency]) -> None:
        """A child depends on its parts, by full id, and on no other ones."""
        if self._parts.get(owner, {}) != parts:
            self._parts[owner] = dict(parts)
            record = self._registry.get(owner)
            if record is not None:
                self._specified(record)

    def starting(self, record: Record, incarnation: int) -> None:
        """A process, or a supervisor, of this incarnation begins to start."""
        self._coming.pop(record.id, None)
        self._feed(de.Starting(record.id, Incarnation(incarnation)))
        record.down = self.machine.down(record.id)

    def up(self, record: Record, incarnation: int) -> None:
        """It serves. What follows waits for `settle`: its supervisor is to hear of it first."""
        facts: list[de.Fact] = [de.Up(record.id, Incarnation(incarnation))]
        group = _group_of(record.spec)
        if group is not None:
            among = self._up.setdefault(group, set())
            if not among and not self.machine.is_up(group):  # else what was one child until now still serves
                self._rounds[group] = self._rounds.get(group, 0) - 1  # no number that this child had
                facts.append(de.Up(group, Incarnation(self._rounds[group])))
            among.add(record.id)
        self._take(*facts)

    def settle(self, record: Record) -> None:
        """Its supervisor knows that it serves."""
        for dep, reason in record.down.items() if record.state is State.READY else ():
            self._reports.emit("degraded", record.id, dependency=dep, on_down=self._on_down(record.id, dep), reason=reason)
        self._feed()

    def down(self, *ended: tuple[Record, ExitReason, bool]) -> None:
        """These have ended, at the same time; each with why, and whether it comes back by itself as far as can be told now."""
        facts: list[de.Fact] = []
        for record, reason, coming in ended:
            self._coming[record.id] = coming
            record.down = {}
            if self._up.get(record.id):
                continue  # it has become a group, which goes on
            facts.append(de.WentDown(record.id, reason, coming))
            group = _group_of(record.spec)
            if group is not None and self._left(group, record.id) and self._is_spoken_for(group):
                facts.append(de.WentDown(group, reason, self._group_is_coming(group)))
        self._feed(*facts)

    def _specified(self, record: Record) -> None:
        """A child has a spec, a new one or another one."""
        facts = list(self._declaring(record.id, record.spec))
        if facts:
            self._feed(*facts)
            self.refresh(record)

    def _below(self, path: str, spec: SupervisorSpec) -> Iterator[de.Fact]:
        for full_id, child in walk(spec, path):
            yield from self._declaring(full_id, child)

    def _declaring(self, id: str, spec: ChildSpec) -> Iterator[de.Fact]:
        """Yield what is new of it to the machine."""
        edges, group = {**spec.depends_on, **self._parts.get(id, {})}, _group_of(spec)
        if self._declared.get(id) == (edges, group):
            return
        self.used |= bool(edges)
        if group is not None and group not in self._declared:
            self._declared[group] = ({}, None)
            yield de.Declared(group)
        self._declared[id] = (edges, group)
        yield de.Declared(id, edges, group)

    def _removed(self, record: Record) -> None:
        self._coming.pop(record.id, None)
        self._parts.pop(record.id, None)
        ids = [] if self._registry.groups.get(record.id) is not None else [record.id]
        if record.spec.supervisor is not None:  # below it may be what was never started
            ids += [id for id in self._declared if id.startswith(record.id + "/") and self._registry.get(id) is None]
        for id in ids:
            self._declared.pop(id, None)
        facts: list[de.Fact] = [de.Forgotten(id) for id in ids]
        if not ids:  # its name is a group's now
            self._declared[record.id] = ({}, None)
            facts.append(de.Declared(record.id))
        facts += self._without(record)
        self._feed(*facts)

    def _without(self, record: Record) -> Iterator[de.Fact]:
        """Yield what becomes of its group when a replica is forgotten."""
        id, group = _group_of(record.spec), self._registry.groups.of(record.spec)
        if id is None:
            return
        was_last = self._left(id, record.id)
        if group is not None and group.by_number:
            if was_last and self._is_spoken_for(id):
                yield de.WentDown(id, record.last_exit or "noproc", self._group_is_coming(id))
            return
        self._up.pop(id, None)
        if self._registry.get(id) is None:  # else it has not become a group, and is what it was
            self._declared.pop(id, None)
            yield de.Forgotten(id)

    def _shown(self, record: Record) -> None:
        """What becomes of one that is down was decided, or decided anew."""
        told = self._coming.get(record.id)
        if told is None or told is not record.gone:
            return
        self._coming[record.id] = not record.gone
        reason = record.last_exit or "noproc"
        facts: list[de.Fact] = [de.WentDown(record.id, reason, not record.gone)]
        group = _group_of(record.spec)
        if group is not None and not self._up.get(group) and self._is_spoken_for(group):
            facts.append(de.WentDown(group, reason, self._group_is_coming(group)))
        self._feed(*facts)

    def _left(self, group: str, id: str) -> bool:
        """Note that a replica is not up; True when it was the last that was."""
        among = self._up.get(group, set())
        was = bool(among)
        among.discard(id)
        return was and not among

    def _is_spoken_for(self, group: str) -> bool:
        """Return whether its replicas say how it is: not while the child whose place they are to take serves itself."""
        return self._registry.get(group) is None or group in self._coming

    def _group_is_coming(self, group: str) -> bool:
        return any(self._coming.get(record.id, not record.gone) for record in self._records_of(group))

    def _take(self, *facts: de.Fact) -> None:
        self._changed.update(fact.id for fact in facts)
        self._queue.extend(self.machine.handle(*facts))

    def _feed(self, *facts: de.Fact) -> None:
        self._take(*facts)
        if self._busy:
            return
        self._busy = True
        try:
            while self._queue:
                self._carry_out(self._queue.popleft())
        finally:
            self._busy = False
        ids, self._changed = self._changed, set()
        for changed in self.on_change:
            changed(ids)

    # -- what follows -----------------------------------------------------------------------------------------------

    def _carry_out(self, consequence: de.Consequence) -> None:
        match consequence:
            case de.TellDown(id, dep, dependency, reason):
                self._tell(id, "degraded", dependency=dep, on_down=dependency.on_down.value, reason=reason)
            case de.TellUp(id, dep):
                self._tell(id, "recovered", dependency=dep, on_down=self._on_down(id, dep), reason=None)
            case de.Hold(id) | de.Release(id):
                self._deliver(id, lambda child: ev.ChildHeld(child, isinstance(consequence, de.Hold)))
            case de.CascadeRestart(id, incarnation, because):
                self._reports.emit("cascade", id, action="restart", because=list(because), incarnation=incarnation)
                self._deliver(id, lambda child: ev.RestartAsked(child, incarnation))
            case de.CascadeStop(id, incarnation, because):
                self._reports.emit("cascade", id, action="stop", because=[because], incarnation=incarnation)
                self._deliver(id, lambda child: ev.StopAsked(child, incarnation))
            case de.Refused(id, cycle):
                self._reports.emit("dependency_refused", id, cycle=cycle)
            case _:
                assert_never(consequence)

    def _deliver(self, id: str, event: Callable[[Any], ev.Event]) -> None:
        node, child = self._supervision.owner(id), ChildId(id.rpartition("/")[2])
        # It has no record before its first start; its supervisor goes by what it is told until then all the same.
        if node is not None and (self._registry.get(id) is not None or node.machine.child(child) is not None):
            self._supervision.deliver(node, event(child))

    def _tell(self, id: str, type: str, **facts: Any) -> None:
        record = self._registry.get(id)
        if record is not None:
            if record.state is State.READY:  # else it begins with things as they are then
                self._reports.emit(type, id, **facts)
            self.refresh(record)

    def _on_down(self, id: str, dep: str) -> str | None:
        edge = self.machine.edges(id).get(dep)
        return None if edge is None else edge.on_down.value

    def refresh(self, record: Record) -> None:
        """Tell a process how things are now, and show it."""
        process, down = record.process, self.machine.down(record.id)
        show = self._supervision.states.depending
        if process is None:
            return
        heard = self.tellings.begin(record.id)
        waits = record.state is State.READY  # whoever sees it as DEGRADED, or as READY again, finds it so

        def told() -> None:
            if waits and record.process is process and record.state is State.READY:
                show(record, down)
            heard()

        process.depend(self.table(record.id), told)
        if not waits:
            show(record, down)

    def holds(self, id: str) -> bool:
        """Return whether a restart of a child has to wait."""
        return self.machine.is_held(id)

    def check(self, full_id: str, spec: ChildSpec) -> None:
        """Refuse a child that would wait for itself.

        Raises:
            ConfigError: It, or what is below it, would be part of a cycle; the text names the path.

        Cost: proportional to what it and all below it lead to: nothing where they depend on nothing.
        """
        every = [(full_id, spec)]
        if spec.supervisor is not None:
            every += walk(spec.supervisor, full_id)
        for id, cycle in self.machine.refusals(*(de.Declared(id, each.depends_on, _group_of(each)) for id, each in every)).items():
            raise ConfigError(f"{id!r} cannot depend on that: {cycle} is a cycle", id=id)


def _group_of(spec: ChildSpec) -> str | None:
    return None if spec.replica is None else spec.replica.of
