"""Reading a table: its directory and the copies in its slots, while a writer changes them. Takes no lock, never writes.

A slot is named by the index of its first word, `Memory.words[slot]`, which never changes while the table lives.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple
from zlib import crc32

from dspex_runtime.errors import ParameterError
from dspex_runtime.params import layout
from dspex_runtime.params.memory import Memory

__all__ = ["Stored", "check_header", "copy_words", "corrupt", "directory", "name_at", "read", "slot_at", "version_of"]

# How often one and the same word may name a copy that is not whole. On x86-64 once would be a broken table; where stores
# become visible out of order the rest of the copy is seen soon after the word.
_DOUBTS: Final = 1000
# A writer can overtake a reader only by publishing the slot twice within one copying; this often in a row it never does.
_OVERTAKEN: Final = 1_000_000


class Stored(NamedTuple):
    """One published version, copied out of the table.

    Attributes:
        version: 1, 2, 3 ... for one name.
        data: The bytes of the value; none for an external one.
        annex: The bytes that were published with it; none for an external one, they are in its blob.
        external: Whether the bytes are in a blob.
        size: Bytes of the value, external or not.
        blob: Inode number of the blob of an external one.
        word: The slot's word that named it; another one there means that there is something newer to read.
    """

    version: int
    data: bytes
    annex: bytes
    external: bool
    size: int
    blob: int
    word: int


def read(memory: Memory, slot: int) -> Stored | None:
    """Return the published version of a slot; None when there is none or it was removed.

    It is whole, and never older than what was published before the call. Without a lock: a writer is never held up, and a
    dead one leaves nothing to wait for.

    Raises:
        ParameterError: The table is broken.

    Cost: 1.5 us, and 0.25 us per KB.
    """
    seen = doubts = 0
    for _ in range(_OVERTAKEN):
        word = memory.words[slot]
        if word in (layout.EMPTY, layout.POISON):
            return None
        stored = _copy_out(memory, slot, word)
        if stored is not None:
            return stored
        doubts = doubts + 1 if word == seen else 0
        seen = word
        if doubts > _DOUBTS:
            break
    raise corrupt(f"version {seen >> 1} of {name_at(memory, slot)!r} is not whole")


def _copy_out(memory: Memory, slot: int, word: int) -> Stored | None:
    """Return the copy that a word names, or None when it is not, or no longer, what the word says."""
    at = copy_words(slot, word & 1)
    words = memory.words
    area, version, lengths, check = words[at : at + layout.COPY_WORDS].tolist()
    if version != word >> 1:
        return None
    if check >> 32 == layout.EXTERNAL:
        blob = words[slot + layout.BLOBS + (word & 1)]
        is_whole = check == layout.checksum(slot, version, lengths, layout.EXTERNAL, blob.to_bytes(8, "little"), b"")
        return Stored(version, b"", b"", True, lengths, blob, word) if is_whole else None
    start, capacity = layout.area_place(area)
    middle = start + (lengths & layout.LOW)
    end = middle + (lengths >> 32)
    if end - start > capacity:
        return None
    data = memory.bytes
    if end > len(data):
        memory.remap()
        data = memory.bytes
        if end > len(data):
            return None
    value, annex = bytes(data[start:middle]), bytes(data[middle:end])
    if words[at + layout.VERSION] != version or check != layout.checksum(slot, version, lengths, layout.INLINE, value, annex):
        return None
    return Stored(version, value, annex, False, len(value), 0, word)


def copy_words(slot: int, copy: int) -> int:
    """Return the index of the first word of copy 0 or 1."""
    return slot + layout.COPIES + copy * layout.COPY_WORDS


def version_of(memory: Memory, slot: int) -> int:
    """Return the version of a slot, the last one it had if it was removed, 0 if it never had one."""
    word = memory.words[slot]
    return memory.words[slot + layout.LAST] if word in (layout.EMPTY, layout.POISON) else word >> 1


def slot_at(memory: Memory, number: int) -> int:
    """Return slot `number`, in the order of adding.

    Raises:
        ParameterError: Its extent is not there.
    """
    extent, place = layout.extent_of(number)
    offset = memory.words[layout.EXTENTS + extent] if extent < layout.MAX_EXTENTS else 0
    if offset == 0 or offset % layout.UNIT:
        raise corrupt(f"slot {number} has no place")
    end = offset + layout.extent_bytes(extent)
    if end > len(memory.bytes):
        memory.remap()
        if end > len(memory.bytes):
            raise corrupt(f"slot {number} is at byte {offset}, beyond its {len(memory.bytes)}")
    return (offset + place * layout.SLOT_BYTES) // 8


def directory(memory: Memory, start: int = 0) -> Iterator[tuple[str, int]]:
    """Return names and slots, hidden and removed ones too, from slot number `start` on.

    Raises:
        ParameterError: The table is broken.
    """
    for number in range(start, memory.words[layout.N_SLOTS]):
        slot = slot_at(memory, number)
        yield name_at(memory, slot), slot


def name_at(memory: Memory, slot: int) -> str:
    """Return the name of a slot.

    Raises:
        ParameterError: It has none: the table is broken.
    """
    offset, n_bytes = layout.name_place(memory.words[slot + layout.NAME])
    if offset + n_bytes > len(memory.bytes):
        memory.remap()
    name = bytes(memory.bytes[offset : offset + n_bytes])
    if crc32(name) != memory.words[slot + layout.NAME_CRC] or not name:
        raise corrupt(f"the name of the slot at word {slot} is not whole")
    try:
        return name.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as exc:
        raise corrupt(f"the name of the slot at word {slot} is no text: {exc}") from exc


def check_header(memory: Memory) -> None:
    """Check that this is a table, and of this layout.

    Raises:
        ParameterError: It is not.
    """
    words = memory.words
    if len(memory.bytes) < layout.HEADER_BYTES:
        raise ParameterError(f"this is no parameter table: {len(memory.bytes)} bytes, expected at least {layout.HEADER_BYTES}")
    if words[layout.MAGIC] != layout.MAGIC_WORD:
        raise ParameterError(f"this is no parameter table: it begins with {bytes(memory.bytes[:8])!r}")
    if words[layout.LAYOUT] != layout.LAYOUT_VERSION:
        raise ParameterError(
            f"this parameter table has layout {words[layout.LAYOUT]}, expected {layout.LAYOUT_VERSION}",
            hint="it is of another version of dspex; both sides must have the same",
        )
    if words[layout.N_SLOTS] > layout.MAX_SLOTS:
        raise corrupt(f"it says it has {words[layout.N_SLOTS]} slots, more than {layout.MAX_SLOTS}")


def corrupt(what: str) -> ParameterError:
    """Return the error for a table that is broken."""
    return ParameterError(f"the parameter table is broken: {what}")
