"""A second hand on every descriptor that a keeper was given: what a new keeper gets of the one that died.

Tables, journals of memory and the newest large values would else be gone when a keeper and a module die together, and readers
would go on with a table that nobody writes. Owns its copies, no more than there is room for: whose are not here has to hand them
over itself. Never opens one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Final

from dspex_runtime.params.memory import read_only
from dspex_runtime.state.protocol import BLOBS_KEPT

__all__ = ["BLOB", "TABLE", "Holdings"]

TABLE: Final = "table"
BLOB: Final = "blob"

_Key = tuple[str, str, str, int]  # id, kind; of a large value its name and version


class Holdings:
    """See the module docstring. One thread at a time.

    Args:
        room: How many descriptors may be held.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._fds: dict[_Key, int] = {}
        self._keys: dict[str, set[_Key]] = {}
        self._tables: set[str] = set()
        self._lacking: set[str] = set()  #: ids of which something came and is not here

    def take(self, id: str, kind: str, facts: dict[str, Any], fd: int) -> None:
        """Hold a copy of a descriptor, in the place of the one before; of a large value the newest few."""
        key = (id, kind, str(facts.get("name", "")), int(facts.get("version", 0)))
        if kind == TABLE:
            self._tables.add(id)
        self._close(key)
        if kind == BLOB:
            self._make_way(key)
        try:
            if len(self._fds) >= self._room:
                raise OSError("no room")
            self._fds[key] = os.dup(fd)
        except OSError:  # this process needs the others for modules and clients
            self._lacking.add(id)
            return
        self._keys.setdefault(id, set()).add(key)

    def _make_way(self, key: _Key) -> None:
        """Let go of the versions of a name that are superseded once `key` is there."""
        id, _, name, version = key
        before = sorted(k for k in self._keys.get(id, ()) if k[1] == BLOB and k[2] == name)
        for old in before[: len(before) + 1 - BLOBS_KEPT]:
            if old[3] < version:
                self._close(old)

    def all(self) -> Iterator[tuple[str, str, dict[str, Any], int]]:
        """Yield id, kind, facts and descriptor of everything; whoever wants to keep one copies it."""
        # Large values first: who reads a table may look for them at once.
        for (id, kind, name, version), fd in sorted(self._fds.items(), key=lambda item: item[0][1] != BLOB):
            yield id, kind, {"name": name, "version": version} if kind == BLOB else {}, fd

    def readable(self, id: str, kind: str, name: str = "", version: int = 0) -> int | None:
        """Return a new descriptor of one of them that cannot write; None: it is not here."""
        fd = self._fds.get((id, kind, name, version))
        try:
            return None if fd is None else read_only(fd)
        except OSError:  # no descriptor is left: whoever else has it may be luckier
            return None

    def supersedes(self, id: str, name: str, version: int) -> bool:
        """Return whether there is a later version of a large value."""
        return any(key[1] == BLOB and key[2] == name and key[3] > version for key in self._keys.get(id, ()))

    def lacks(self, id: str) -> bool:
        """Return whether something of an id is not here, as there was no room for it."""
        return id in self._lacking

    def has_table(self, id: str) -> bool:
        """Return whether a table of an id was made, wherever it is held."""
        return id in self._tables

    @property
    def n_tables(self) -> int:
        """How many tables were made."""
        return len(self._tables)

    def forget(self, id: str) -> None:
        """Let go of all of an id."""
        for key in list(self._keys.get(id, ())):
            self._close(key)
        self._keys.pop(id, None)
        self._tables.discard(id)
        self._lacking.discard(id)

    def close(self) -> None:
        """Let go of everything. Idempotent."""
        for id in list(self._keys):
            self.forget(id)

    def _close(self, key: _Key) -> None:
        fd = self._fds.pop(key, None)
        if fd is not None:
            self._keys[key[0]].discard(key)
            os.close(fd)
