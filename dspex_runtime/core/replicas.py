"""What a group of replicas is doing, from what each of them does."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from dspex_runtime.types import State

__all__ = ["group_state"]

#: Where none is READY: what comes first here is nearest to it.
NEAREST: Final = (
    State.DEGRADED, State.SWAPPING, State.DRAINING, State.STARTING, State.BACKOFF, State.PENDING, State.STOPPING, State.STOPPED,
    State.EXITED, State.FAILED,
)  # fmt: skip


def group_state(states: Collection[State]) -> State:
    """Return what a group is whose replicas are in these states, as people see them: in which order does not matter.

    READY when all are; DEGRADED when some are, or one is DEGRADED, for that serves as well; else that of the one which is nearest
    to READY. A group of none is STOPPED.
    """
    if State.READY in states:
        return State.READY if all(state is State.READY for state in states) else State.DEGRADED
    return min(states, key=NEAREST.index, default=State.STOPPED)
