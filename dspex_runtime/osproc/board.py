"""The board: one shared page range where every module stamps what it is doing, and everybody may look.

    slot i at byte i * 64       0            8      16     24      32       40       48       56
                                EXPECTED_BY  BEGUN  ENDED  FAILED  BUSY_NS  LAST_NS  RUNNING  QUEUED       8 x u64, native

Owns the mapping; the runtime hands out slots, a module writes only its own. Never locks: each field is stored and loaded
as one aligned 8-byte word (memoryview's native "Q" compiles to a single move), so a reader sees an old or a new value,
never half of each. Fields are not consistent with one another; nobody needs them to be.

The memory is a sealed memfd: it has no name that could be left behind, and no process can shrink it under the others.
"""

from __future__ import annotations

import errno
import fcntl
import heapq
import mmap
import os
from typing import Final

__all__ = [
    "BEGUN",
    "BUSY_NS",
    "ENDED",
    "EXPECTED_BY",
    "FAILED",
    "LAST_NS",
    "NO_DEADLINE",
    "N_SLOTS",
    "QUEUED",
    "RUNNING",
    "Board",
    "Slot",
]

EXPECTED_BY: Final = 0  # monotonic ns by which the oldest-due running call should end; 0: idle
BEGUN: Final = 1  # calls begun, ever
ENDED: Final = 2  # calls ended, ever, failed ones included
FAILED: Final = 3  # calls that raised
BUSY_NS: Final = 4  # sum of the time spent in calls
LAST_NS: Final = 5  # duration of the last call
RUNNING: Final = 6  # calls running now
QUEUED: Final = 7  # calls waiting in the mailbox now

NO_DEADLINE: Final = 2**63  # EXPECTED_BY while every running call may take for ever
N_SLOTS: Final = 16384  # 1 MiB in all; the first page alone is touched by 64 modules
SLOT_FIELDS: Final = 8
SLOT_BYTES: Final = SLOT_FIELDS * 8  # a cache line: two modules never write to the same one
BOARD_BYTES: Final = N_SLOTS * SLOT_BYTES


class Slot:
    """The eight fields of one module. `get(field)`, `set(field, value)`: 40 to 60 ns; values are 0 .. 2**64 - 1."""

    __slots__ = ("_cells", "get", "set")

    def __init__(self, cells: memoryview[int]) -> None:
        self._cells = cells
        # Bound C methods, not def: a Python-level method would double the cost of a stamp.
        self.get = cells.__getitem__
        self.set = cells.__setitem__

    def add(self, field: int, amount: int) -> None:
        """Add to a field. Only the slot's one writer may, under whatever lock its threads share."""
        self._cells[field] += amount

    def clear(self) -> None:
        """Zero all fields."""
        for field in range(SLOT_FIELDS):
            self._cells[field] = 0

    def snapshot(self) -> tuple[int, ...]:
        """Return the eight fields, each untorn, not necessarily of the same moment."""
        return tuple(self._cells)


class Board:
    """The mapped board. `allocate` and `free` belong to the runtime alone; who only attached has no list of free slots."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._map = mmap.mmap(fd, BOARD_BYTES)
        self._words: memoryview[int] = memoryview(self._map).cast("Q")
        self._freed: list[int] = []
        self._next = 1  # slot 0 is never given away: a slot number that was never set must not hit somebody's

    @classmethod
    def create(cls) -> Board:
        """Return a new zeroed board; `fd` (close-on-exec) is what others attach to."""
        fd = os.memfd_create("dspex-board", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(fd, BOARD_BYTES)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
            return cls(fd)
        except BaseException:
            os.close(fd)
            raise

    @classmethod
    def attach(cls, fd: int) -> Board:
        """Return the board behind a descriptor got from its creator; takes the descriptor over."""
        return cls(fd)

    def slot(self, index: int) -> Slot:
        """Return slot `index`, valid as long as the board is open."""
        if not 0 < index < N_SLOTS:
            raise IndexError(f"no slot {index} on a board of 1..{N_SLOTS - 1}")
        return Slot(self._words[index * SLOT_FIELDS : (index + 1) * SLOT_FIELDS])

    def allocate(self) -> int:
        """Return the lowest free slot, zeroed.

        Raises:
            OSError: ENOSPC, all slots are taken.
        """
        if self._freed:
            index = heapq.heappop(self._freed)
        elif self._next < N_SLOTS:
            index = self._next
            self._next += 1
        else:
            raise OSError(errno.ENOSPC, f"all {N_SLOTS - 1} slots of the board are taken")
        self.slot(index).clear()
        return index

    def free(self, index: int) -> None:
        """Give a slot back. Only when its process is dead: a late stamp would land in the next owner's slot."""
        if not 0 < index < self._next or index in self._freed:
            raise ValueError(f"slot {index} is not allocated")
        heapq.heappush(self._freed, index)

    def close(self) -> None:
        """Unmap and close. Idempotent. Slots still held by somebody keep the memory until they go."""
        if self.fd < 0:
            return
        os.close(self.fd)
        self.fd = -1
        self._words.release()
        try:
            self._map.close()
        except BufferError:
            pass  # a Slot is still alive somewhere; the map goes with the last one
