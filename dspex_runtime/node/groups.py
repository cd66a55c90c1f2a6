"""Groups: replicas behind one id. What they are, what is shown of them, and who may be called. Owns facts, decides nothing.

A group is there from its first replica on until its last is forgotten; one that was scaled to none is kept until it is deleted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dspex_runtime.core.child_spec import ChildSpec, Replica
from dspex_runtime.core.replicas import group_state
from dspex_runtime.errors import ConfigError
from dspex_runtime.types import ChildId, ModuleInfo, State

if TYPE_CHECKING:
    from dspex_runtime.node.registry import Record

__all__ = ["Group", "Groups", "template"]


@dataclass(slots=True, eq=False)
class Group:
    """The replicas of one child.

    Attributes:
        id: Full id of the group: what callers name.
        spec: Of the child itself, as if there were only one: its id is the group's own, and it is no replica.
        shares: Whether what is written under the group's id is written in all.
        joined: Incarnation by full id of those that have what the others have: they may be called.
        kept: It is there without any replica, too.
        open: Whether callers are sent here. Not yet while it takes the place of a child that was alone.
        alone: Its replicas have a supervisor of their own.
        leaving: Full ids of those that are being taken away.
    """

    id: str
    spec: ChildSpec
    shares: bool
    by_number: dict[int, Record] = field(default_factory=dict)
    joined: dict[str, int] = field(default_factory=dict)
    kept: bool = False
    open: bool = True
    alone: bool = False
    leaving: set[str] = field(default_factory=set)

    @property
    def path(self) -> str:
        """Full id of the supervisor of the replicas, "" for the root."""
        return self.id.rpartition("/")[0]

    @property
    def records(self) -> list[Record]:
        """The replicas, the lowest number first."""
        return [self.by_number[number] for number in sorted(self.by_number)]

    @property
    def serving(self) -> list[Record]:
        """Those whose process takes calls and writes, the lowest number first."""
        return [record for record in self.records if self.serves(record)]

    def serves(self, record: Record) -> bool:
        """Whether a replica is one of those; not while it is swapped, or taken away."""
        process = record.process
        there = record.state is State.READY and process is not None and process.serving
        return there and record.id not in self.leaving

    @property
    def routable(self) -> list[Record]:
        """Those of them that callers are sent to."""
        return [r for r in self.serving if self.joined.get(r.id) == r.incarnation]

    @property
    def ids(self) -> list[str]:
        """Full ids of the replicas."""
        return [record.id for record in self.records]

    @property
    def gone(self) -> bool:
        """Whether nothing runs and nothing is coming without being asked for."""
        return all(record.gone for record in self.by_number.values())

    @property
    def state(self) -> State:
        """See `group_state`."""
        return group_state([record.shown for record in self.by_number.values()])

    def in_state(self, states: frozenset[State]) -> bool:
        """Whether it is in one of `states`; READY does not count while one of them is on its way out."""
        state = self.state
        return state in states and (state is not State.READY or all(record.in_state(states) for record in self.by_number.values()))

    @property
    def next_number(self) -> int:
        """The number of the next replica."""
        return max(self.by_number, default=-1) + 1

    def lowest(self) -> Record | None:
        """Return the replica that speaks for all: the lowest that may be called, else that takes calls, else the lowest."""
        return next(iter(self.routable or self.serving or self.records), None)

    def info(self, of_replicas: list[dict[str, Any]]) -> dict[str, Any]:
        """Return what clients see of the group, given what they see of its replicas."""
        versions = {each["version"] for each in of_replicas}
        kinds = [each["kind"] for each in of_replicas] or [self.spec.kind.value]
        started = [each["started_at"] for each in of_replicas if each["started_at"] is not None]
        uptimes = [each["uptime_s"] for each in of_replicas if each["uptime_s"] is not None]
        exits = [each["last_exit"] for each in of_replicas if each["last_exit"] is not None]
        return ModuleInfo(
            id=self.id,
            kind=kinds[0],
            state=self.state.value,
            restarts=sum(each["restarts"] for each in of_replicas),
            started_at=min(started, default=None),
            uptime_s=max(uptimes, default=None),
            version=versions.pop() if len(versions) == 1 else self.spec.version,
            metadata=dict(self.spec.metadata),
            metrics=summed(each["metrics"] for each in of_replicas),
            last_exit=exits[0] if len(exits) == 1 else None,
            replicas=[each["id"] for each in of_replicas],
            params="shared" if self.shares else "own",
        ).as_dict()


def template(spec: ChildSpec) -> ChildSpec:
    """Return what a replica was made of."""
    return replace(spec, id=ChildId(spec.id.rpartition("#")[0]), replica=None) if spec.replica is not None else spec


def summed(metrics: Iterator[Mapping[str, Any]] | Any) -> dict[str, Any]:
    """Return figures of several processes as those of one: counts are added, times are the longest."""
    found: dict[str, Any] = {}
    for one in metrics:
        for name, value in one.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                longest = name.endswith(("_ms", "_s")) and name != "busy_s"
                found[name] = max(found.get(name, value), value) if longest else found.get(name, 0) + value
    return found


class Groups:
    """Groups by full id."""

    def __init__(self) -> None:
        self._groups: dict[str, Group] = {}

    def __len__(self) -> int:
        return len(self._groups)

    def __iter__(self) -> Iterator[Group]:
        return iter(self._groups.values())

    def get(self, full_id: str) -> Group | None:
        """Return the group of a full id; not while it is still to take the place of a child that is there."""
        group = self._groups.get(full_id)
        return group if group is not None and group.open else None

    def of(self, spec: ChildSpec) -> Group | None:
        """Return the group that a child is of."""
        return None if spec.replica is None else self._groups.get(spec.replica.of)

    def begin(self, full_id: str, spec: ChildSpec, *, shares: bool) -> Group:
        """Make a group that is not open yet, to take the place of the child with this id and spec."""
        group = self._groups[full_id] = Group(full_id, spec, shares, kept=True, open=False)
        return group

    def joined(self, record: Record, replica: Replica) -> bool:
        """A replica is there, or has another spec; True when a group is there with it."""
        group, is_new = self._groups.get(replica.of), replica.of not in self._groups
        if group is None:
            group = self._groups[replica.of] = Group(replica.of, template(record.spec), replica.shares)
        group.by_number[replica.number] = record
        if record is group.records[0]:
            group.spec, group.shares = template(record.spec), replica.shares
        return is_new

    def left(self, record: Record, replica: Replica) -> bool:
        """A replica is forgotten; True when its group is gone with it."""
        group = self._groups.get(replica.of)
        if group is None or group.by_number.get(replica.number) is not record:
            return False
        del group.by_number[replica.number]
        group.joined.pop(record.id, None)
        if group.by_number or group.kept:
            return False
        del self._groups[replica.of]
        return True

    def forget(self, full_id: str) -> Group | None:
        """Forget a group that has no replicas, if there is one."""
        group = self._groups.get(full_id)
        return self._groups.pop(full_id) if group is not None and not group.by_number else None


def several(group: Group, what: str) -> ConfigError:
    """Return the refusal of what is only to be had of one process."""
    ids = group.ids
    hint = f"name one of them: {', '.join(ids)}" if ids else f"`dspex scale {group.id}=1` starts one"
    return ConfigError(f"{group.id!r} is a group of {len(ids)} replicas: {what}", id=group.id, hint=hint)
