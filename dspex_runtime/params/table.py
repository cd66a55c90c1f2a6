"""The one writer of a parameter table: creating, adopting, adding, publishing, removing. See layout for what it writes.

Owns its descriptor and mapping. Never validates, encodes or journals a value, never talks to anybody. Not thread-safe: its
owner has the lock.

Invariant: every step is one store of a word after which the table is whole, so a kill between any two instructions leaves
for every name the value before or the value after, and a table that the next writer can adopt.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from typing import Final

from dspex_runtime.errors import ParameterError, ParameterNotFoundError
from dspex_runtime.params import layout, slots
from dspex_runtime.params.adoption import survey
from dspex_runtime.params.blob import Blob
from dspex_runtime.params.layout import INLINE_MAX
from dspex_runtime.params.memory import Memory
from dspex_runtime.params.slot_writer import SlotWriter
from dspex_runtime.params.slots import Stored

__all__ = ["INLINE_MAX", "Blob", "Stored", "Table"]

_FIRST_BYTES: Final = 4 * mmap.PAGESIZE  # header, first slots, and room for a few small values; touched pages count only
_LABEL_MAX: Final = 200  # characters; the kernel takes 249 bytes


class Table:
    """The writable table. `lease` must have been called before anything is written.

    Attributes:
        fd: The memfd, the table's own; give others a copy of it, or `memory.read_only(fd)`.
    """

    def __init__(self, memory: Memory, names: dict[str, int], used: int) -> None:
        self._memory = memory
        self._slots = names
        self._writer = SlotWriter(memory, used)
        self._incarnation: int | None = None

    @classmethod
    def create(cls, label: str) -> Table:
        """Return a new empty table that nobody has leased; it can grow and never shrink.

        Args:
            label: Shows up in /proc/*/maps and nowhere else.
        """
        fd = os.memfd_create(f"dspex-params-{label[:_LABEL_MAX]}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(fd, _FIRST_BYTES)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        except BaseException:
            os.close(fd)
            raise
        memory = Memory(fd, writable=True)
        words = memory.words
        words[layout.LAYOUT] = layout.LAYOUT_VERSION
        words[layout.EXTENTS] = layout.HEADER_BYTES
        words[layout.MAGIC] = layout.MAGIC_WORD
        return cls(memory, {}, layout.HEADER_BYTES + layout.extent_bytes(0))

    @classmethod
    def adopt(cls, fd: int) -> Table:
        """Return the table behind a descriptor, as its last writer left it, wherever that was killed.

        Args:
            fd: Taken over, also when this raises.

        Raises:
            ParameterError: It is no table, has another layout, or is broken.

        Cost: 25 us, and 3 us per name.
        """
        memory = Memory(fd, writable=True)
        try:
            table = cls(memory, *survey(memory))
            if table.epoch == layout.POISON:
                raise ParameterError("this parameter table is retired: another one took its place")
        except BaseException:
            memory.close()
            raise
        # Its last writer may have been killed between publishing and counting.
        memory.words[layout.SEQUENCE] += 1
        return table

    @property
    def fd(self) -> int:
        """The descriptor; -1 when closed."""
        return self._memory.fd

    @property
    def sequence(self) -> int:
        """Grows with everything that is published or removed, and with every adoption."""
        return self._memory.words[layout.SEQUENCE]

    @property
    def epoch(self) -> int:
        """How many classes the table has served before this one; `layout.POISON` when it is retired."""
        return self._memory.words[layout.EPOCH]

    def lease(self, incarnation: int) -> None:
        """Become the writer. Whoever wrote before is refused from now on.

        Raises:
            ParameterError: The table was leased to another one meanwhile, and that one broke it.
        """
        if self._incarnation not in (None, self.holder()):
            self._slots, self._writer.used = survey(self._memory)
        self._memory.words[layout.LEASE] = incarnation
        self._incarnation = incarnation

    def holder(self) -> int:
        """Return the incarnation that may write; 0: none."""
        return self._memory.words[layout.LEASE]

    @property
    def journal_position(self) -> int:
        """The word that the owner keeps here for itself."""
        return self._memory.words[layout.JOURNAL]

    def set_journal_position(self, position: int) -> None:
        """Store the owner's word."""
        self._check_lease()
        self._memory.words[layout.JOURNAL] = position

    def names(self) -> list[str]:
        """Return the names that have a published value, sorted; hidden ones not included."""
        return sorted(name for name in self._published() if not layout.is_hidden(name))

    def withdrawn(self) -> list[str]:
        """Return the names of which something is kept and nothing published (`layout.WITHDRAWN`), sorted."""
        return sorted(name.removeprefix(layout.WITHDRAWN) for name in self._published() if name.startswith(layout.WITHDRAWN))

    def slot(self, name: str) -> int | None:
        """Return the slot of a name, also of a removed one."""
        return self._slots.get(name)

    def version(self, slot: int) -> int:
        """Return the version in a slot, the last one if it was removed; 0: never published."""
        return slots.version_of(self._memory, slot)

    def read(self, slot: int) -> Stored | None:
        """Return what is published in a slot, or None."""
        return slots.read(self._memory, slot)

    def add(self, name: str) -> int:
        """Return the slot of a name, made when there is none. One that was removed is empty again and keeps its count."""
        self._check_lease()
        words = self._memory.words
        if words[layout.N_SLOTS] != len(self._slots):  # an interrupt came between the two
            self._slots = dict(slots.directory(self._memory))
        slot = self._slots.get(name)
        if slot is None:
            slot = self._slots[name] = self._writer.new_slot(name)
        elif words[slot] == layout.POISON:
            words[slot] = layout.EMPTY
        return slot

    def publish(self, slot: int, version: int, data: bytes | memoryview, annex: bytes = b"", *, blob: Blob | None = None) -> None:
        """Make this the value that everybody reads from now on. What was there before stays whole until then.

        Args:
            slot: From `add`.
            version: Higher than any the slot had.
            data: The encoded value.
            annex: Read together with it.
            blob: Of the same data and annex, when they do not fit (`layout.fits_inline`); readers must be able to fetch it by now.

        Raises:
            ParameterNotFoundError: The name was removed, and not added since.
            ParameterError: The version is not higher, the value needs a blob, or the table was leased to somebody else.

        Cost: 2 us, and 0.25 us per KB, most of it the checksum.
        """
        self._check_lease()
        if self._memory.words[slot] == layout.POISON:
            raise ParameterNotFoundError(f"{self._name_of(slot)!r} was removed", name=self._name_of(slot))
        last = self.version(slot)
        if not last < version <= layout.MAX_VERSION:
            raise ParameterError(f"version {version} cannot be published after {last}", name=self._name_of(slot))
        if blob is None and not layout.fits_inline(len(data), len(annex)):
            raise ParameterError(
                f"{len(data)} + {len(annex)} bytes do not fit into a slot, at most {INLINE_MAX} do: a blob is needed",
                name=self._name_of(slot),
            )
        self._writer.write(slot, version, data, annex, (blob.data_bytes, blob.inode) if blob is not None else None)
        self._memory.words[layout.SEQUENCE] += 1

    def remove(self, name: str) -> None:
        """Take a name away; readers get ParameterNotFoundError. A later version of the same name has a higher number.

        Raises:
            ParameterNotFoundError: There is no such name.
        """
        self._check_lease()
        slot = self._slots.get(name)
        words = self._memory.words
        if slot is None or words[slot] == layout.POISON:
            raise ParameterNotFoundError(f"there is no parameter {name!r}", name=name)
        words[slot + layout.LAST] = self.version(slot)
        words[slot] = layout.POISON
        words[layout.SEQUENCE] += 1

    def bump_epoch(self) -> None:
        """Hand the table to another class: values and versions stay, and every cached reader reads again."""
        self._check_lease()
        words = self._memory.words
        words[layout.EPOCH] += 1
        for slot in self._slots.values():
            stored = self.read(slot)
            if stored is not None:  # the same version in the other copy: another word, and no moment without a value
                external = (stored.size, stored.blob) if stored.external else None
                self._writer.write(slot, stored.version, stored.data, stored.annex, external)
        self._memory.words[layout.SEQUENCE] += 1

    def retire(self) -> None:
        """Say that another table took this one's place, or that its module is gone: every view becomes invalid at once.

        This writer gives its lease up, and nobody can adopt the table any more.
        """
        self._check_lease()
        words = self._memory.words
        words[layout.EPOCH] = layout.POISON
        for slot in self._slots.values():
            if words[slot] != layout.POISON:
                words[slot + layout.LAST] = self.version(slot)
                words[slot] = layout.POISON
        words[layout.LEASE] = 0
        self._incarnation = None

    def close(self) -> None:
        """Unmap and close. Idempotent."""
        self._memory.close()
        self._incarnation = None

    def _published(self) -> list[str]:
        words = self._memory.words
        return [name for name, slot in self._slots.items() if words[slot] not in (layout.EMPTY, layout.POISON)]

    def _check_lease(self) -> None:
        if self.fd < 0:
            raise ParameterError("the parameter table is closed")
        holder = self._memory.words[layout.LEASE]
        if holder != self._incarnation:
            ours = "nobody here" if self._incarnation is None else self._incarnation
            raise ParameterError(f"the parameter table is leased to incarnation {holder}, not to {ours}")

    def _name_of(self, slot: int) -> str:
        return slots.name_at(self._memory, slot)
