"""What must hold between two events of a supervisor machine, and the story that led to where it does not.

Checks only what a reader can verify by looking at the state; changes nothing. Meant for tests and post-mortems: the cost
grows with the number of children.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Set
from typing import Final

from dspex_runtime.core.child_table import ChildTable, Life, Record
from dspex_runtime.core.dynamic_supervision import DynamicSupervision
from dspex_runtime.core.events import Event, StartChildAsked, TimerId, TimerKind
from dspex_runtime.core.operation import Due, Operation, Purpose, Queued, Retry
from dspex_runtime.types import ChildId

STORY_EVENTS: Final = 100  # enough to see how a sweep came about; bounds what one supervisor holds on to


class InvariantError(AssertionError):
    """The machine contradicts itself: our bug. The text has what is wrong, the children and the story."""


class Story:
    """The latest events with their times."""

    __slots__ = ("_events",)

    def __init__(self) -> None:
        self._events: deque[tuple[float, Event]] = deque(maxlen=STORY_EVENTS)

    def add(self, now: float, event: Event) -> None:
        """Note one event."""
        self._events.append((now, event))

    def __iter__(self) -> Iterator[tuple[float, Event]]:
        return iter(self._events)

    def __str__(self) -> str:
        return "\n".join(f"  {now:.6f} {_described(event)}" for now, event in self._events)


def _described(event: Event) -> str:
    if isinstance(event, StartChildAsked):  # the spec may hold an LM's key: never in a text
        return f"StartChildAsked(request={event.request}, spec=<{event.spec.id}>)"
    return str(event)


def check(problems: Iterable[str], table: ChildTable, story: Story) -> None:
    """Raise InvariantError when there are problems."""
    if found := list(problems):
        children = "\n".join(f"  {record.id}: {record}" for record in table)
        raise InvariantError("\n".join([*found, "children:", children, "story:", str(story)]))


def problems(
    table: ChildTable,
    operation: Operation | None,
    queue: Iterable[Queued],
    armed: Iterable[TimerId],
    held: Set[ChildId],
    *,
    done: bool,
) -> Iterator[str]:
    """Yield a text for everything that is wrong."""
    waiting = list(queue)
    timers = set(armed)
    lives = {life: [record for record in table if record.life is life] for life in Life}
    if operation is None:
        yield from _idle_problems(lives, waiting)
    else:
        yield from _busy_problems(operation, lives)
    for record in table:
        yield from _record_problems(record, operation, waiting, timers, held)
    for timer in timers:
        if not _is_current(timer, table):
            yield f"{timer} is armed for an incarnation that is gone"
    if done and (timers or waiting or any(record.occupied for record in table)):
        yield "the machine is done, but has children, timers or requests left"


def _idle_problems(lives: dict[Life, list[Record]], waiting: list[Queued]) -> Iterator[str]:
    if waiting:
        yield f"idle with a queue of {len(waiting)}"
    for life in (Life.STARTING, Life.STOPPING, Life.DEAD):
        if lives[life]:
            yield f"idle with {life} children: {[record.id for record in lives[life]]}"


def _busy_problems(operation: Operation, lives: dict[Life, list[Record]]) -> Iterator[str]:
    stopping = [record.id for record in lives[Life.STOPPING]]
    if stopping != ([] if operation.stopping is None else [operation.stopping]):
        yield f"{stopping} are stopping, the operation waits for {operation.stopping}"
    starting = [record.id for record in lives[Life.STARTING]]
    if operation.purpose is Purpose.FINISH:
        if operation.starting or operation.to_start:
            yield "a supervisor that stops starts children"
    elif set(starting) != operation.starting:
        yield f"{starting} are starting, the operation waits for {sorted(operation.starting)}"
    if len(operation.starting) > 1 and not operation.abreast:
        yield f"{sorted(operation.starting)} are starting at the same time, none comes after another"
    if operation.stopping is None and not operation.starting:
        yield "the operation waits for nothing"


def _record_problems(
    record: Record, operation: Operation | None, waiting: list[Queued], timers: set[TimerId], held: Set[ChildId]
) -> Iterator[str]:
    yield from _timer_problems(record, timers)
    waits = record.is_put_off and record.id in held
    if record.life is Life.RESTARTING and not waits and not _is_armed(TimerKind.BACKOFF, record, timers):
        swept = operation is not None and (
            operation.purpose is Purpose.FINISH or record.id in (operation.child, *operation.to_start)
        )
        queued = any(isinstance(item, Retry | Due) and item.child_id == record.id for item in waiting)
        if not swept and not queued:
            yield f"{record.id!r} is restarting and nothing will restart it"


def _timer_problems(record: Record, timers: set[TimerId]) -> Iterator[str]:
    has_limit = record.spec.start_timeout_s is not None
    has_start_timer = _is_armed(TimerKind.START, record, timers)
    if record.life is Life.STARTING and record.kill_reason is None and has_start_timer != has_limit:
        yield f"{record.id!r} is starting; start_timeout_s is {record.spec.start_timeout_s}, armed: {not has_limit}"
    if has_start_timer and record.life not in (Life.STARTING, Life.STOPPING):
        yield f"{record.id!r} has a start time-out and is {record.life}"
    if _is_armed(TimerKind.SHUTDOWN, record, timers) and record.life is not Life.STOPPING:
        yield f"{record.id!r} has a shutdown time-out and is {record.life}"
    if _is_armed(TimerKind.BACKOFF, record, timers) and record.life is not Life.RESTARTING:
        yield f"{record.id!r} has a back-off and is {record.life}"
    if record.not_before is not None and (record.life is not Life.RESTARTING or _is_armed(TimerKind.BACKOFF, record, timers)):
        yield f"{record.id!r} waits to be released and is {record.life}"
    if record.pid is not None and not record.has_process:
        yield f"{record.id!r} has no process and pid {record.pid}"


def _is_armed(kind: TimerKind, record: Record, timers: set[TimerId]) -> bool:
    return TimerId(kind, record.id, record.incarnation) in timers


def dynamic_problems(sup: DynamicSupervision, *, booted: bool) -> Iterator[str]:
    """Yield a text for everything that is wrong with a dynamic supervisor."""
    timers = set(sup.out.armed)
    for record in sup.table:
        yield from _timer_problems(record, timers)
        yield from _dynamic_record_problems(record, sup, timers)
    yield from (f"{timer} is armed for an incarnation that is gone" for timer in timers if not _is_current(timer, sup.table))
    yield from (f"there is work on {child_id!r}, which is gone" for child_id in sup.work if sup.table.get(child_id) is None)
    limit = sup.spec.max_children
    if limit is not None and len(sup.table) > limit:
        yield f"{len(sup.table)} children, max_children is {limit}"
    if sup.turns and (booted or sup.ending is not None):
        yield f"{len(sup.turns)} requests and retries had no turn"
    if sup.leaving and sup.ending is None:
        yield f"the end of {sorted(sup.leaving)} is waited for by a supervisor that does not end"
    if sup.done and (timers or sup.work or sup.leaving or any(record.occupied for record in sup.table)):
        yield "the machine is done, but has children, timers or requests left"


def _dynamic_record_problems(record: Record, sup: DynamicSupervision, timers: set[TimerId]) -> Iterator[str]:
    work = sup.work.get(record.id)
    if (work is not None) != (record.life in (Life.STARTING, Life.STOPPING)):
        yield f"{record.id!r} is {record.life}, the work on it is {work}"
    if record.life is Life.DEAD or (record.life is Life.UNDEFINED and sup.ending is None):
        yield f"{record.id!r} is {record.life} and was not forgotten"
    if record.life is Life.RESTARTING and not _is_armed(TimerKind.BACKOFF, record, timers) and record.id not in sup.held:
        yield f"{record.id!r} is restarting and nothing will restart it"
    if sup.ending is not None and (record.id in sup.leaving) != (record.life is Life.STOPPING):
        yield f"{record.id!r} is {record.life} while the supervisor ends"


def _is_current(timer: TimerId, table: ChildTable) -> bool:
    return table.current(timer.child_id, timer.incarnation) is not None
