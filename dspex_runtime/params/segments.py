"""A journal in files: `<directory>/<n>.journal`, one after the other, each written by one process only.

Who opens a journal always begins a new segment (at its first append), so it never writes behind a torn tail. A segment that is
full is complete and closed; whoever folds it into the store may then delete it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from dspex_runtime.params.journal import Journal, write_all, write_error
from dspex_runtime.params.records import FORMAT, HEAD, MAGIC, OFFSET_BITS, frame, position_of, segment_path, segments

__all__ = ["SEGMENT_BYTES", "SegmentJournal"]

SEGMENT_BYTES: Final = 4 * 2**20  # a reader that adopts or folds takes one in at a time
_HEAD: Final = HEAD.pack(MAGIC, FORMAT, 0, 0)


class SegmentJournal(Journal):
    """A journal in files.

    Args:
        directory: Made when it is needed.
        after: A position that is used up: this journal's are higher, even when the segment is deleted by now.
        on_rotate: Called with the number of a segment that is complete, by the thread that appended.
    """

    def __init__(
        self, directory: Path | str, *, after: int = 0, on_rotate: Callable[[int], None] | None = None, limit: int = SEGMENT_BYTES
    ) -> None:
        self.directory = Path(directory)
        self._on_rotate = on_rotate
        self._limit = limit
        self._fd = -1
        self._number = after >> OFFSET_BITS
        self._offset = 0
        self._lock = threading.Lock()  # of all above
        self._sync_lock = threading.Lock()  # taken before _lock by whoever needs both
        self._synced = 0  # positions
        self._unsyncable = -1
        self._wanted = 0  # position of the last durable record
        self._has_left = False
        self._new_names = False  # files or directories were made since the last sync

    @property
    def position(self) -> int:
        """Where the last record ends."""
        return position_of(self._number, self._offset)

    @property
    def path(self) -> Path:
        """The file that is written."""
        return segment_path(self.directory, self._number)

    def start_after(self, position: int) -> None:
        """Use no position up to this one. Has no effect once something was appended."""
        with self._lock:
            if self._fd < 0:
                self._number = max(self._number, position >> OFFSET_BITS)

    def append(self, *payloads: list[Any], durable: bool = False) -> int:
        """Append records with one write(2), see Journal.

        Cost: 2 us for a number.
        """
        data = frame(payloads[0]) if len(payloads) == 1 else b"".join(map(frame, payloads))
        completed = 0
        with self._lock:
            if self._fd < 0 or self._offset >= self._limit:
                completed = self._next_segment()
            if self._offset == 0:
                data = _HEAD + data
            try:
                write_all(self._fd, data)
            except OSError as exc:
                self._undo()
                raise write_error(f"the journal {self.path}", exc) from exc
            self._offset += len(data)
            position = position_of(self._number, self._offset)
            if durable:
                self._wanted = position
        if completed and self._on_rotate is not None:
            self._on_rotate(completed)
        return position

    def sync(self, position: int) -> None:
        """Return when everything up to a position survives a loss of power, see Journal."""
        if self._synced >= position > self._unsyncable:
            return
        with self._sync_lock:
            # Whoever had the lock while we waited may have done it for us.
            if self._synced < position:
                self._sync()
            if position <= self._unsyncable:
                raise write_error(f"the journal {self.path}", OSError("the disk did not take what was written"))

    def _sync(self) -> None:
        with self._lock:
            end = self.position
            fd = os.dup(self._fd) if self._fd >= 0 else -1  # the segment may be closed meanwhile
        try:
            if fd >= 0:
                os.fdatasync(fd)
            if self._new_names:
                _sync_directories(self.directory)
                self._new_names = False
        except OSError as exc:
            # The kernel forgets what it could not write: a second fdatasync would say that all is well.
            self._unsyncable = end
            raise write_error(f"the journal {self.path}", exc) from exc
        finally:
            self._synced = end
            if fd >= 0:
                os.close(fd)

    def leave(self) -> None:
        """Close it for good: another process writes the next segment. From here on nothing can be appended."""
        with self._sync_lock, self._lock:
            self._close_segment()
            self._has_left = True

    def close(self) -> None:
        """Close the segment; another append would begin the next one. Idempotent."""
        with self._sync_lock, self._lock:
            self._close_segment()

    def _close_segment(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1  # an interrupt in between must not have another close the same number
            os.close(fd)

    def _next_segment(self) -> int:
        """Begin a segment; return the number of the one that is complete now, 0 if there is none."""
        if self._has_left:
            raise write_error(f"a journal in {self.directory}", OSError("it is another process's by now"))
        full = self._number if self._fd >= 0 else 0
        try:
            fd, number = self._create()
        except OSError as exc:
            if full:
                return 0  # there is no new file to be had, but the old one may still take a record
            raise write_error(f"a journal in {self.directory}", exc) from exc
        if full:
            self._finish()
        self._fd, self._number, self._offset = fd, number, 0
        self._new_names = True
        return full

    def _finish(self) -> None:
        """Close a full segment. What is to be durable in it gets there now: sync only reaches the new one."""
        if self._wanted > self._synced:
            try:
                os.fdatasync(self._fd)
            except OSError:
                self._unsyncable = max(self._unsyncable, self.position)
        self._close_segment()

    def _create(self) -> tuple[int, int]:
        try:
            os.makedirs(self.directory, mode=0o700, exist_ok=True)
        except FileExistsError as exc:
            raise NotADirectoryError(exc.errno, "there is a file of that name", str(self.directory)) from exc
        there = segments(self.directory)
        number = max(self._number, there[-1][0] if there else 0) + 1
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        return os.open(segment_path(self.directory, number), flags, 0o600), number

    def _undo(self) -> None:
        """Cut off what a failed write left; if even that fails, leave the torn tail to readers and go on in a new file."""
        try:
            os.ftruncate(self._fd, self._offset)
        except OSError:
            self._close_segment()


def _sync_directories(directory: Path) -> None:
    """A file that power was lost after is only found again if its directory, and that one's name, are on the disk."""
    for path in (directory, directory.parent):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
