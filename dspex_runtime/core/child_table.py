"""The children of one supervisor in start order, and what the machine knows of each.

Start order is the order of the spec, then of start_child; a child that is deleted and added again goes last.
Records change only inside the machine; the outside sees `ChildView`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from dspex_runtime.core.backoff import is_stable
from dspex_runtime.core.child_spec import ChildSpec
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.types import ChildId, Incarnation, State

NEVER_STARTED = Incarnation(0)


class Life(StrEnum):
    """Where a child is in OTP's terms, as decisions need it; `State` is what people are shown.

    OTP's pid is set in STARTING, RUNNING, DEAD and STOPPING.
    """

    UNDEFINED = "undefined"  # no process and none due
    RESTARTING = "restarting"  # no process, a restart is due
    STARTING = "starting"
    RUNNING = "running"
    DEAD = "dead"  # ended by itself; the machine has not come to it yet
    STOPPING = "stopping"


@dataclass(slots=True)
class Record:
    """One child.

    Attributes:
        incarnation: Of the latest process, running or not; NEVER_STARTED before the first.
        restarts: Starts made by the supervisor on its own after the boot, as `ps` shows them.
        attempts: Restarts in a row since the child was last stable; what back-off grows with.
        ready_at: When this incarnation became ready; None while it is starting or gone.
        kill_reason: Why a start was cut short, until the process is gone.
        not_before: When a restart may begin that waits until the child is released; None: it waits for no such thing.
    """

    spec: ChildSpec = field(repr=False)  # may hold an LM's key
    life: Life = Life.UNDEFINED
    state: State = State.PENDING
    incarnation: Incarnation = NEVER_STARTED
    pid: int | None = None
    restarts: int = 0
    attempts: int = 0
    ready_at: float | None = None
    kill_reason: ExitReason | None = None
    last_exit: ExitReason | None = None
    not_before: float | None = None

    @property
    def id(self) -> ChildId:
        """Return the child's id."""
        return self.spec.id

    @property
    def has_process(self) -> bool:
        """Return whether a process exists, as far as the machine was told."""
        return self.life in (Life.STARTING, Life.RUNNING, Life.STOPPING)

    @property
    def occupied(self) -> bool:
        """Return whether OTP's pid would be set: a process exists, or its end was not handled yet."""
        return self.has_process or self.life is Life.DEAD

    @property
    def is_put_off(self) -> bool:
        """Return whether a restart that was decided waits until the child is released."""
        return self.life is Life.RESTARTING and self.not_before is not None

    def end(self, reason: ExitReason, now: float) -> None:
        """Note that the process is gone; a child that had been stable starts counting its crashes anew."""
        if self.ready_at is not None and is_stable(self.spec.backoff, now - self.ready_at):
            self.attempts = 0
        self.pid = None
        self.ready_at = None
        self.kill_reason = None
        self.last_exit = reason


@dataclass(frozen=True, slots=True)
class ChildView:
    """One child as the shell may see it."""

    id: ChildId
    spec: ChildSpec
    state: State
    incarnation: Incarnation
    restarts: int
    last_exit: ExitReason | None
    pid: int | None


class ChildTable:
    """Records by id, iterated in start order. Every look-up, add and remove is constant time."""

    __slots__ = ("_records",)

    def __init__(self) -> None:
        # A dict keeps insertion order, and an id that is deleted and added again moves to the end: OTP's rule.
        self._records: dict[ChildId, Record] = {}

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records.values())

    def __reversed__(self) -> Iterator[Record]:
        return reversed(self._records.values())

    def ids(self) -> list[ChildId]:
        """Return all ids in start order."""
        return list(self._records)

    def get(self, child_id: ChildId) -> Record | None:
        """Return the record, or None."""
        return self._records.get(child_id)

    def current(self, child_id: ChildId, incarnation: Incarnation) -> Record | None:
        """Return the record if this is its latest incarnation: what is said of an older one is stale."""
        record = self._records.get(child_id)
        return record if record is not None and record.incarnation == incarnation else None

    def add(self, spec: ChildSpec) -> Record:
        """Append a child.

        Raises:
            ValueError: The id is taken; whoever made the spec should have refused it.
        """
        if spec.id in self._records:
            raise ValueError(f"duplicate child id {spec.id!r}; the supervisor already has {list(self._records)}")
        record = self._records[spec.id] = Record(spec)
        return record

    def arrange(self, order: Iterable[ChildId]) -> None:
        """Put these first, in this order; the others stay behind them as they are. Ids that are not here are nothing."""
        first = [child_id for child_id in dict.fromkeys(order) if child_id in self._records]
        self._records = {child_id: self._records[child_id] for child_id in dict.fromkeys((*first, *self._records))}

    def remove(self, child_id: ChildId) -> None:
        """Forget a child."""
        del self._records[child_id]

    def view(self, child_id: ChildId) -> ChildView | None:
        """Return one child as the outside sees it."""
        record = self._records.get(child_id)
        return None if record is None else _view(record)

    def views(self) -> tuple[ChildView, ...]:
        """Return all children in start order."""
        return tuple(_view(record) for record in self._records.values())


def _view(record: Record) -> ChildView:
    return ChildView(record.id, record.spec, record.state, record.incarnation, record.restarts, record.last_exit, record.pid)
