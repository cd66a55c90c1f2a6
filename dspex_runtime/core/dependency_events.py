"""What the dependency machine is told, and what it wants done. Plain data: nothing here decides.

Facts and instructions name processes by full id and incarnation. A supervisor and a group (`qa` of `qa#0`, `qa#1` ...) are told
of like a module: a group is up while one of its replicas is, and its incarnation is a number that is another one each time it
comes up again. A swap is no fact at all: to those that depend on it, it is the same incarnation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from dspex_runtime.core.child_spec import Dependency
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.types import Incarnation

# -- facts ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Declared:
    """`id` depends on these from now on, by full id, and on nothing else.

    Told of every child before its first start, also of one that depends on nothing, and again when its spec changed.

    Attributes:
        group: The group that it is a replica of, for cycles: its replicas are one.
    """

    id: str
    edges: Mapping[str, Dependency] = field(default_factory=dict)
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The spec of `id` is gone. Those that depend on it find it down, and not coming."""

    id: str


@dataclass(frozen=True, slots=True)
class Starting:
    """A process of this incarnation begins to start."""

    id: str
    incarnation: Incarnation


@dataclass(frozen=True, slots=True)
class Up:
    """It is ready and serves."""

    id: str
    incarnation: Incarnation


@dataclass(frozen=True, slots=True)
class WentDown:
    """It has no process any more, or, told again, something else will become of it.

    Attributes:
        coming: It comes back by itself (STARTING, BACKOFF, PENDING), as far as its supervisor is concerned: that it waits for a
            dependency which does not is the machine's own business.
    """

    id: str
    reason: ExitReason
    coming: bool


Fact: TypeAlias = Declared | Forgotten | Starting | Up | WentDown

# -- instructions -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TellDown:
    """Tell the process of `id` that this dependency is down (told again: that its terms or the reason are others now)."""

    id: str
    dep: str
    dependency: Dependency
    reason: ExitReason


@dataclass(frozen=True, slots=True)
class TellUp:
    """Tell the process of `id` that it is up again, or is no dependency of it any more."""

    id: str
    dep: str


@dataclass(frozen=True, slots=True)
class Hold:
    """A restart of `id` has to wait from now on: `ChildHeld(child, True)` to its supervisor."""

    id: str


@dataclass(frozen=True, slots=True)
class Release:
    """It need not wait any more: `ChildHeld(child, False)` to its supervisor."""

    id: str


@dataclass(frozen=True, slots=True)
class CascadeRestart:
    """Restart this incarnation, which began before those it depends on did: `RestartAsked` to its supervisor.

    Attributes:
        because: The dependencies that are others than when it began.
    """

    id: str
    incarnation: Incarnation
    because: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CascadeStop:
    """Stop this incarnation, whose dependency went down: `StopAsked` to its supervisor."""

    id: str
    incarnation: Incarnation
    because: str


@dataclass(frozen=True, slots=True)
class Refused:
    """What was declared would be a cycle; nothing has changed.

    Attributes:
        cycle: Its path, with the ids: "a -> b -> a".
    """

    id: str
    cycle: str


Consequence: TypeAlias = TellDown | TellUp | Hold | Release | CascadeRestart | CascadeStop | Refused
