"""The journal that a module writes for itself: every set, before it is published. In files, or in a memfd for `memory`.

Owns its file or memfd and the end of it. Never decides what is written, never reads: that is `records`, whose names are here too.
Thread-safe.

Invariant: what `append` returned for is whole, in the order of its positions; what it raised for is not there.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.errors import ParameterError
from dspex_runtime.params.records import EXECUTIONS as EXECUTIONS
from dspex_runtime.params.records import FACTS as FACTS
from dspex_runtime.params.records import SET as SET
from dspex_runtime.params.records import records as records
from dspex_runtime.params.records import segments as segments
from dspex_runtime.params.records import tail as tail

if TYPE_CHECKING:
    from dspex_runtime.params.segments import SegmentJournal

__all__ = ["CODE", "EXECUTIONS", "FACTS", "SET", "Journal", "records", "segments", "tail", "write_all", "write_error"]

CODE: Final = "journal"  # of the ParameterError of a journal that cannot be written


class Journal(ABC):
    """Append-only records of one id. Nothing exists on the disk, and no memfd, before the first append."""

    @staticmethod
    def at(directory: Path | str, *, after: int = 0, on_rotate: Callable[[int], None] | None = None) -> SegmentJournal:
        """Return a journal in the files of a directory, see `segments.SegmentJournal`."""
        from dspex_runtime.params.segments import SegmentJournal

        return SegmentJournal(directory, after=after, on_rotate=on_rotate)

    @property
    @abstractmethod
    def position(self) -> int:
        """Where the last record ends; `segment << 40 | offset`."""

    @abstractmethod
    def append(self, *payloads: list[Any], durable: bool = False) -> int:
        """Append records with one write(2) and return the position behind them; after an error none of them is there.

        Args:
            payloads: See records. A kill in the middle may leave the first of them, but nothing less than a record.
            durable: Whether `sync` is going to be called for them.

        Raises:
            ParameterError: They cannot be written (`code` is "journal"): the text says to which file and why.
            UnserialisableError: Something in them is not plain.
        """

    @abstractmethod
    def sync(self, position: int) -> None:
        """Return when everything up to a position survives a loss of power; one fdatasync serves all threads that wait.

        Raises:
            ParameterError: The disk does not take it (`code` is "journal").
        """

    @abstractmethod
    def close(self) -> None:
        """Close it. Idempotent."""


def write_all(fd: int, data: bytes, offset: int | None = None) -> None:
    """Write with one system call, at the end or at an offset; a short write is an OSError too."""
    n = os.write(fd, data) if offset is None else os.pwrite(fd, data, offset)
    if n != len(data):
        raise OSError(f"only {n} of {len(data)} bytes could be written: the disk, or what this process may use of it, is full")


def write_error(what: str, exc: OSError) -> ParameterError:
    """Return the error for a journal that cannot be written."""
    reason = exc.strerror or str(exc)
    error = ParameterError(
        f"{what} cannot be written ({reason}); nothing was set, and what was set before stays readable",
        hint="make room or make it writable, then set again; a parameter of durability 'memory' needs no disk",
    )
    error.code = CODE
    return error
