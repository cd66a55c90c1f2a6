"""What a swap machine is told: that it may begin, what came of each of its instructions, and what ends a swap early.

O is a member's old process, N its new one. Plain data: nothing here decides. What is not awaited, or comes after the end, is
ignored by the machine, so the shell may deliver what it has seen without checking for races.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from dspex_runtime.exit_reason import ExitReason


@dataclass(frozen=True, slots=True)
class Begin:
    """Rehearse all members. Sent once, first."""


@dataclass(frozen=True, slots=True)
class SnapshotTaken:
    """O's snapshot is there, for N to rehearse on."""

    member: str


@dataclass(frozen=True, slots=True)
class NewReady:
    """N is up, on a private copy of everything."""

    member: str


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """N took over the snapshot and was verified. `facts` is what it said of it, for whoever asked for the swap."""

    member: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Held:
    """O begins nothing new. `running` are the calls that did not end within the drain: more than none, and the swap has failed."""

    member: str
    running: int = 0


@dataclass(frozen=True, slots=True)
class Packed:
    """O has sent all that it is to N, and would go on as if it had not."""

    member: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """N has all of it and could serve at once. `facts` is what it said of it."""

    member: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failed:
    """A step was refused or came to nothing. `code` is SwapError's; `fault` the error as it was raised, as plain data."""

    member: str
    code: str
    message: str
    fault: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class NewEnded:
    """N's process ended, or never came up."""

    member: str
    reason: ExitReason
    fault: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class OldEnded:
    """O's process ended by itself."""

    member: str
    reason: ExitReason


@dataclass(frozen=True, slots=True)
class OldStopping:
    """O was told to stop: by request, in a sweep, or with its supervisor."""

    member: str


@dataclass(frozen=True, slots=True)
class AbortAsked:
    """Somebody wants the swap not to happen, or whoever asked for it is gone."""

    why: str | None = None


@dataclass(frozen=True, slots=True)
class TimerFired:
    """The deadline of `SetTimer` is over. One that was cancelled meanwhile may still be delivered."""


Answer: TypeAlias = SnapshotTaken | NewReady | Rehearsed | Held | Packed | Prepared
SwapEvent: TypeAlias = Begin | Answer | Failed | NewEnded | OldEnded | OldStopping | AbortAsked | TimerFired
