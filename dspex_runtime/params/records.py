"""The bytes of a journal: a head, then records. Reading them, whole or torn, from a file or a memfd. Never writes.

    0            8         16           24        32
    "dspexjnl"   FORMAT    published    0         record, record, ...          words are u64, little-endian

    record       [u32 bytes][u32 crc32][msgpack]

`published` is a memfd's: everything before that offset has been published, so that an adopter reads on from there; 0 in files,
whose position is a word of the table. A record is a list whose first item is its kind; readers skip kinds that they do not know:

    [1, name, version, when, who, data, annex, removed]     a set; of a removal data and annex are empty
    [2, when, [execution, ...], totals]                     totals: calls, failures ... of all incarnations
    [3, when, facts]                                        the whole map, not a difference
    [4, [record, ...]]                                      several that hold together: read as themselves, all or none of them
    [5, inode, offset, word]                                in such a group: its rest is in a memfd, see VolatileJournal.reserve

A writer that was killed leaves a tail that is cut short, a loss of power one of zeros: reading ends there, silently. A record
that is damaged in the middle is left out and told; the ones behind it are read.

A position is `segment << 40 | offset`, so that positions of one journal only grow; a memfd is segment 0.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Any, Final
from zlib import crc32

from dspex_runtime.errors import ParameterError, ProtocolError
from dspex_runtime.wire.codec import Codec

__all__ = [
    "ELSEWHERE", "EXECUTIONS", "FACTS", "FORMAT", "GROUP", "HEAD", "MAGIC", "OFFSET_BITS", "OFFSET_MASK", "PUBLISHED_AT", "SET",
    "SetRecord", "frame", "payload_of", "position_of", "read_from", "records", "segment_path", "segments", "spans", "tail",
]  # fmt: skip

SET: Final = 1
EXECUTIONS: Final = 2
FACTS: Final = 3
GROUP: Final = 4
ELSEWHERE: Final = 5

MAGIC: Final = b"dspexjnl"
FORMAT: Final = 1
HEAD: Final = Struct("<8sQQQ")
PUBLISHED_AT: Final = 16  # byte offset of `published`
OFFSET_BITS: Final = 40
OFFSET_MASK: Final = (1 << OFFSET_BITS) - 1
_RECORD: Final = Struct("<II")
_SUFFIX: Final = ".journal"

_plain = Codec()  # records hold values as bytes; whatever else is in them must be plain

OnDamage = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class SetRecord:
    """A record of kind SET."""

    name: str
    version: int
    when: float
    who: str
    data: bytes
    annex: bytes
    removed: bool = False

    @classmethod
    def read(cls, payload: list[Any]) -> SetRecord | None:
        """Return the set in a record, or None when it is of another kind."""
        return cls(*payload[1:8]) if payload[0] == SET else None

    def payload(self) -> list[Any]:
        """Return the record."""
        return [SET, self.name, self.version, self.when, self.who, self.data, self.annex, self.removed]


def frame(payload: list[Any]) -> bytes:
    """Return a record as the bytes that go into a journal.

    Raises:
        UnserialisableError: Something in it is not plain.
    """
    body = _plain.pack(payload)
    return _RECORD.pack(len(body), crc32(body)) + body


def payload_of(body: bytes | memoryview) -> list[Any]:
    """Return the list in a record's body.

    Raises:
        ProtocolError: It is none.
    """
    return _plain.unpack(body)


def position_of(segment: int, offset: int) -> int:
    """Return a position."""
    return segment << OFFSET_BITS | offset


def segment_path(directory: Path, number: int) -> Path:
    """Return the file of a segment."""
    return directory / f"{number}{_SUFFIX}"


def segments(directory: Path | str) -> list[tuple[int, Path]]:
    """Return number and file of each segment, oldest first; of a directory that is not there, none."""
    try:
        names = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
    numbers = [int(stem) for name in names if name.endswith(_SUFFIX) and (stem := name.removesuffix(_SUFFIX)).isdecimal()]
    return [(number, segment_path(Path(directory), number)) for number in sorted(numbers)]


def records(
    source: Path | str | int, start: int = 0, *, kinds: frozenset[int] | None = None, on_damage: OnDamage | None = None
) -> Iterator[tuple[int, list[Any]]]:
    """Yield each whole record and the position behind it, as far as the writer has come.

    Args:
        source: A segment's file, or the descriptor of a memfd (which stays the caller's).
        start: A position, or an offset; 0: all. Behind a position of another segment: that segment's number is not looked at.
        kinds: Leave out others; the records of calls are many and large, and are passed over without being looked at.
        on_damage: Told about what cannot be read although it is no torn tail.

    Raises:
        OSError: The file cannot be read.
        ParameterError: It is of a later format.
    """
    if isinstance(source, int):
        yield from _records(source, 0, start & OFFSET_MASK, f"the journal in descriptor {source}", kinds, on_damage)
        return
    path = Path(source)
    stem = path.name.removesuffix(_SUFFIX)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield from _records(fd, int(stem) if stem.isdecimal() else 0, start & OFFSET_MASK, str(path), kinds, on_damage)
    finally:
        os.close(fd)


def tail(
    directory: Path | str, start: int = 0, *, kinds: frozenset[int] | None = None, on_damage: OnDamage | None = None
) -> Iterator[tuple[int, list[Any]]]:
    """Yield the records of all segments from a position on. Raises as `records`."""
    first = start >> OFFSET_BITS
    for number, path in segments(directory):
        if number >= first:
            try:
                yield from records(path, start if number == first else 0, kinds=kinds, on_damage=on_damage)
            except FileNotFoundError:
                continue  # folded into the store and deleted meanwhile


def _records(
    fd: int, segment: int, start: int, name: str, kinds: frozenset[int] | None, on_damage: OnDamage | None
) -> Iterator[tuple[int, list[Any]]]:
    head = os.pread(fd, HEAD.size, 0)
    if len(head) < HEAD.size or not any(head[8:16]):
        return  # killed, or without power, before the first record was there
    magic, number, _, _ = HEAD.unpack(head)
    if magic != MAGIC or number != FORMAT:
        if magic == MAGIC:
            raise ParameterError(f"{name} has journal format {number}; this version of dspex reads format {FORMAT}")
        _tell(on_damage, f"{name} is no journal: it begins with {magic!r}")
        return
    at = max(start, HEAD.size)
    data = memoryview(read_from(fd, at))
    for begin, end, body in spans(data, kinds):
        try:
            if body is None:
                raise ValueError("its checksum is wrong")
            payload = payload_of(body)
        except (ValueError, ProtocolError) as exc:
            _tell(on_damage, f"{name}: the record that ends at byte {at + end} cannot be read and is left out: {exc}")
            continue
        members = payload[1] if payload[0] == GROUP else (payload,)
        for number, each in enumerate(members, 1):
            if kinds is None or each[0] in kinds:
                # Behind a group is behind its last one: whoever stops before that reads all of it again.
                yield position_of(segment, at + (end if number == len(members) else begin)), each


def spans(data: memoryview, kinds: frozenset[int] | None = None) -> Iterator[tuple[int, int, memoryview | None]]:
    """Yield begin, end and body of each record of some kinds, None for a body whose checksum is wrong, up to a torn tail."""
    begin, size = 0, len(data)
    while begin + _RECORD.size <= size:
        length, check = _RECORD.unpack_from(data, begin)
        end = begin + _RECORD.size + length
        if length == 0 or end > size:
            return
        body = data[end - length : end]
        # msgpack: an array of less than 16, a small number
        if kinds is not None and length > 1 and body[1] not in kinds and body[1] != GROUP:
            pass
        elif crc32(body) == check:
            yield begin, end, body
        elif end < size:  # else it is the last one: its bytes did not all reach the disk
            yield begin, end, None
        begin = end


def read_from(fd: int, start: int) -> bytes:
    """Return the bytes of a file from an offset to its end."""
    parts, at = [], start
    end = os.fstat(fd).st_size
    while at < end:
        part = os.pread(fd, end - at, at)  # 2 GB at most at a time
        if not part:
            break
        parts.append(part)
        at += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _tell(on_damage: OnDamage | None, text: str) -> None:
    if on_damage is not None:
        on_damage(text)
