"""What a reload will do, step by step, as plain values: to be shown, sent and carried out. Decides nothing.

Secrets never get this far: a change that is `hidden` has no values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

__all__ = ["SEVERITY", "Action", "Change", "Plan", "Step"]


class Action(StrEnum):
    """The least that brings one child to what the file says."""

    REMOVE = "remove"  # stopped and forgotten; what it has learnt is kept, and taken up again should it come back
    LIVE = "live"  # nothing is started or stopped
    SWAP = "swap"  # another process takes over, no call is lost
    RESTART = "restart"  # stopped and started
    ADD = "add"
    REFUSED = "down/up"  # only another runtime can: nothing of the file is applied


SEVERITY: Final = (Action.LIVE, Action.SWAP, Action.RESTART, Action.ADD, Action.REMOVE, Action.REFUSED)


@dataclass(frozen=True, slots=True)
class Change:
    """One field that is to be another one.

    Attributes:
        field: As in the YAML, with dots.
        action: What this one alone would take.
        old, new: As people write them; None where there is none.
        hidden: It may be a secret: neither is told.
    """

    field: str
    action: Action
    old: Any = None
    new: Any = None
    hidden: bool = False

    def as_map(self) -> dict[str, Any]:
        """Return it as plain data."""
        facts = {"field": self.field, "action": self.action.value, "old": self.old, "new": self.new}
        return {**facts, "hidden": True} if self.hidden else facts

    @classmethod
    def from_map(cls, facts: Mapping[str, Any]) -> Change:
        """Return what `as_map` made."""
        return cls(facts["field"], Action(facts["action"]), facts["old"], facts["new"], bool(facts.get("hidden")))

    def text(self) -> str:
        """Return "field  old -> new", or "field  new" where there was none."""
        if self.hidden:
            return f"{self.field}  changed"
        before = "" if self.old is None else f"{_word(self.old)} -> "
        return f"{self.field}  {before}{_word(self.new)}"


@dataclass(frozen=True, slots=True)
class Step:
    """What is done with one child, or with the runtime itself ("runtime").

    Attributes:
        id: Full id; "root" for the root supervisor.
        changes: What differs; of what is added, what it is.
        note: Why it is done so, where that is not plain.
    """

    id: str
    action: Action
    changes: tuple[Change, ...] = ()
    note: str | None = None

    def as_map(self) -> dict[str, Any]:
        """Return it as plain data."""
        changes = [change.as_map() for change in self.changes]
        return {"id": self.id, "action": self.action.value, "note": self.note, "changes": changes}

    @classmethod
    def from_map(cls, facts: Mapping[str, Any]) -> Step:
        """Return what `as_map` made."""
        changes = tuple(Change.from_map(change) for change in facts["changes"])
        return cls(facts["id"], Action(facts["action"]), changes, facts.get("note"))

    def lines(self) -> Iterator[tuple[str, str, str]]:
        """Yield (action, id, change) for people: what is said of a step stands in its first line."""
        action, id = self.action.value, self.id
        for change in self.changes:
            # A step is as much as its greatest change; of a smaller one it is said.
            less = self.action in (Action.SWAP, Action.RESTART) and change.action is Action.LIVE
            yield action, id, change.text() + (f"  ({change.action})" if less else "")
            action = id = ""
        if self.note or not self.changes:
            yield action, id, f"({self.note})" if self.note else ""


@dataclass(frozen=True, slots=True)
class Plan:
    """All of it, in the order in which it is done: removals, last started first, then what stays and comes in start order.

    Attributes:
        steps: What is done.
        refused: What no reload can do; with any of these nothing is done.
        left: Children that the file does not name and that stay: they were added while it ran.
    """

    steps: tuple[Step, ...] = ()
    refused: tuple[Step, ...] = ()
    left: tuple[str, ...] = field(default=())

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do, and nothing that cannot be done."""
        return not self.steps and not self.refused

    def as_map(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "steps": [step.as_map() for step in self.steps],
            "refused": [step.as_map() for step in self.refused],
            "left": list(self.left),
        }

    @classmethod
    def from_map(cls, facts: Mapping[str, Any]) -> Plan:
        """Return what `as_map` made."""
        steps, refused = (tuple(Step.from_map(step) for step in facts[name]) for name in ("steps", "refused"))
        return cls(steps, refused, tuple(facts["left"]))


def _word(value: Any) -> str:
    return (
        "none"
        if value is None
        else value
        if isinstance(value, str)
        else str(value).lower()
        if value in (True, False)
        else str(value)
    )
