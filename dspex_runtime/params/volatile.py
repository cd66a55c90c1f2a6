"""A journal in a memfd, for parameters of durability `memory`: it lives as long as somebody holds the memfd, and so does history.

When it has grown to its limit it is written anew, into another memfd, with the last hundred of each name.

Records that hold together with others on the disk are reserved first: they are there but for their first word, without which
nobody reads them or what is behind. That is written when the disk has the others; by whoever adopts the memfd, after a kill.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from struct import Struct
from typing import Any, Final

from dspex_runtime.params.cell import HISTORY_LENGTH
from dspex_runtime.params.journal import Journal, write_all, write_error
from dspex_runtime.params.records import (
    ELSEWHERE,
    FORMAT,
    HEAD,
    MAGIC,
    PUBLISHED_AT,
    SET,
    frame,
    payload_of,
    read_from,
    records,
    spans,
)

__all__ = ["LIMIT_BYTES", "VolatileJournal"]

LIMIT_BYTES: Final = 4 * 2**20  # then it is compacted, and again when it has doubled
NAME_BYTES: Final = 4 * 2**20  # of one name's history in memory: large arrays have fewer than a hundred versions there
_MARK_EVERY: Final = 64  # appends: an adopter reads so many records again, which costs it 0.1 ms
_WORD: Final = Struct("<Q")
_NEW: Final = HEAD.pack(MAGIC, FORMAT, HEAD.size, 0)

Spans = deque[tuple[int, int]]  # begin and end of a name's last records


class VolatileJournal(Journal):
    """A journal in a memfd.

    Args:
        fd: Of an earlier incarnation's journal, taken over; None: one is made at the first append.
        on_replaced: Called with the descriptor when it is another one from now on, also the first time; it stays the journal's.
        is_settled: Asked at some appends whether everything that was appended before is published.
    """

    def __init__(
        self,
        fd: int | None = None,
        *,
        on_replaced: Callable[[int], None] | None = None,
        is_settled: Callable[[], bool] = lambda: True,
        limit: int = LIMIT_BYTES,
    ) -> None:
        self.on_replaced = on_replaced
        self._is_settled = is_settled
        self._limit = self._compact_at = limit
        self._fd = -1
        self._end = self._published = HEAD.size
        self._appends = 0
        self._reserved: tuple[tuple[list[Any], ...], list[bytes]] | None = None  # payloads and their frames
        self._is_torn = False  # something may be behind the end
        self._spans: dict[str, Spans] | None = {}  # None: to be read from the memfd
        self._lock = threading.RLock()
        if fd is not None:
            self.adopt(fd)

    @property
    def fd(self) -> int:
        """The memfd; -1 when there is none."""
        return self._fd

    @property
    def position(self) -> int:
        """Where the last record ends."""
        return self._end

    @property
    def published(self) -> int:
        """An offset before which everything was published; an adopter looks at what is behind."""
        return self._published

    def adopt(self, fd: int) -> None:
        """Go on in an earlier incarnation's memfd, which is taken over. What is no journal is dropped.

        A torn tail is cut off by the first append: it may be what `complete_kept` is going to make readable.
        """
        with self._lock:
            self._close()
            head = os.pread(fd, HEAD.size, 0)
            if len(head) < HEAD.size or HEAD.unpack(head)[:2] != (MAGIC, FORMAT):
                os.close(fd)
                return
            self._published = max(HEAD.size, HEAD.unpack(head)[2])
            self._end = self._published
            for end, _ in records(fd, self._published):
                self._end = end
            self._fd, self._spans, self._is_torn = fd, None, True

    def append(self, *payloads: list[Any], durable: bool = False) -> int:  # noqa: ARG002 (memory has no disk to wait for)
        """Append records with one write(2), see Journal.

        Cost: 2 us for a number; a compaction, every 50 000 numbers or so, 1 ms and 20 us for each name.
        """
        if len(payloads) != 1:  # the first word of the first one last: before that none of them is there, whenever we are killed
            with self._lock:
                self.reserve(*payloads)
                self.complete()
                return self._end
        data = frame(payloads[0])
        with self._lock:
            try:
                self._make_ready()
                write_all(self._fd, data, self._end)
            except BaseException as exc:
                self._is_torn = True
                if isinstance(exc, OSError):
                    raise write_error("the journal in memory", exc) from exc
                raise
            self._take_in(payloads[0], len(data))
            return self._end

    def reserve(self, *payloads: list[Any]) -> list[Any]:
        """Write records that nobody reads before `complete`; whatever is appended instead of calling that takes their place.

        Returns:
            The record that says where they are, for the journal that has what they hold together with.

        Raises:
            ParameterError: They cannot be written (`code` is "journal").
        """
        frames = [frame(payload) for payload in payloads]
        with self._lock:
            try:
                self._make_ready()
                self._is_torn = True
                # The file ends where the word begins: that is zero, and has its memory.
                write_all(self._fd, b"".join(frames)[_WORD.size :], self._end + _WORD.size)
                inode = os.fstat(self._fd).st_ino
            except OSError as exc:
                raise write_error("the journal in memory", exc) from exc
            self._reserved = payloads, frames
            return [ELSEWHERE, inode, self._end, frames[0][: _WORD.size]]

    def complete(self) -> None:
        """Make what was reserved readable: eight bytes where there is memory already, which cannot fail."""
        with self._lock:
            assert self._reserved is not None, "nothing is reserved"
            payloads, frames = self._reserved
            os.pwrite(self._fd, frames[0][: _WORD.size], self._end)
            self._reserved, self._is_torn = None, False
            for payload, each in zip(payloads, frames, strict=True):
                self._take_in(payload, len(each))

    def complete_kept(self, inode: int, offset: int, word: bytes) -> None:
        """Make readable what a killed writer had reserved, if it is still to be done; from its record, see `reserve`."""
        with self._lock:
            if self._fd < 0 or offset != self._end or os.fstat(self._fd).st_ino != inode:
                return
            found = [(end, body) for _, end, body in spans(memoryview(word + read_from(self._fd, offset + _WORD.size)))]
            if found and found[0][1] is not None:  # else it is another's that came later, and the disk did not take
                os.pwrite(self._fd, word, offset)
                self._end = offset + found[-1][0]

    def sync(self, position: int) -> None:
        """Memory has nothing to sync."""

    def close(self) -> None:
        """Close the descriptor; the memfd lives on where others hold it. Idempotent."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1  # an interrupt in between must not have another close the same number
            os.close(fd)
        self._end = self._published = HEAD.size
        self._spans = {}

    def _make_ready(self) -> None:
        if self._fd < 0:
            self._replace(_NEW)
            return
        if self._is_torn:  # what is written over a part of it would have the rest read behind it
            os.ftruncate(self._fd, self._end)
            self._reserved, self._is_torn = None, False
        if self._end >= self._compact_at:
            self._compact()
        elif self._appends % _MARK_EVERY == 0:
            self._mark()

    def _take_in(self, payload: list[Any], size: int) -> None:
        self._appends += 1
        begin, self._end = self._end, self._end + size
        if self._spans is not None and payload[0] == SET:
            _note(self._spans, payload[1], begin, self._end)

    def _mark(self) -> None:
        """Note how far everything is published: whoever appends has published what was appended before, or else says so."""
        if not self._is_settled():
            return
        os.pwrite(self._fd, _WORD.pack(self._end), PUBLISHED_AT)
        self._published = self._end

    def _compact(self) -> None:
        if self._spans is None:
            self._spans = self._read_spans()
        data = memoryview(read_from(self._fd, 0))
        parts, kept, at = [_NEW], {}, HEAD.size
        for name, found in self._spans.items():
            kept[name] = Spans(maxlen=HISTORY_LENGTH)
            for begin, end in _newest(found):
                parts.append(bytes(data[begin:end]))
                kept[name].append((at, at + end - begin))
                at += end - begin
        self._replace(b"".join(parts))
        self._spans = kept
        self._mark()
        self._compact_at = max(self._limit, 2 * self._end)

    def _read_spans(self) -> dict[str, Spans]:
        found: dict[str, Spans] = {}
        for begin, end, body in spans(memoryview(read_from(self._fd, HEAD.size))):
            payload: list[Any] = payload_of(body) if body is not None else [0]
            if payload[0] == SET:
                _note(found, payload[1], HEAD.size + begin, HEAD.size + end)
        return found

    def _replace(self, data: bytes) -> None:
        fd = os.memfd_create("dspex-journal", os.MFD_CLOEXEC)
        try:
            write_all(fd, data, 0)
            if self.on_replaced is not None:
                self.on_replaced(fd)
        except BaseException:
            os.close(fd)
            raise
        self._close()
        self._fd, self._end, self._published, self._is_torn = fd, len(data), len(data), False


def _note(found: dict[str, Spans], name: str, begin: int, end: int) -> None:
    kept = found.get(name)
    if kept is None:
        kept = found[name] = Spans(maxlen=HISTORY_LENGTH)
    kept.append((begin, end))


def _newest(found: Spans) -> list[tuple[int, int]]:
    """Return the last spans that a name may keep, the very last whatever its size."""
    kept: list[tuple[int, int]] = []
    size = 0
    for begin, end in reversed(found):
        size += end - begin
        if kept and size > NAME_BYTES:
            break
        kept.append((begin, end))
    return kept[::-1]
