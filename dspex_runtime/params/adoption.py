"""Checking a table that somebody else wrote, before trusting it: every place inside the file, and no two places overlapping.

Never writes. The bytes of the values are not looked at: their checksums are, when they are read.
"""

from __future__ import annotations

from dspex_runtime.params import layout, slots
from dspex_runtime.params.memory import Memory

__all__ = ["survey"]


def survey(memory: Memory) -> tuple[dict[str, int], int]:
    """Return the slots by name, and where the used part ends: what a killed writer had taken and not used is free again.

    Raises:
        ParameterError: It is no table, has another layout, or is broken.

    Cost: 3 us per name.
    """
    slots.check_header(memory)
    names: dict[str, int] = {}
    places = _extents(memory)
    for name, slot in slots.directory(memory):
        if name in names:
            raise slots.corrupt(f"{name!r} is in it twice")
        names[name] = slot
        places += _places(memory, slot)
    end = layout.HEADER_BYTES
    for start, stop in sorted(places):
        if start < end:
            raise slots.corrupt(f"two of its places overlap at byte {start}")
        end = stop
    if end > len(memory.bytes):
        raise slots.corrupt(f"it uses {end} bytes and has {len(memory.bytes)}")
    return names, end


def _extents(memory: Memory) -> list[tuple[int, int]]:
    offsets = memory.words[layout.EXTENTS : layout.EXTENTS + layout.MAX_EXTENTS].tolist()
    return [(offset, offset + layout.extent_bytes(extent)) for extent, offset in enumerate(offsets) if offset]


def _places(memory: Memory, slot: int) -> list[tuple[int, int]]:
    """Return what the name and the copies of one slot take."""
    words = memory.words[slot : slot + layout.SLOT_WORDS].tolist()
    offset, n_bytes = layout.name_place(words[layout.NAME])
    areas = [layout.area_place(words[slots.copy_words(0, copy) + layout.AREA]) for copy in (0, 1)]
    return [
        (offset, offset + layout.aligned(n_bytes)),
        *((start, start + capacity) for start, capacity in areas if capacity),
    ]
