"""The byte layout of a parameter table, and what its words mean. Never touches memory, files or values.

A table is one memfd, sealed against shrinking. All numbers are unsigned 64-bit words in native byte order, aligned to 8
bytes, each loaded and stored by one instruction (memoryview's native "Q"). Nothing ever moves, the file only grows; what
lies in no extent, name or area is free, whatever a killed writer left there.

    page 0, the header, in words            page 1 and further, in any order
       0 MAGIC        "dspexprm"               slots      an extent of 32 << k slots; extent k is found by word 32 + k
       1 LAYOUT       version of all this      names      UTF-8, 64-aligned
       2 LEASE        incarnation that         areas      one of each copy: data, then annex; 64 << n bytes, 64-aligned
                      may write; 0 nobody
       3 SEQUENCE     grows with everything published or removed, and with every adoption
       4 N_SLOTS      slots that have a name; stored when the slot is whole
       5 EPOCH        classes this table has served before; POISON: retired, another table took its place
       6 JOURNAL      the owner's own: a position in its journal
      32 EXTENTS      20 words: byte offset of extent k, 0 when there is none yet; the rest of the page is free

    one slot, 16 words (two cache lines; a cached reader touches the first word only)
       0 WORD         version << 1 | copy      THE word: whatever it names is whole. EMPTY: nothing published yet.
                                               POISON: removed, and every cached reader notices
       1 LAST         version it had when it was removed; later ones are higher, so that no word ever comes back
       2 NAME         offset << 16 | length of the name
       3 NAME_CRC     crc32 of the name
       4 copy 0       4 words                  8 copy 1       4 words
      12 BLOBS        2 words, one per copy    14..15 free
            0 AREA     (offset / 64) << 8 | log2(capacity); 0: none yet. One word, so that a kill never parts the two
            1 VERSION  0 while the copy is being written
            2 LENGTHS  annex bytes << 32 | data bytes; of an EXTERNAL one: data bytes
            3 CHECK    kind << 32 | crc32 over slot, version, lengths, kind, data and annex; of an EXTERNAL one: the
                       inode number of its blob in place of data, which is also in BLOBS

A publish writes the copy that WORD does not name: VERSION 0, AREA when it is too small, bytes, LENGTHS, CHECK, VERSION,
and last WORD. A kill at any instruction leaves what WORD named before. A reader loads WORD, copies out what it names, and
believes it when VERSION is still the same afterwards and the checksum is right; else it was overtaken twice meanwhile
and loads WORD again. Where stores become visible out of order (arm64) the checksum is what keeps a half-seen copy out.

Values of up to INLINE_MAX bytes, annex included, lie in their area. Larger ones are EXTERNAL: their bytes are in a sealed
memfd per name and version (see blob), and the table says which memfd that is, so that no other one is taken for it.

Names that begin with NUL are hidden: META + name (what is known about a parameter), FACTS (about the module) and WITHDRAWN + name
(version, data and annex of what no class declares now), published like any other value. The annex is packed by `values.Annex`.
"""

from __future__ import annotations

from struct import Struct
from typing import Final
from zlib import crc32

__all__ = [
    "AREA", "BLOBS", "CHECK", "COPIES", "COPY_WORDS", "EMPTY", "EPOCH", "EXTENTS", "EXTERNAL", "FACTS", "FIRST_EXTENT_SLOTS",
    "HEADER_BYTES", "INLINE", "INLINE_MAX", "JOURNAL", "LAST", "LAYOUT", "LAYOUT_VERSION", "LEASE", "LENGTHS", "LOW", "MAGIC",
    "MAGIC_WORD", "MAX_EXTENTS", "MAX_SLOTS", "MAX_VERSION", "META", "NAME", "NAME_CRC", "NAME_MAX", "N_SLOTS", "POISON",
    "SEQUENCE", "SLOT_BYTES", "SLOT_WORDS", "UNIT", "VERSION", "WITHDRAWN", "WORD", "aligned", "area_place", "area_word",
    "capacity_shift", "checksum", "extent_bytes", "extent_of", "fits_inline", "is_hidden", "meta_name", "name_place", "name_word",
    "withdrawn_name",
]  # fmt: skip

