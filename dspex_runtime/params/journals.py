"""Both journals of one owner, and how a write to both of them is all there or not at all, whatever ends it.

The one on the disk is its caller's; the one in memory is made when something is first written to it. With the ledger's lock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dspex_runtime.params.records import GROUP
from dspex_runtime.params.segments import SegmentJournal
from dspex_runtime.params.volatile import VolatileJournal

__all__ = ["Journals"]


class Journals:
    """See the module docstring.

    Args:
        disk: For what survives the kill of everything; None: there is nowhere to write to.
        offer: Called with the descriptor of the journal in memory whenever that is another one.
        is_settled: Whether everything that was appended is published.
    """

    def __init__(self, disk: SegmentJournal | None, offer: Callable[[int], None], is_settled: Callable[[], bool]) -> None:
        self.disk = disk
        self.volatile: VolatileJournal | None = None
        self._offer = offer
        self._is_settled = is_settled

    def adopt(self, fd: int | None) -> None:
        """Go on in the journal in memory that was kept, if there is one."""
        if fd is not None:
            self.volatile = VolatileJournal(fd, on_replaced=self._offer, is_settled=self._is_settled)

    def in_memory(self) -> VolatileJournal:
        """Return the journal in memory, which is made where there is none."""
        if self.volatile is None:
            self.volatile = VolatileJournal(on_replaced=self._offer, is_settled=self._is_settled)
        return self.volatile

    def offer(self) -> None:
        """Offer the journal in memory again, if there is one."""
        if self.volatile is not None and self.volatile.fd >= 0:
            self._offer(self.volatile.fd)

    def close(self) -> None:
        """Close the journal in memory. Idempotent."""
        if self.volatile is not None:
            self.volatile.close()

    def append(self, on_disk: list[list[Any]], in_memory: list[list[Any]], *, durable: bool = False) -> int:
        """Append to both journals, all or none; return the position behind it on the disk.

        What decides is the one record on the disk. Memory is written before it: that may fail, and what is reserved is read by
        nobody, so it may stay. Were it readable, a kill before the disk has its record would leave the half in memory to the next
        incarnation; were it written behind the disk, a kill or an error would leave the half on the disk. Killed between that
        record and `complete`: the record says where in memory its rest is, and who adopts both completes it (`sources.gather`).
        """
        if not on_disk:
            if in_memory:
                self.in_memory().append(*in_memory)
            return 0
        assert self.disk is not None
        if in_memory:
            volatile = self.in_memory()
            on_disk = [volatile.reserve(*in_memory), *on_disk]
        # As one record: of several a kill in the middle of the write(2) may leave the first.
        position = self.disk.append(*on_disk if len(on_disk) == 1 else ([GROUP, on_disk],), durable=durable)
        if in_memory:
            volatile.complete()
        return position
