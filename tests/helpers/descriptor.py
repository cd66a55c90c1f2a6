"""An answer that brings a descriptor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Descriptor:
    """What a handler of the fake runtime returns; the descriptor is given away."""

    fd: int
    info: dict[str, Any]
