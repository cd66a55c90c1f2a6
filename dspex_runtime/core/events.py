"""What a supervisor machine is told. Each event is a fact with the child and incarnation it is about, or a request.

Plain data: nothing here decides. Facts about an incarnation the machine no longer knows are ignored by it, so the
shell may deliver what it has seen without checking for races.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from dspex_runtime.core.child_spec import ChildSpec, SupervisorSpec
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.types import ChildId, Incarnation


class TimerKind(StrEnum):
    """What a timer of a supervisor machine waits for."""

    START = "start"  # the child became ready in time
    SHUTDOWN = "shutdown"  # the child ended after it was asked to
    BACKOFF = "backoff"  # the delay before a restart is over


@dataclass(frozen=True, slots=True)
class TimerId:
    """Names one timer for ever: an incarnation has at most one of each kind."""

    kind: TimerKind
    child_id: ChildId
    incarnation: Incarnation


@dataclass(frozen=True, slots=True)
class Boot:
    """Start the children of the spec. Sent once, first."""


@dataclass(frozen=True, slots=True)
class ChildReady:
    """The child is up and serving. `pid` is None where the child has no process of its own."""

    child_id: ChildId
    incarnation: Incarnation
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class ChildIgnored:
    """The child's init asked to be left out (OTP `ignore`); its process ends normally, or has ended."""

    child_id: ChildId
    incarnation: Incarnation


@dataclass(frozen=True, slots=True)
class StartFailed:
    """The child did not become ready, and its process is already gone. `error` is the child's own error as plain data."""

    child_id: ChildId
    incarnation: Incarnation
    reason: ExitReason
    error: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ChildExited:
    """The child's process ended, its names and resources are free."""

    child_id: ChildId
    incarnation: Incarnation
    reason: ExitReason


@dataclass(frozen=True, slots=True)
class ChildSwapped:
    """The child goes on as another process, from another spec of the same id: to its supervisor it is the same incarnation.

    Ignored unless it is running: what is starting, stopping or gone cannot be swapped.
    """

    child_id: ChildId
    incarnation: Incarnation
    spec: ChildSpec = field(repr=False)  # may hold an LM's key
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer of `SetTimer` came due. One that was cancelled meanwhile may still be delivered."""

    timer: TimerId


@dataclass(frozen=True, slots=True)
class ShutdownRequested:
    """Stop all children in order, then `Exited(reason)`. Overtakes every queued request."""

    reason: ExitReason = "shutdown"


@dataclass(frozen=True, slots=True)
class StartChildAsked:
    """OTP `start_child`: add a spec after all others and start it."""

    request: int
    spec: ChildSpec


@dataclass(frozen=True, slots=True)
class TerminateChildAsked:
    """OTP `terminate_child`: stop it and leave it stopped; also cancels a restart that is due."""

    request: int
    child_id: ChildId


@dataclass(frozen=True, slots=True)
class RestartChildAsked:
    """OTP `restart_child`: start a child that is not running. Never counted, never retried."""

    request: int
    child_id: ChildId


@dataclass(frozen=True, slots=True)
class DeleteChildAsked:
    """OTP `delete_child`: forget the spec of a child that is not running."""

    request: int
    child_id: ChildId


@dataclass(frozen=True, slots=True)
class CycleChildAsked:
    """Stop gracefully, then start (`rt.restart`): as terminate_child and restart_child in one. Never counted.

    A child whose restart is due is restarted at once, without the rest of its delay.
    """

    request: int
    child_id: ChildId


@dataclass(frozen=True, slots=True)
class WhichChildrenAsked:
    """OTP `which_children`."""

    request: int


@dataclass(frozen=True, slots=True)
class WhichChildAsked:
    """OTP `which_child`: the same facts of one child."""

    request: int
    child_id: ChildId


@dataclass(frozen=True, slots=True)
class CountChildrenAsked:
    """OTP `count_children`."""

    request: int


@dataclass(frozen=True, slots=True)
class GetChildSpecAsked:
    """OTP `get_childspec`."""

    request: int
    child_id: ChildId


@dataclass(frozen=True, slots=True)
class ChangeSpecAsked:
    """Have another spec of a child from now on. Nothing is started or stopped: its next start, stop and end go by it."""

    request: int
    spec: ChildSpec = field(repr=False)  # may hold an LM's key


@dataclass(frozen=True, slots=True)
class ChangeSupervisorAsked:
    """Supervise by another spec of the same kind from now on; of its children it says only in which order they stand.

    Those that it does not name stand behind the others, as they do. OTP: what a supervisor's code_change may change.
    """

    request: int
    spec: SupervisorSpec = field(repr=False)


@dataclass(frozen=True, slots=True)
class ChildHeld:
    """A dependency of the child is down (`held`), or none is any more: its restart waits meanwhile.

    Told also of a child that the supervisor does not have yet. A restart that is decided while it is held is counted and shown as
    PENDING; it begins when the child is released. Boots, sweeps that are under way and requests do not mind it.
    """

    child_id: ChildId
    held: bool


@dataclass(frozen=True, slots=True)
class RestartAsked:
    """Restart this incarnation, and no sibling, because a dependency of it came back as another process.

    Nobody is answered. Not counted; a start that fails is tried again by policy, which counts. Ignored unless it is running when
    its turn comes: what was restarted meanwhile, or is about to be, needs no restart.
    """

    child_id: ChildId
    incarnation: Incarnation


@dataclass(frozen=True, slots=True)
class StopAsked:
    """Stop this incarnation, because a dependency of it went down: as `TerminateChildAsked`, but nobody is answered.

    Ignored when another one was started meanwhile, as by a sweep.
    """

    child_id: ChildId
    incarnation: Incarnation


Cascade: TypeAlias = RestartAsked | StopAsked
Request: TypeAlias = (
    StartChildAsked
    | TerminateChildAsked
    | RestartChildAsked
    | DeleteChildAsked
    | CycleChildAsked
    | WhichChildrenAsked
    | WhichChildAsked
    | CountChildrenAsked
    | GetChildSpecAsked
    | ChangeSpecAsked
    | ChangeSupervisorAsked
)
Event: TypeAlias = (
    Boot
    | ChildReady
    | ChildIgnored
    | StartFailed
    | ChildExited
    | ChildSwapped
    | ChildHeld
    | TimerFired
    | ShutdownRequested
    | Cascade
    | Request
)
