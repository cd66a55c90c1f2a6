"""The stores that make up a table, in the order that leaves it whole after each: slots, copies, and the bytes given away.

Owns how much of the file is in use. Never checks who may write, or what; see layout for what the words mean.
"""

from __future__ import annotations

from zlib import crc32

from dspex_runtime.errors import ParameterError
from dspex_runtime.params import layout, slots
from dspex_runtime.params.memory import Memory

__all__ = ["SlotWriter"]


class SlotWriter:
    """Writes into a mapped table.

    Args:
        memory: Of the table, writable.
        used: Bytes in use; everything behind is free.
    """

    def __init__(self, memory: Memory, used: int) -> None:
        self._memory = memory
        self.used = used

    def write(self, slot: int, version: int, data: bytes | memoryview, annex: bytes, external: tuple[int, int] | None) -> None:
        """Fill the copy that readers do not see, then let them see it. `external`: size and inode of the blob."""
        copy = ~self._memory.words[slot] & 1  # of an empty slot: copy 1
        at = slots.copy_words(slot, copy)
        # Whoever still copies from here, having loaded an old word, finds that it is no longer what it wanted.
        self._memory.words[at + layout.VERSION] = 0
        if external is not None:
            kind, (lengths, inode) = layout.EXTERNAL, external
            self._memory.words[slot + layout.BLOBS + copy] = inode
            data, annex = inode.to_bytes(8, "little"), b""
        else:
            kind, lengths = layout.INLINE, len(annex) << 32 | len(data)
            start = self._area(at, len(data) + len(annex))
            middle, end = start + len(data), start + len(data) + len(annex)
            self._memory.bytes[start:middle] = data
            self._memory.bytes[middle:end] = annex
        words = self._memory.words
        words[at + layout.LENGTHS] = lengths
        words[at + layout.CHECK] = layout.checksum(slot, version, lengths, kind, data, annex)
        words[at + layout.VERSION] = version
        words[slot] = version << 1 | copy

    def _area(self, at: int, n_bytes: int) -> int:
        """Return where the bytes of a copy go; a larger area when its own is too small, twice as large at least."""
        words = self._memory.words
        start, capacity = layout.area_place(words[at + layout.AREA])
        if n_bytes <= capacity:
            return start
        shift = layout.capacity_shift(n_bytes)
        start = self._allocate(1 << shift)
        self._memory.words[at + layout.AREA] = layout.area_word(start, shift)
        return start

    def new_slot(self, name: str) -> int:
        """Add an empty slot of that name, which must not have one, and return it.

        Raises:
            ParameterError: The name is empty or endless, or the table is full.
        """
        raw = name.encode("utf-8", "surrogatepass")
        if not 0 < len(raw) <= layout.NAME_MAX:
            raise ParameterError(f"a parameter's name has 1 to {layout.NAME_MAX} bytes; this one has {len(raw)}", name=name[:80])
        number = self._memory.words[layout.N_SLOTS]
        extent, _ = layout.extent_of(number)
        if extent >= layout.MAX_EXTENTS:
            raise ParameterError(f"the parameter table is full: {number} names", name=name)
        if self._memory.words[layout.EXTENTS + extent] == 0:
            offset = self._allocate(layout.extent_bytes(extent))
            self._memory.words[layout.EXTENTS + extent] = offset
        start = self._allocate(layout.aligned(len(raw)))
        self._memory.bytes[start : start + len(raw)] = raw
        words = self._memory.words
        slot = slots.slot_at(self._memory, number)
        for word in range(slot, slot + layout.SLOT_WORDS):
            words[word] = 0  # a writer that was killed in here may have left something
        words[slot + layout.NAME] = layout.name_word(start, len(raw))
        words[slot + layout.NAME_CRC] = crc32(raw)
        words[layout.N_SLOTS] = number + 1
        return slot

    def _allocate(self, n_bytes: int) -> int:
        """Give away bytes behind all that is in use, doubling the file when it is full; what is in them is undefined."""
        start, size = self.used, len(self._memory.bytes)
        end = start + layout.aligned(n_bytes)
        if end > size:
            while size < end:
                size *= 2
            self._memory.grow(size)
        self.used = end
        return start
