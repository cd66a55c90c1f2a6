"""Values into the table: which of them need a blob, and the blobs of the current versions. Never checks, encodes or journals.

Owns the table and those blobs. Not thread-safe: the owner has the lock.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from dspex_runtime.errors import ParameterError
from dspex_runtime.params import layout
from dspex_runtime.params.blob import Blob
from dspex_runtime.params.holders import Hooks
from dspex_runtime.params.table import Table

__all__ = ["Published", "Publisher", "Ready"]

Published = tuple[int, bytes | memoryview, bytes]  # version, data, annex
Ready = Blob | None  # a blob that was made for a value in advance


class Publisher:
    """The table of one id, with the descriptors that belong to it.

    Args:
        id: Label of a table that is made.
        hooks: Gets every descriptor before a reader could need it.
        incarnation: Who writes.
    """

    def __init__(self, id: str, hooks: Hooks, incarnation: int) -> None:
        self._id = id
        self._hooks = hooks
        self._incarnation = incarnation
        self._table: Table | None = None
        self._slots: dict[str, int] = {}
        self._blobs: dict[str, tuple[int, Blob]] = {}  # version and blob of the current ones

    def start(self, table: Table | None, blobs: Mapping[tuple[str, int], int]) -> None:
        """Write to a table from now on, a new one when there is none. Takes over both."""
        self._table = table if table is not None else Table.create(self._id)
        self._table.lease(self._incarnation)
        for (name, version), fd in blobs.items():
            blob = Blob(fd, 0)
            slot = self._table.slot(name)
            stored = self._table.read(slot) if slot is not None else None
            if stored is not None and stored.external and (stored.version, stored.blob) == (version, blob.inode):
                self._blobs[name] = (version, blob)
            else:
                blob.close()  # superseded, or made for a version that was never published

    @property
    def table(self) -> Table:
        """The table."""
        if self._table is None:
            raise ParameterError(f"the parameters of {self._id!r} are not open")
        return self._table

    def version(self, name: str) -> int:
        """Return the version of a name, also of a removed one; 0: it never had one."""
        slot = self.table.slot(name)
        return self.table.version(slot) if slot is not None else 0

    def read(self, name: str) -> Published | None:
        """Return what is published under a name, or None.

        Raises:
            ParameterError: The blob of a large value is not there, or broken.
        """
        slot = self.table.slot(name)
        stored = self.table.read(slot) if slot is not None else None
        if stored is None:
            return None
        if not stored.external:
            return stored.version, stored.data, stored.annex
        version, blob = self._blobs.get(name, (0, None))
        if blob is None or version != stored.version:
            raise ParameterError(f"the {stored.size} bytes of version {stored.version} of {name!r} are not there", name=name)
        return stored.version, *Blob.map(blob.fd)

    def current(self, name: str) -> Published:
        """Return what is published under a name that has a value. Raises ParameterError, as `read`."""
        published = self.read(name)
        assert published is not None, name
        return published

    @staticmethod
    def prepare(data: bytes | memoryview, annex: bytes) -> Ready:
        """Return the blob that a value needs, if any: what may fail for want of memory fails before anything is written.

        Raises:
            OSError: No memory or no descriptor is left.
        """
        return None if layout.fits_inline(len(data), len(annex)) else Blob.create(data, annex)

    def publish(self, name: str, version: int, data: bytes | memoryview, annex: bytes, blob: Ready = None) -> None:
        """Make this the value that everybody reads. A blob is taken over, and offered first."""
        table = self.table
        slot = self._slots.get(name)
        if slot is None:
            slot = self._slots[name] = table.add(name)
        if blob is None and name not in self._blobs:
            table.publish(slot, version, data, annex)
            return
        if blob is not None:
            self._hooks.offer("blob", {"name": name, "version": version}, blob.fd)
        table.publish(slot, version, data, annex, blob=blob)
        self._forget_blob(name)
        if blob is not None:
            self._blobs[name] = (version, blob)

    def remove(self, name: str) -> None:
        """Take a name and what is known about it away."""
        for each in (name, layout.meta_name(name)):
            if self.has(each):
                self.table.remove(each)
            self._slots.pop(each, None)
        self._forget_blob(name)

    def has(self, name: str) -> bool:
        """Return whether a name has a value now."""
        slot = self.table.slot(name)
        return slot is not None and self.table.read(slot) is not None

    def note(self, name: str, data: bytes | memoryview) -> None:
        """Publish under a hidden name, unless it is there already."""
        present = self.read(name)
        if present is None or present[1] != data:
            self.publish(name, self.version(name) + 1, data, b"", self.prepare(data, b""))

    def hand_over(self) -> None:
        """Offer the table and all blobs again: whoever kept them is another one now."""
        for name, (version, blob) in self._blobs.items():
            self._hooks.offer("blob", {"name": name, "version": version}, blob.fd)
        self.offer_table()

    def copies(self) -> tuple[int, dict[tuple[str, int], int]]:
        """Return copies of the table's descriptor and of those of the blobs by name and version: the caller's to close."""
        blobs: dict[tuple[str, int], int] = {}
        try:
            for name, (version, blob) in self._blobs.items():
                blobs[name, version] = os.dup(blob.fd)
            return os.dup(self.table.fd), blobs
        except BaseException:
            for fd in blobs.values():
                os.close(fd)
            raise

    def offer_table(self) -> None:
        """Offer the table."""
        self._hooks.offer("table", {}, self.table.fd)

    def close(self) -> None:
        """Let go of the table and of all blobs. Idempotent."""
        for name in list(self._blobs):
            self._forget_blob(name)
        if self._table is not None:
            self._table.close()
            self._table = None

    def _forget_blob(self, name: str) -> None:
        _, blob = self._blobs.pop(name, (0, None))
        if blob is not None:
            blob.close()
