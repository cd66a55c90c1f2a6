"""What an owner works with and does not own: where values live, what the process around it does for it, what was kept for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from dspex_runtime.params.table import Table
from dspex_runtime.types import Change

__all__ = ["Box", "Descriptors", "Holder", "Hooks", "Kept"]


class Holder(Protocol):
    """Where a value lives in the module: a Cell, a predictor, a Box.

    A holder with a `changed() -> bool` is asked that before `load` is, wherever it might have changed by itself. One with
    `bind(owner, name)` and `unbind()` is told who writes for it. One with an `adopt(value)` is given there, in place of `store`,
    what is kept for it at a start: a value that is nobody else's.
    """

    def load(self) -> Any:
        """Return the value."""

    def store(self, value: Any) -> None:
        """Take over a value that was checked and written. With the owner's lock held."""


class Box:
    """A holder that holds a value and nothing else."""

    __slots__ = ("value",)

    def __init__(self, value: Any = None) -> None:
        self.value = value

    def load(self) -> Any:
        """Return the value."""
        return self.value

    def store(self, value: Any) -> None:
        """Take over a value."""
        self.value = value


class Hooks(Protocol):
    """What an owner asks of its process. Never calls the owner back, never waits (`value_at` may)."""

    def offer(self, kind: str, facts: dict[str, Any], fd: int) -> None:
        """Send a copy of a descriptor to whoever keeps it: a "table", a "volatile" journal, or a "blob" (facts: name, version)."""

    def notify(self, change: Change) -> None:
        """Tell a change to those that want to hear. In the order of versions, with the owner's lock held."""

    def report(self, text: str) -> None:
        """Say what went wrong and was lived with."""

    def value_at(self, name: str, version: int) -> bytes:
        """Return an encoded value of the past; a ParameterError when it is not kept. Without the owner's lock."""


class Descriptors(NamedTuple):
    """What one owner gives the next while both live; copies, whoever has them closes them.

    Attributes:
        table: Of the table.
        volatile: Of the journal in memory; None: there is none.
        blobs: Of the current large values, by name and version.
        position: Where the journal on the disk ends.
    """

    table: int
    volatile: int | None
    blobs: dict[tuple[str, int], int]
    position: int


@dataclass(frozen=True, slots=True)
class Kept:
    """What outlived the incarnation before; all empty at a first start. Its descriptors are taken over by the owner.

    Attributes:
        table: Adopted, not leased.
        blobs: Descriptors of large values, by name and version.
        volatile_fd: Of the journal in memory.
        stored: Version, data and annex by name; what the table may lack. Data None: it was removed.
        configured: Encoded values of the configuration that were last taken over.
        facts: Of the module: mode and others.
        user: The user's own state, packed.
        user_version: Of the module that kept that state.
        rest: What else the module was put back to while it was stopped, packed.
        base: Metrics that are carried on.
    """

    table: Table | None = None
    blobs: Mapping[tuple[str, int], int] = field(default_factory=dict)
    volatile_fd: int | None = None
    stored: Mapping[str, tuple[int, bytes | None, bytes]] = field(default_factory=dict)
    configured: Mapping[str, bytes] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    user: bytes | None = None
    user_version: str | None = None
    rest: bytes | None = None
    base: Mapping[str, Any] = field(default_factory=dict)
