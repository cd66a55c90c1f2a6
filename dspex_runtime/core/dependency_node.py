"""What the dependency machine knows of one id: what it depends on, whether it is up, what its process was told. Decides nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from dspex_runtime.core.child_spec import Dependency
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.types import Incarnation, OnDown

Terms: TypeAlias = tuple[Dependency, ExitReason]  # what a dependency is to it, and why that is down
NEVER_UP: Final[ExitReason] = "noproc"  # why a dependency is down of which nothing else is known

_HOLDING: Final = frozenset({OnDown.WAIT, OnDown.RESTART, OnDown.STOP})


@dataclass(slots=True)
class Node:
    """One id that was declared, or that another depends on.

    Attributes:
        needed_by: Who depends on it. A dict, for a set has no order.
        incarnation: Of its process, starting or up; None: it has none.
        reason: Why it is not up.
        coming: It comes back by itself, as far as its supervisor is concerned.
        seen: Which incarnation of each dependency was up when this incarnation began to start; None: none was.
        told: The dependencies that its process knows to be down; None: it has just begun, and is assigned those that are.
        held: As the latest Hold or Release said.
        is_declared: It was told of itself, not only by those that depend on it.
        is_returning: This incarnation is to be restarted: its supervisor was told.
        is_leaving: This incarnation is to be stopped: its supervisor was told.
    """

    id: str
    edges: Mapping[str, Dependency] = field(default_factory=dict)
    group: str | None = None
    is_declared: bool = False
    needed_by: dict[str, None] = field(default_factory=dict)
    incarnation: Incarnation | None = None
    is_up: bool = False
    reason: ExitReason = NEVER_UP
    coming: bool = False
    seen: dict[str, Incarnation | None] = field(default_factory=dict)
    told: dict[str, Terms] | None = None
    held: bool = False
    is_returning: bool = False
    is_leaving: bool = False

    @property
    def serving(self) -> Incarnation | None:
        """Return the incarnation that is up, or None."""
        return self.incarnation if self.is_up else None

    @property
    def is_used(self) -> bool:
        """Return whether anything of it has to be remembered."""
        return self.is_declared or bool(self.needed_by) or self.incarnation is not None

    def owns(self, dep: str) -> bool:
        """Return whether that is a part of it: it starts its parts itself, and never waits for them to be started."""
        return dep.startswith(f"{self.id}/")

    def holding(self) -> Iterator[str]:
        """Yield the dependencies that a start of it waits for."""
        return (dep for dep, dependency in self.edges.items() if dependency.on_down in _HOLDING and not self.owns(dep))

    def following(self) -> Iterator[str]:
        """Yield the dependencies that it is restarted with."""
        return (dep for dep, dependency in self.edges.items() if dependency.on_down is OnDown.RESTART)

    def parting(self) -> Iterator[str]:
        """Yield the dependencies that it is stopped with."""
        return (dep for dep, dependency in self.edges.items() if dependency.on_down is OnDown.STOP)

    def starts(self, incarnation: Incarnation) -> None:
        """A process of it begins to start."""
        self.incarnation, self.is_up, self.coming = incarnation, False, True
        self.is_returning = self.is_leaving = False
        self.told = None

    def ends(self, reason: ExitReason, *, coming: bool) -> None:
        """It has no process."""
        self.incarnation, self.is_up = None, False
        self.is_returning = self.is_leaving = False
        self.reason, self.coming = reason, coming
        self.told = None
        self.seen = {}
