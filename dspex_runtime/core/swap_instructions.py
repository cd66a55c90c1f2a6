"""What a swap machine wants done. The shell carries out each list in order; results come back as events.

O is a member's old process, N its new one. Plain data: nothing here decides or does. `Unhold` and `KillNew` may name a process
that has ended, or one whose start or answer is still under way.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from dspex_runtime.exit_reason import ExitReason


class SwapPhase(StrEnum):
    """How far a member is, as people see it, in order."""

    REHEARSING = "rehearsing"
    VERIFIED = "verified"  # waits for the other members
    DRAINING = "draining"  # begins nothing new, until all members are through with what runs
    MOVING = "moving"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class StartNew:
    """Start N beside O, for a rehearsal; answer with NewReady or NewEnded."""

    member: str


@dataclass(frozen=True, slots=True)
class TakeSnapshot:
    """Have O write an image of itself; answer with SnapshotTaken."""

    member: str


@dataclass(frozen=True, slots=True)
class Rehearse:
    """Have N take over the snapshot and verify it; answer with Rehearsed."""

    member: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Have O begin nothing new, and park its callers; answer with Held when nothing runs, at the latest after `drain_s`."""

    member: str
    drain_s: float


@dataclass(frozen=True, slots=True)
class Move:
    """Have O send itself to N; answer with Packed and Prepared. What is meant for O is kept back from now on."""

    member: str


@dataclass(frozen=True, slots=True)
class Commit:
    """From here on N is the process, of all members in one uninterrupted step: flip, N serves, O leaves."""

    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unhold:
    """O goes on as if nothing had happened, with what was kept back."""

    member: str


@dataclass(frozen=True, slots=True)
class KillNew:
    """End N at once, or its start."""

    member: str


@dataclass(frozen=True, slots=True)
class ShowPhase:
    """A member is now shown as `phase`."""

    member: str
    phase: SwapPhase


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Deliver TimerFired at `at`, in seconds of the clock that `now` comes from. There is one timer."""

    at: float


@dataclass(frozen=True, slots=True)
class CancelTimer:
    """The timer is no longer needed."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The last instruction. The rest says why it failed: SwapError's code, a text, the error raised, whose and which end it was.

    `member` is None when it is nobody's in particular.
    """

    ok: bool
    code: str | None = None
    message: str | None = None
    fault: dict[str, Any] | None = None
    member: str | None = None
    reason: ExitReason | None = None


SwapInstruction: TypeAlias = (
    StartNew | TakeSnapshot | Rehearse | Hold | Move | Commit | Unhold | KillNew | ShowPhase | SetTimer | CancelTimer | Finished
)
