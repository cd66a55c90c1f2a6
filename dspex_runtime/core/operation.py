"""What a supervisor machine is in the middle of, and what waits until it is through. Plain data.

OTP's supervisor blocks in its callbacks; here each callback that can block is an `Operation`: first its children are
stopped one after the other (last first), then its children are started in order.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from dspex_runtime.core.events import Cascade, Request
from dspex_runtime.core.instructions import BootFailed, Exited
from dspex_runtime.types import ChildId, Incarnation, State


class Phase(StrEnum):
    """What a supervisor is doing. Requests are served while RUNNING, refused from STOPPING on, and wait otherwise."""

    NEW = "new"
    BOOTING = "booting"
    RUNNING = "running"
    SWEEPING = "sweeping"  # a child is being stopped
    STARTING = "starting"
    STOPPING = "stopping"  # for good
    DONE = "done"


class Purpose(StrEnum):
    """Why an operation runs."""

    BOOT = "boot"
    RESTART = "restart"  # of `child`, with the siblings its strategy takes along
    START = "start"  # start_child or restart_child
    TERMINATE = "terminate"
    CYCLE = "cycle"  # stop, then start, by request
    CASCADE = "cascade"  # the same, because of a dependency: one whose start fails is restarted by policy
    FINISH = "finish"  # stop everything, then be done


@dataclass(slots=True)
class Operation:
    """One operation in progress.

    Attributes:
        child: The child it is about: the pivot of a restart, the child of a request.
        to_stop: Still to be stopped, in start order: taken from the end.
        stopping: The child whose end is awaited.
        to_start: Still to be started, in start order.
        starting: The children whose start is awaited; more than one only where some come after others.
        abreast: Whether children that need not wait for one another are started side by side; None: not looked at yet.
        settle: What a stopped child is shown as.
        delay_s: Back-off between the stops and the first start.
        request: The request to answer, until it is answered.
        is_new: A child whose start fails is forgotten: it came with this request.
        cancelled: A restart that was due was among what it stopped.
        ending: What FINISH ends with.
    """

    purpose: Purpose
    child: ChildId | None = None
    to_stop: list[ChildId] = field(default_factory=list)
    stopping: ChildId | None = None
    to_start: deque[ChildId] = field(default_factory=deque)
    starting: set[ChildId] = field(default_factory=set)
    abreast: bool | None = None
    settle: State = State.PENDING
    delay_s: float = 0.0
    request: int | None = None
    is_new: bool = False
    cancelled: bool = False
    ending: Exited | BootFailed | None = None


@dataclass(frozen=True, slots=True)
class Died:
    """A child ended by itself while the machine was busy; to be judged when its turn comes (OTP: the EXIT message)."""

    child_id: ChildId
    incarnation: Incarnation


@dataclass(frozen=True, slots=True)
class Retry:
    """A start failed during a restart: try again, and count it (OTP: try_again_restart).

    Stale when the child is no longer RESTARTING or, with a back-off, not since this very incarnation.
    """

    child_id: ChildId
    incarnation: Incarnation


@dataclass(frozen=True, slots=True)
class Due:
    """What a restart waited for that was counted before is over: its back-off, or what the child was held for."""

    child_id: ChildId
    incarnation: Incarnation


Internal: TypeAlias = Died | Retry | Due | Cascade  #: what nobody is answered for
Queued: TypeAlias = Internal | Request
