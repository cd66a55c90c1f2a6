"""One member of a swap: which step it is at, what that step waits for, and how long each took. Never decides what comes next.

The steps of a member, and the answers that complete each, are the table AWAITED; a step that awaits nothing waits for the other
members.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from dspex_runtime.core.swap_events import Answer, Held, NewReady, Packed, Prepared, Rehearsed, SnapshotTaken
from dspex_runtime.core.swap_instructions import SwapPhase


class Step(StrEnum):
    """Where a member is, in order. Every member goes through all of them, or the swap fails."""

    NEW = "new"  # the swap has not begun
    STARTING = "starting"  # N comes up, O's snapshot is taken
    REHEARSING = "rehearsing"
    VERIFIED = "verified"
    DRAINING = "draining"
    HELD = "held"
    MOVING = "moving"
    MOVED = "moved"
    SWAPPED = "swapped"


AWAITED: Final[Mapping[Step, frozenset[type[Answer]]]] = {
    Step.STARTING: frozenset({SnapshotTaken, NewReady}),
    Step.REHEARSING: frozenset({Rehearsed}),
    Step.DRAINING: frozenset({Held}),
    Step.MOVING: frozenset({Packed, Prepared}),
}
SHOWN: Final = {
    Step.STARTING: SwapPhase.REHEARSING,
    Step.REHEARSING: SwapPhase.REHEARSING,
    Step.VERIFIED: SwapPhase.VERIFIED,
    Step.DRAINING: SwapPhase.DRAINING,
    Step.HELD: SwapPhase.DRAINING,
    Step.MOVING: SwapPhase.MOVING,
    Step.MOVED: SwapPhase.MOVING,
    Step.SWAPPED: SwapPhase.DONE,
}
WAITS_FOR: Final[Mapping[type[Answer], str]] = {
    SnapshotTaken: "the snapshot of the old version",
    NewReady: "the new version to be ready",
    Rehearsed: "the new version to migrate and be verified",
    Held: "running calls to end",
    Packed: "the old version to hand over",
    Prepared: "the new version to take over",
}


@dataclass(frozen=True, slots=True)
class MemberView:
    """One member as the shell may see it. Times are seconds, None for what did not happen.

    Attributes:
        phase: None before the beginning; of a swap that failed the one it failed in.
        since: When this phase began, on the machine's clock.
        rehearsed: The facts of Rehearsed.
        prepared: The facts of Prepared.
        rehearsal_s: From the beginning until it was verified.
        drain_s: From Hold to Held, its own.
        pause_s: From Move to Commit: how long callers waited beyond the drain of all members.
        seconds: From the beginning to Commit.
    """

    id: str
    phase: SwapPhase | None
    since: float | None
    rehearsed: Mapping[str, Any] | None
    prepared: Mapping[str, Any] | None
    rehearsal_s: float | None
    drain_s: float | None
    pause_s: float | None
    seconds: float | None


@dataclass(slots=True)
class Member:
    """One member.

    Attributes:
        drain_s: How long what runs may go on once it is asked to hold.
        began: When each step began that was reached.
    """

    id: str
    drain_s: float
    step: Step = Step.NEW
    began: dict[Step, float] = field(default_factory=dict)
    _answers: dict[type[Answer], Answer] = field(default_factory=dict)

    @property
    def shown(self) -> SwapPhase | None:
        """Return how far it is, as people see it."""
        return SHOWN.get(self.step)

    def enter(self, step: Step, now: float) -> bool:
        """Begin a step; True when that is a new phase to be shown."""
        before = self.shown
        self.step = step
        self.began[step] = now
        return self.shown is not before

    def is_awaited(self, answer: Answer) -> bool:
        """Return whether its step waits for this answer and does not have it."""
        return type(answer) in self._missing()

    def take(self, answer: Answer) -> bool:
        """Note an answer that is awaited; True when it was the last its step waited for."""
        self._answers[type(answer)] = answer
        return not self._missing()

    def waits_for(self) -> list[str]:
        """Return in words what its step waits for; nothing when that are the other members."""
        return [words for kind, words in WAITS_FOR.items() if kind in self._missing()]

    def view(self) -> MemberView:
        """Return it as the outside sees it."""
        rehearsed, prepared = self._answers.get(Rehearsed), self._answers.get(Prepared)
        return MemberView(
            id=self.id,
            phase=self.shown,
            since=min((at for step, at in self.began.items() if SHOWN[step] is self.shown), default=None),
            rehearsed=rehearsed.facts if isinstance(rehearsed, Rehearsed) else None,
            prepared=prepared.facts if isinstance(prepared, Prepared) else None,
            rehearsal_s=self._between(Step.STARTING, Step.VERIFIED),
            drain_s=self._between(Step.DRAINING, Step.HELD),
            pause_s=self._between(Step.MOVING, Step.SWAPPED),
            seconds=self._between(Step.STARTING, Step.SWAPPED),
        )

    def _missing(self) -> frozenset[type[Answer]]:
        return AWAITED.get(self.step, frozenset()) - self._answers.keys()

    def _between(self, first: Step, second: Step) -> float | None:
        return self.began[second] - self.began[first] if second in self.began else None