MAGIC_WORD: Final = int.from_bytes(b"dspexprm", "little")
LAYOUT_VERSION: Final = 1
HEADER_BYTES: Final = 4096

MAGIC: Final = 0
LAYOUT: Final = 1
LEASE: Final = 2
SEQUENCE: Final = 3
N_SLOTS: Final = 4
EPOCH: Final = 5
JOURNAL: Final = 6
EXTENTS: Final = 32
MAX_EXTENTS: Final = 20

SLOT_WORDS: Final = 16
SLOT_BYTES: Final = SLOT_WORDS * 8
FIRST_EXTENT_SLOTS: Final = 32  # one page
MAX_SLOTS: Final = FIRST_EXTENT_SLOTS * (2**MAX_EXTENTS - 1)

WORD: Final = 0
LAST: Final = 1
NAME: Final = 2
NAME_CRC: Final = 3
COPIES: Final = 4
COPY_WORDS: Final = 4
BLOBS: Final = 12

AREA: Final = 0
VERSION: Final = 1
LENGTHS: Final = 2
CHECK: Final = 3

EMPTY: Final = 0
POISON: Final = 2**64 - 1
MAX_VERSION: Final = 2**62
LOW: Final = 2**32 - 1  # the lower half of a word

INLINE: Final = 0  # kinds of a copy
EXTERNAL: Final = 1
INLINE_MAX: Final = 65536  # bytes; a reader copies that in 5 us, and two areas of it are kept for each such slot
UNIT: Final = 64  # bytes: what every place is a multiple of, and the smallest area
NAME_MAX: Final = 4096  # bytes of UTF-8

META: Final = "\0meta\0"
FACTS: Final = "\0facts"
WITHDRAWN: Final = "\0withdrawn\0"

_IDENTITY: Final = Struct("=QQQQ")


def meta_name(name: str) -> str:
    """Return the name of the hidden slot that tells about a parameter."""
    return META + name


def withdrawn_name(name: str) -> str:
    """Return the hidden name of what is kept of a name that nobody declares now."""
    return WITHDRAWN + name


def is_hidden(name: str) -> bool:
    """Return whether a name is one of ours, not a parameter's."""
    return name.startswith("\0")


def fits_inline(data_bytes: int, annex_bytes: int) -> bool:
    """Return whether a value of that size lies in the table; else it needs a blob."""
    return data_bytes + annex_bytes <= INLINE_MAX


def aligned(n_bytes: int) -> int:
    """Return the bytes that a place of `n_bytes` takes."""
    return (n_bytes + UNIT - 1) // UNIT * UNIT


def extent_of(number: int) -> tuple[int, int]:
    """Return which extent slot `number` (0, 1, 2 ... in the order of adding) is in, and its place in there."""
    extent = (number // FIRST_EXTENT_SLOTS + 1).bit_length() - 1
    return extent, number - FIRST_EXTENT_SLOTS * ((1 << extent) - 1)


def extent_bytes(extent: int) -> int:
    """Return the size of an extent."""
    return (FIRST_EXTENT_SLOTS << extent) * SLOT_BYTES


def capacity_shift(n_bytes: int) -> int:
    """Return log2 of the smallest area that holds `n_bytes`."""
    return max(n_bytes - 1, UNIT - 1).bit_length()


def area_word(offset: int, shift: int) -> int:
    """Return an area's place and size as one word."""
    return offset // UNIT << 8 | shift


def area_place(word: int) -> tuple[int, int]:
    """Return offset and capacity of an area; capacity 0 when there is none."""
    return (word >> 8) * UNIT, 1 << (word & 0xFF) if word else 0


def name_word(offset: int, n_bytes: int) -> int:
    """Return a name's place as one word."""
    return offset << 16 | n_bytes


def name_place(word: int) -> tuple[int, int]:
    """Return offset and length of a name."""
    return word >> 16, word & 0xFFFF


def checksum(slot: int, version: int, lengths: int, kind: int, data: bytes | memoryview, annex: bytes | memoryview) -> int:
    """Return the CHECK word of a copy. It covers where and what it is, so that no other copy can pass for it."""
    return kind << 32 | crc32(annex, crc32(data, crc32(_IDENTITY.pack(slot, version, lengths, kind))))
