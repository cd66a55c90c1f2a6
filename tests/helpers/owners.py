"""An owner with its keeper played: what it offers is held, as by another process, and given to the next incarnation."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from dspex_runtime.errors import ParameterError
from dspex_runtime.params.declaration import make_spec
from dspex_runtime.params.journal import Journal, records, tail
from dspex_runtime.params.memory import read_only
from dspex_runtime.params.owner import Box, Holder, Kept, Owner
from dspex_runtime.params.records import SetRecord
from dspex_runtime.params.sources import newest
from dspex_runtime.params.spec import ParameterSpec
from dspex_runtime.params.table import Table
from dspex_runtime.params.view import View
from dspex_runtime.types import Change, Durability
from dspex_runtime.wire.codec import Codec

CODEC: Final = Codec(pickle=True)
BLOBS_KEPT: Final = 2


class Keeper:
    """Holds one id's descriptors and journal directory; is the `Hooks` of every owner that it makes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "journal"
        self.table: int | None = None
        self.volatile: int | None = None
        self.blobs: dict[tuple[str, int], int] = {}
        self.stored: dict[str, tuple[int, bytes | None, bytes]] = {}
        self.configured: dict[str, bytes] = {}
        self.facts: dict[str, Any] = {}
        self.offered: list[str] = []
        self.changes: list[Change] = []
        self.reports: list[str] = []
        self.incarnation = 0
        self.owner: Owner | None = None
        self.boxes: dict[str, Holder] = {}
        self._journal: Any = None
        self._views: list[View] = []

    # -- Hooks

    def offer(self, kind: str, facts: dict[str, Any], fd: int) -> None:
        self.offered.append(kind)
        copy = os.dup(fd)
        if kind == "blob":
            name, version = facts["name"], facts["version"]
            _close(self.blobs.pop((name, version), None))
            self.blobs[name, version] = copy
            for key in sorted(key for key in self.blobs if key[0] == name)[:-BLOBS_KEPT]:
                _close(self.blobs.pop(key))
        elif kind == "table":
            _close(self.table)
            self.table = copy
        else:
            assert kind == "volatile", kind
            _close(self.volatile)
            self.volatile = copy

    def notify(self, change: Change) -> None:
        self.changes.append(change)

    def report(self, text: str) -> None:
        self.reports.append(text)

    def value_at(self, name: str, version: int) -> bytes:
        for record in self.records(name):
            if record.version == version and not record.removed:
                return bytes(record.data)
        raise ParameterError(f"version {version} of {name} is not kept", name=name)

    # -- the life of a module

    def start(
        self,
        specs: Mapping[str, ParameterSpec],
        *,
        configured: Mapping[str, Any] | None = None,
        durability: Durability = Durability.JOURNAL,
        holders: Mapping[str, Holder] | None = None,
        on_disk: bool = True,
    ) -> Owner:
        """Return the owner of the next incarnation, open. Its holders are boxes with the specs' defaults."""
        self.incarnation += 1
        self._journal = Journal.at(self.directory) if on_disk else None
        self.owner = owner = Owner(
            "qa",
            CODEC,
            durability=durability,
            journal=self._journal,
            incarnation=self.incarnation,
            hooks=self,
        )
        self.boxes = {name: (holders or {}).get(name) or Box(copy.deepcopy(spec.default)) for name, spec in specs.items()}
        for name, spec in specs.items():
            owner.declare(name, spec, self.boxes[name])
        owner.open(self.kept(), configured or {})
        return owner

    def kept(self) -> Kept:
        """Return what an incarnation gets; the descriptors are its own."""
        return Kept(
            table=Table.adopt(os.dup(self.table)) if self.table is not None else None,
            blobs={key: os.dup(fd) for key, fd in self.blobs.items()},
            volatile_fd=os.dup(self.volatile) if self.volatile is not None else None,
            stored=dict(self.stored),
            configured=dict(self.configured),
            facts=dict(self.facts),
        )

    def kill(self) -> None:
        """End the module: its descriptors are closed and nothing else happens. Whatever lock it had, nobody waits for it."""
        if self.owner is not None:
            self.owner._publisher.close()
            if self.owner._ledger.journals.volatile is not None:
                self.owner._ledger.journals.volatile._close()
            self.owner = None
        if self._journal is not None:
            self._journal._close_segment()

    def kill_runtime(self) -> None:
        """End everything: what is on the disk is what is left."""
        self.kill()
        for view in self._views:
            view.close()
        self._views = []
        for fd in (self.table, self.volatile, *self.blobs.values()):
            _close(fd)
        self.table = self.volatile = None
        self.blobs = {}

    def fold(self) -> None:
        """Take what the journal has into the store, and delete its files."""
        for name, record in newest(payload for _, payload in tail(self.directory)).items():
            self.stored[name] = (record.version, None if record.removed else record.data, record.annex)
        for path in self.directory.glob("*.journal"):
            path.unlink()

    # -- looking

    def view(self) -> View:
        """Return the table as another process reads it."""
        assert self.table is not None
        view = View(read_only(self.table), CODEC, self.fetch)
        self._views.append(view)
        return view

    def fetch(self, name: str, version: int) -> int | None:
        fd = self.blobs.get((name, version))
        return os.dup(fd) if fd is not None else None

    def records(self, name: str) -> list[SetRecord]:
        """Return what was written down of a name, on the disk or else in memory; oldest first."""
        found = [payload for _, payload in tail(self.directory)]
        if self.volatile is not None:
            found += [payload for _, payload in records(self.volatile)]
        return [record for payload in found if (record := SetRecord.read(payload)) is not None and record.name == name]


def specs(**declared: Any) -> dict[str, ParameterSpec]:
    """Return specs from types, or from (type, options) pairs."""
    made = {}
    for name, what in declared.items():
        kind, options = what if isinstance(what, tuple) else (what, {})
        words = {"default", "requires_grad", "learning_rate", "momentum", "durability", "metadata", "doc", "check_with"}
        limits = {key: value for key, value in options.items() if key not in words}
        made[name] = make_spec(kind, limits=limits, **{key: value for key, value in options.items() if key in words})
    return made


def _close(fd: int | None) -> None:
    if fd is not None:
        os.close(fd)
