"""What a dynamic supervisor is doing with one of its children, and who waits for it. Plain data.

Serial for each child, as OTP's supervisor is serial for all of them; children do not wait for each other.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum

from dspex_runtime.core.events import Cascade, Request


class Job(StrEnum):
    """Why a child is starting or stopping."""

    START = "start"  # start_child: not stored before it is up
    RESTART = "restart"  # by policy; counted
    TERMINATE = "terminate"
    CYCLE = "cycle"  # stop, then start, by request
    CASCADE = "cascade"  # stop, then restart, because of a dependency
    FINISH = "finish"  # the supervisor ends


@dataclass(slots=True)
class Work:
    """A child that is starting or stopping.

    Attributes:
        request: The request to answer when it is through.
        waiting: What else is wanted of the same child, in order; each is looked at when its turn comes.
    """

    job: Job
    request: int | None = None
    waiting: deque[Request | Cascade] = field(default_factory=deque)
