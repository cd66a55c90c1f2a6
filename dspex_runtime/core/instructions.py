"""What a supervisor machine wants done. The shell carries out each list in order; results come back as events.

Plain data: nothing here decides or does. `StopChild` and `KillChild` may name a process that is already gone: the exit
that is on its way answers them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from dspex_runtime.core.child_spec import ChildSpec, Shutdown
from dspex_runtime.core.events import TimerId
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.types import ChildId, Incarnation, State


class ReportKind(StrEnum):
    """OTP's supervisor report contexts; progress is information, the others are errors."""

    START_ERROR = "start_error"
    CHILD_TERMINATED = "child_terminated"
    SHUTDOWN_ERROR = "shutdown_error"
    SHUTDOWN = "shutdown"  # restart intensity reached: the supervisor gives up
    PROGRESS = "progress"


@dataclass(frozen=True, slots=True)
class StartChild:
    """Start a process for this incarnation; answer with ChildReady, ChildIgnored or StartFailed."""

    spec: ChildSpec
    incarnation: Incarnation


@dataclass(frozen=True, slots=True)
class StopChild:
    """Ask the child to end. The machine keeps the time: do not kill it before KillChild says so."""

    child_id: ChildId
    incarnation: Incarnation
    shutdown: Shutdown
    reason: ExitReason


@dataclass(frozen=True, slots=True)
class KillChild:
    """End the child now (a nested supervisor: with all below it). `reason` is "killed", or the limit it ran into.

    For a start that timed out the shell delivers StartFailed with this reason.
    """

    child_id: ChildId
    incarnation: Incarnation
    reason: ExitReason


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Deliver TimerFired(timer) at `at`, in seconds of the clock that `now` comes from."""

    timer: TimerId
    at: float


@dataclass(frozen=True, slots=True)
class CancelTimer:
    """The timer is no longer needed."""

    timer: TimerId


@dataclass(frozen=True, slots=True)
class Started:
    """The value of a successful start request."""

    child_id: ChildId
    incarnation: Incarnation
    pid: int | None


@dataclass(frozen=True, slots=True)
class Ok:
    """A request succeeded.

    `value` is Started or "undefined" (the child ignored) for starts, None for terminate and delete,
    a list of (id, pid | None | "undefined" | "restarting", "worker" | "supervisor") for which_children,
    one such for which_child, a dict for count_children, a ChildSpec for get_childspec.
    """

    value: Any = None


@dataclass(frozen=True, slots=True)
class Err:
    """A request failed with OTP's atom as `code`; "start_failed" carries which child, why, and the child's own error.

    Of a dynamic supervisor also "max_children", and "dynamic" for restart_child and delete_child, which it does not have.
    """

    code: str
    message: str
    reason: ExitReason | None = None
    error: dict[str, Any] | None = None
    child_id: ChildId | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """The one answer to a request."""

    request: int
    result: Ok | Err


@dataclass(frozen=True, slots=True)
class Report:
    """A supervisor report in OTP's sense, for logs and event streams."""

    kind: ReportKind
    child_id: ChildId
    reason: ExitReason | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChildState:
    """A child is now shown as `state`.

    Keys of `detail`, where they apply: "reason" (why it ended), "due" (when a restart begins), "attempt" (restarts in a
    row), "error" (its own start error), "swapped" (it is READY as it was, as another process).
    """

    child_id: ChildId
    state: State
    incarnation: Incarnation
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChildDeleted:
    """The child's spec is gone: a temporary child that ended, a start_child that failed, a delete_child."""

    child_id: ChildId
    incarnation: Incarnation


@dataclass(frozen=True, slots=True)
class Booted:
    """Every child of the spec is ready or ignored; the supervisor serves requests."""


@dataclass(frozen=True, slots=True)
class BootFailed:
    """A child failed to start at boot; all others were stopped in reverse start order. The machine is done."""

    child_id: ChildId
    reason: ExitReason
    error: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Exited:
    """The supervisor ended and all its children are dead.

    `gave_up`: its restart intensity was reached. `auto_shutdown`: its significant children are through, as its spec asked.
    """

    reason: ExitReason
    gave_up: bool = False
    auto_shutdown: bool = False


Instruction: TypeAlias = (
    StartChild
    | StopChild
    | KillChild
    | SetTimer
    | CancelTimer
    | Reply
    | Report
    | ChildState
    | ChildDeleted
    | Booted
    | BootFailed
    | Exited
)
