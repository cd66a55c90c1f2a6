"""What runs under which id. One record per full id, kept while its spec is: over restarts, stops and failures.

The registry holds facts and tells watchers about changes; it decides nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.core.child_spec import ChildSpec
from dspex_runtime.core.names import NameIndex
from dspex_runtime.errors import ConfigError, NoProcessError
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.node.groups import Group, Groups, several
from dspex_runtime.types import FullId, Kind, ModuleInfo, State

if TYPE_CHECKING:
    from dspex_runtime.node.module_process import ModuleProcess

KEPT_DEPARTED: Final = 1000  # records of children that are forgotten, kept for the question why they ended
KEPT_EXITS: Final = 16  # incarnations of one child
SETTLED_DOWN = frozenset({State.STOPPED, State.EXITED, State.FAILED})


@dataclass(slots=True)
class Record:
    """One child of one supervisor."""

    id: str  #: full id
    spec: ChildSpec
    state: State = State.PENDING
    incarnation: int = 0  #: of the newest process, running or not
    restarts: int = 0
    earlier_restarts: int = 0  #: in runtimes before this one, of the same state directory
    started_at: float | None = None  #: epoch seconds of the newest READY
    kind: Kind | None = None  #: of the newest process, where it is not what the spec says
    version: str | None = None  #: as the spec says, else as the module does
    last_exit: ExitReason | None = None
    exits: dict[int, ExitReason] = field(default_factory=dict)  #: the last few incarnations' reasons
    gave_up: bool = False  #: a supervisor that reached its restart limit, until it is started again
    process: ModuleProcess | None = None  #: while a process lives (starting included)
    down: Mapping[str, ExitReason] = field(default_factory=dict)  #: what it depends on and is not up, while it has a process
    deleted: bool = False  #: by a user: it is remembered for its exit reasons only

    @property
    def gone(self) -> bool:
        """Whether nothing runs and nothing is coming without being asked for."""
        return self.state in SETTLED_DOWN

    @property
    def shown(self) -> State:
        """What people see: READY is DEGRADED while something is down that it depends on."""
        return self.shown_in(self.state)

    def shown_in(self, state: State) -> State:
        """Return what people would see in another state."""
        return State.DEGRADED if state is State.READY and self.down else state

    def in_state(self, states: frozenset[State]) -> bool:
        """Whether it is in one of `states`; READY does not count for a process that is on its way out, or is gone already."""
        return self.shown in states and not self._dying

    @property
    def _dying(self) -> bool:
        """Whether its process has ended, or is about to, and its supervisor has not decided yet what follows."""
        if self.state is not State.READY or self.spec.kind is Kind.SUPERVISOR:
            return False
        return self.process is None or not self.process.serving

    def exited(self, incarnation: int, reason: ExitReason) -> None:
        """Note why an incarnation ended."""
        self.last_exit = reason
        self.exits[incarnation] = reason
        while len(self.exits) > KEPT_EXITS:
            del self.exits[next(iter(self.exits))]

    def take_exits_of(self, earlier: Record) -> None:
        """Keep why earlier incarnations ended, of a record this one has replaced."""
        self.exits = dict([*earlier.exits.items(), *self.exits.items()][-KEPT_EXITS:])

    def info(self, metrics: dict[str, Any]) -> ModuleInfo:
        """Return the view that clients get."""
        up = self.state in (State.READY, State.DEGRADED, State.DRAINING, State.SWAPPING)
        return ModuleInfo(
            id=self.id,
            kind=(self.kind or self.spec.kind).value,
            state=self.shown.value,
            pid=self.process.pid if self.process else None,
            incarnation=self.incarnation,
            restarts=self.earlier_restarts + self.restarts,
            started_at=self.started_at,
            uptime_s=time.time() - self.started_at if up and self.started_at else None,
            version=self.version or self.spec.version,
            metadata=dict(self.spec.metadata),
            metrics=metrics,
            last_exit=self.last_exit,
            group=None if self.spec.replica is None else self.spec.replica.of,
        )


class Registry:
    """Records by full id, in the order they were first seen."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._names = NameIndex()
        self.groups = Groups()
        self._incarnations: dict[str, int] = {}
        self._numbers: dict[str, int] = {}  #: the last N of "id#N" that was given out, by full id
        self._departed: dict[str, Record] = {}  #: by full id, the last to go last
        self.noted: Callable[[str], Mapping[str, Any]] = lambda _: {}  #: what is known of a full id from earlier runtimes
        self.on_change: list[Callable[[Record], None]] = []
        self.on_specified: list[Callable[[Record], None]] = []  #: called with what is new, or depends on other things than before
        self.on_removed: list[Callable[[Record], None]] = []
        self.on_forgotten: list[Callable[[str], None]] = []  #: called with a full id of which nothing is to be kept any more

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records.values())

    def __len__(self) -> int:
        return len(self._records)

    def get(self, full_id: str) -> Record | None:
        """Return the record of a full id."""
        return self._records.get(full_id)

    def resolve(self, id: str) -> Record:
        """Return the record of a full id, or of a tail of it that only one child has.

        Raises:
            NoProcessError: There is none; the hint names near misses.
            ConfigError: There are several; or it is that of a group, and one of its replicas is to be named.
        """
        full_id = self._names.resolve(id)
        group = self.groups.get(full_id)
        if group is not None:
            raise several(group, "this is to be had of one of them")
        return self._records[full_id]

    def group(self, id: str) -> Group | None:
        """Return the group that is meant, by its full id or a tail of it that only one has; None where it is no group's."""
        if not len(self.groups):
            return None
        try:
            return self.groups.get(self._names.resolve(id))
        except (ConfigError, NoProcessError):
            return None  # `resolve` says so

    def ensure(self, full_id: str, spec: ChildSpec) -> Record:
        """Return the record for a child, made now if it is new; the newest spec is kept."""
        record = self._records.get(full_id)
        if record is None:
            record = self._records[full_id] = Record(full_id, spec)
            noted = self.noted(full_id)
            record.earlier_restarts, record.last_exit = noted.get("restarts", 0), noted.get("last_exit")
            self._names.add(FullId(full_id))
            needs_more = True
        else:
            needs_more = record.spec.depends_on != spec.depends_on or record.spec.replica != spec.replica
        record.spec = spec
        if spec.replica is not None and self.groups.joined(record, spec.replica):
            self._names.add(FullId(spec.replica.of))
        for specified in self.on_specified if needs_more else ():
            specified(record)
        return record

    def remove(self, full_id: str) -> None:
        """Forget a child whose spec is gone; whoever waits for it is told (the record's state says so)."""
        record = self._records.pop(full_id, None)
        if record is None:
            return
        if self.groups.get(full_id) is None:  # else the name is a group's now
            self._names.discard(FullId(full_id))
        if record.spec.replica is not None and self.groups.left(record, record.spec.replica):
            self._drop_name(record.spec.replica.of)
        self._remember(record)
        if not record.gone:
            record.state = State.STOPPED
        for removed in self.on_removed:
            removed(record)
        self.changed(record)

    def alone_key(self, full_id: str) -> str:
        """Return what the supervisor is called that a child, or all replicas of one, would have of its own."""
        record = self._records.get(full_id)
        replica = record.spec.replica if record is not None else None
        return "@" + (full_id if replica is None else replica.of)

    def open_group(self, group: Group) -> None:
        """Callers of its id mean the group from now on."""
        group.open = True
        self._names.add(FullId(group.id))

    def forget_group(self, full_id: str) -> None:
        """Forget a group that has no replicas."""
        if self.groups.forget(full_id) is not None:
            self._drop_name(full_id)

    def _drop_name(self, group: str) -> None:
        if group not in self._records:
            self._names.discard(FullId(group))

    def _remember(self, record: Record) -> None:
        before = self._departed.pop(record.id, None)
        if before is not None:
            record.take_exits_of(before)
        self._departed[record.id] = record
        if self._is_used_once(record.id):
            self._incarnations.pop(record.id, None)
        if len(self._departed) > KEPT_DEPARTED:
            full_id = next(iter(self._departed))
            del self._departed[full_id]
            if full_id not in self._records:
                for forgotten in self.on_forgotten:
                    forgotten(full_id)

    def _is_used_once(self, full_id: str) -> bool:
        """Whether the id, or one above it, was made by `unique_id`."""
        parts = full_id.split("/")
        for depth in range(1, len(parts) + 1):
            base, _, number = "/".join(parts[:depth]).rpartition("#")
            if number.isdecimal() and 0 < int(number) <= self._numbers.get(base, 0):  # a replica may be number 0
                return True
        return False

    def departed(self, full_id: str) -> Record | None:
        """Return the record of a child that is not there any more, while it is remembered and was not deleted."""
        record = self._departed.get(full_id)
        return None if record is None or record.deleted else record

    def erase(self, full_id: str) -> None:
        """A user deleted a child: of it, and of what was below, nothing is left but the answer to why it ended."""
        for record in self._departed.values():
            if (record.id == full_id or record.id.startswith(full_id + "/")) and record.id not in self._records:
                record.deleted = True
                for forgotten in self.on_forgotten:
                    forgotten(record.id)

    def exit_reason(self, id: str, incarnation: int) -> ExitReason | None:
        """Return why an incarnation ended, None when that is not known (yet).

        A temporary child is forgotten in the moment it ends; whoever had a call in it asks just after.
        """
        records = [r for r in (self._records.get(id), *reversed(self._departed.values())) if r is not None]
        for record in records:
            if (record.id == id or record.id.endswith(f"/{id}")) and incarnation in record.exits:
                return record.exits[incarnation]
        return None

    def next_incarnation(self, full_id: str) -> int:
        """Return 1, 2, 3 ... for a full id; never the same twice, even when the child was deleted in between."""
        number = self._incarnations.get(full_id, 0) + 1
        self._incarnations[full_id] = number
        return number

    def unique_id(self, full_id: str) -> str:
        """Return full_id#1, full_id#2 ...: never the same twice, whatever was deleted or restarted in between."""
        number = self._numbers.get(full_id, 0) + 1
        while f"{full_id}#{number}" in self._records:  # a replica's
            number += 1
        self._numbers[full_id] = number
        made = f"{full_id}#{number}"
        for forgotten in self.on_forgotten:
            forgotten(made)  # what an earlier runtime left under that id is not this child's
        return made

    def prune(self, path: str, keep: frozenset[str]) -> list[str]:
        """Forget the children of a supervisor that starts anew without them (OTP: children added later are lost).

        Returns:
            The full ids that are gone, what was below others first.
        """
        prefix = path + "/"
        lost = [id for id in reversed(self._records) if id.startswith(prefix) and id[len(prefix) :].partition("/")[0] not in keep]
        lost = [id for id in lost if self._records[id].process is None]  # parts may outlive their owner a little: `node.parts`
        for full_id in lost:
            self.remove(full_id)
        return lost

    def changed(self, record: Record) -> None:
        """Tell the watchers that a record's state or process changed."""
        for watcher in list(self.on_change):
            watcher(record)

    def counts(self) -> tuple[int, int]:
        """Return (modules and servers, those that are READY)."""
        workers = [r for r in self if r.spec.kind is not Kind.SUPERVISOR]
        return len(workers), sum(r.shown is State.READY for r in workers)
