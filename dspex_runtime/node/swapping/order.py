"""What is wanted of one member of a swap. Plain data: what is pickled passes through unopened."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dspex_runtime.core.child_spec import ChildSpec

__all__ = ["Order"]


@dataclass(frozen=True, slots=True)
class Order:
    """See the module docstring.

    Attributes:
        id: Full id.
        spec: What it is to be, as it is kept.
        migrate: Pickled function that takes the place of `code_change`.
        verify: {"pickled": bytes}, {"call": method} or {"command": [argv]}.
        extra: Pickled value for both.
        down: Whether it goes back to a version that was there before, ...
        down_to: ... and what that is called.
        why: What `versions` says.
        of: The number of the version that it is once more, of a rollback.
    """

    id: str
    spec: ChildSpec
    migrate: bytes | None = field(default=None, repr=False)
    verify: dict[str, Any] | None = field(default=None, repr=False)
    extra: bytes | None = field(default=None, repr=False)
    down: bool = False
    down_to: str | None = None
    why: str = "swap"
    of: int | None = None

    @property
    def way(self) -> dict[str, Any]:
        """Where the old version goes, for `host.moving.state.Way`: what an earlier one is to have, only the later one can make."""
        return {"down": self.down_to, "has_down": self.down, "extra": self.extra}

    @property
    def to(self) -> str | None:
        """What it becomes, for people."""
        launch = self.spec.launch
        return self.spec.version or (launch.initial_call if launch is not None else None)
