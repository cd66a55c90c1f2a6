"""The descriptors that outlive modules: tables, blobs, journals of memory, user states; and who may write each table.

Touches no disk: an answer from here takes microseconds. Safe from any thread; a descriptor that leaves is a duplicate that is the
caller's, but for those that `give` shows.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

from dspex_runtime.errors import ParameterError
from dspex_runtime.params.table import Table
from dspex_runtime.state.protocol import BLOBS_KEPT

__all__ = ["Held", "Vault"]


@dataclass(slots=True)
class Held:
    """What is held of one id.

    Attributes:
        table: Descriptor of the table, None before it came.
        blobs: Descriptors by name and version.
        volatile: Descriptor of the journal of what is kept in memory only.
        user: Descriptor of the user state of the newest checkpoint.
        user_version: Of the module that kept that state.
        rest: Descriptor of what else a stopped module was put back to (`checkpoint_service.packed_rest`), until it has run again.
        incarnation: Of the living process, 0 while there is none.
        configured: The configuration's values that were taken over last, by name; None: nobody said.
        facts: What the store knows of the module besides.
        values: What the store has of names, while there is no table: version, data (`protocol`, "stored"), annex.
    """

    table: int | None = None
    blobs: dict[str, dict[int, int]] = field(default_factory=dict)
    volatile: int | None = None
    user: int | None = None
    user_version: str | None = None
    rest: int | None = None
    incarnation: int = 0
    configured: dict[str, bytes] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    values: dict[str, tuple[int, bytes | bool | None, bytes]] = field(default_factory=dict)


class Vault:
    """See the module docstring. `unread` are the ids of which the store has more than is in here."""

    def __init__(self) -> None:
        self._held: dict[str, Held] = {}
        self.unread: set[str] = set()
        self.lock = RLock()

    def of(self, id: str) -> Held:
        """Return what is held of an id, which is made where there is nothing."""
        return self._held.setdefault(id, Held())

    def find(self, id: str) -> Held | None:
        """Return what is held of an id."""
        return self._held.get(id)

    def ids(self) -> list[str]:
        """Return the ids of which something is held."""
        return list(self._held)

    # -- taking -----------------------------------------------------------------------------------------------------

    def take_table(self, id: str, fd: int) -> None:
        """Hold a table, in the place of one that was held before."""
        with self.lock:
            held = self.of(id)
            if held.table is not None and not os.path.sameopenfile(held.table, fd):
                _retire(held.table)
            else:
                _close(held.table)  # handed over again
            held.table = fd
            held.values = {}  # the table has them

    def take_blob(self, id: str, name: str, version: int, fd: int) -> None:
        """Hold a value of its own; of each name only the newest few."""
        with self.lock:
            versions = self.of(id).blobs.setdefault(name, {})
            _close(versions.pop(version, None))
            versions[version] = fd
            for old in sorted(versions)[:-BLOBS_KEPT]:
                _close(versions.pop(old))

    def take_volatile(self, id: str, fd: int) -> None:
        """Hold a journal of memory, in the place of the one before."""
        with self.lock:
            held = self.of(id)
            _close(held.volatile)
            held.volatile = fd

    def take_user(self, id: str, fd: int | None, version: str | None = None) -> None:
        """Hold the user state of a checkpoint, and of which version of the module it is; None: it has none."""
        with self.lock:
            held = self.of(id)
            _close(held.user)
            held.user, held.user_version = fd, version

    def take_rest(self, id: str, fd: int | None) -> None:
        """Hold what else a stopped module was put back to; None: it has that now."""
        with self.lock:
            held = self.of(id)
            _close(held.rest)
            held.rest = fd

    def drop(self, id: str) -> None:
        """Let go of all of an id."""
        with self.lock:
            held = self._held.pop(id, None)
            self.unread.discard(id)
            if held is not None:
                blobs = [fd for versions in held.blobs.values() for fd in versions.values()]
                if held.table is not None:
                    _retire(held.table)
                for fd in (held.volatile, held.user, held.rest, *blobs):
                    _close(fd)

    # -- giving -----------------------------------------------------------------------------------------------------

    def give(self, id: str) -> tuple[dict[str, Any], list[int]]:
        """Return what the next incarnation gets (`protocol`, GIVE), and the descriptors: the vault's own."""
        with self.lock:
            held = self.of(id)
            blobs = [(name, version, fd) for name, versions in held.blobs.items() for version, fd in sorted(versions.items())]
            info = {
                "table": held.table is not None,
                "blobs": [[name, version] for name, version, _ in blobs],
                "volatile": held.volatile is not None,
                "user": held.user is not None,
                "user_version": held.user_version,
                "rest": held.rest is not None,
                "stored": {name: list(value) for name, value in held.values.items()},
                "configured": dict(held.configured or {}),
                "facts": dict(held.facts),
            }
            fds = [held.table, *(fd for _, _, fd in blobs), held.volatile, held.user, held.rest]
            return info, [fd for fd in fds if fd is not None]

    def lend(self, id: str) -> tuple[dict[str, Any], list[int]]:
        """Return what `give` does, with duplicates: while they are sent, another thread may take newer ones."""
        with self.lock:
            info, fds = self.give(id)
            return info, [os.dup(fd) for fd in fds]

    def table(self, id: str) -> int | None:
        """Return a duplicate of a table's descriptor; None: none is held."""
        with self.lock:
            held = self._held.get(id)
            return None if held is None or held.table is None else os.dup(held.table)

    def blob(self, id: str, name: str, version: int) -> int | None:
        """Return a duplicate of the descriptor of a value of its own; None: that version is not held (any more)."""
        with self.lock:
            held = self._held.get(id)
            fd = held.blobs.get(name, {}).get(version) if held is not None else None
            return None if fd is None else os.dup(fd)

    def volatile(self, id: str) -> int | None:
        """Return a duplicate of the descriptor of a journal of memory; None: there is none."""
        with self.lock:
            held = self._held.get(id)
            return None if held is None or held.volatile is None else os.dup(held.volatile)

    def incarnation(self, id: str) -> int:
        """Return which incarnation of an id lives, 0 when none does."""
        held = self._held.get(id)
        return 0 if held is None else held.incarnation

    def figures(self) -> dict[str, int]:
        """Return how much there is."""
        with self.lock:
            held = list(self._held.values())
            return {
                "ids": len(held),
                "tables": sum(each.table is not None for each in held),
                "blobs": sum(len(versions) for each in held for versions in each.blobs.values()),
                "alive": sum(each.incarnation != 0 for each in held),
            }

    def close(self) -> None:
        """Let go of everything."""
        for id in self.ids():
            self.drop(id)


def memfd(label: str, data: bytes | memoryview) -> int:
    """Return a new memfd with these bytes, its offset at the start."""
    fd = os.memfd_create(label, os.MFD_CLOEXEC)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        os.lseek(fd, 0, os.SEEK_SET)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _retire(fd: int) -> None:
    """Close a table that nobody will write any more, and tell its readers: what they have read is no longer true."""
    try:
        table = Table.adopt(fd)
    except ParameterError:
        return  # a damaged one tells its readers itself
    table.lease(0)
    table.retire()
    table.close()


def _close(fd: int | None) -> None:
    if fd is not None:
        os.close(fd)
