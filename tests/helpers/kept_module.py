"""A module as the keeper sees it: an owner with a journal and a table, and no process."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dspex_runtime.params import image
from dspex_runtime.params.journal import Journal
from dspex_runtime.params.owner import Box, Kept, Owner
from dspex_runtime.params.spec import ParameterSpec
from dspex_runtime.params.table import Table
from dspex_runtime.types import Change, Durability
from dspex_runtime.wire.codec import Codec

Offer = Callable[[str, dict[str, Any], int], None]  # (kind, facts, descriptor, which is the taker's)
SPECS: dict[str, dict[str, Any]] = {
    "temperature": {"type": "float", "default": 0.2, "min": 0.0, "max": 2.0},
    "notes": {"type": "str", "default": "", "durability": "memory"},
    "style": {"type": "str", "default": "brief", "choices": ["brief", "full"]},
}


class KeptModule:
    """One incarnation; `offer` gets what it wants kept, as its parent forwards it."""

    def __init__(self, state_dir: Path, id: str, offer: Offer, *, incarnation: int = 1, specs: dict[str, Any] = SPECS) -> None:
        self.id = id
        self._offer = offer
        self.incarnation = incarnation
        self.journal = Journal.at(state_dir / "journals" / id)
        self.owner = Owner(id, Codec(), durability=Durability.JOURNAL, journal=self.journal, incarnation=incarnation, hooks=self)
        for name, meta in specs.items():
            spec = ParameterSpec.from_meta(meta)
            self.owner.declare(name, spec, Box(spec.default))

    def open(self, info: dict[str, Any] | None = None, fds: list[int] | None = None) -> KeptModule:
        """Start, with what GIVE brought."""
        info, fds = info or {}, list(fds or [])
        table = Table.adopt(fds.pop(0)) if info.get("table") else None
        blobs = {(name, version): fds.pop(0) for name, version in info.get("blobs", ())}
        volatile_fd = fds.pop(0) if info.get("volatile") else None
        for fd in fds:
            os.close(fd)
        stored = {name: (version, data, annex) for name, (version, data, annex) in info.get("stored", {}).items()}
        kept = Kept(table, blobs, volatile_fd, stored, info.get("configured", {}), info.get("facts", {}))
        self.owner.open(kept, {})
        return self

    def image(self, user: bytes | None = None) -> bytes:
        """Return what it answers to "checkpoint"."""
        return image.encode(image.Image(self.id, "manual", 1.0, "1", self.incarnation, self.owner.image(), user=user))

    def die(self) -> None:
        """End without a word, as after SIGKILL."""
        self.owner.close()
        self.journal.close()

    # -- `params.holders.Hooks`

    def offer(self, kind: str, facts: dict[str, Any], fd: int) -> None:
        self._offer(kind, facts, os.dup(fd))

    def notify(self, change: Change) -> None: ...

    def report(self, text: str) -> None:
        raise AssertionError(text)

    def value_at(self, name: str, version: int) -> bytes:
        raise AssertionError(f"{name} at {version}")
