"""What is kept for this module's id, as its parent gives it: the words and the order of descriptors are `state.protocol`'s.

Owns the descriptors from the message to whoever takes them over; a piece that cannot be used is reported and left out, never
fatal: the next one in line (the journal, what is stored, the configuration) has the value.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dspex_runtime.errors import ParameterError
from dspex_runtime.host.brought import kept_descriptors
from dspex_runtime.params.blob import Blob
from dspex_runtime.params.holders import Kept
from dspex_runtime.params.table import Table

if TYPE_CHECKING:
    from dspex_runtime.host.assignment import Assignment

__all__ = ["close", "discard", "nothing", "receive"]


def nothing(assignment: Assignment) -> Kept:
    """Return what a first start has."""
    return Kept(base=assignment.base)


def receive(info: Mapping[str, Any], fds: Sequence[int], assignment: Assignment, report: Callable[[str], None]) -> Kept:
    """Return what `[CONTROL, 0, "kept", info]` brought.

    Args:
        info: Of the message; each key may be missing.
        fds: What came with it; taken over.
        assignment: Of this process.
        report: Told what cannot be used, and why.
    """
    take_fd = iter(fds).__next__
    table = _table(take_fd(), report) if info.get("table") else None
    blobs = {(str(name), int(version)): take_fd() for name, version in info.get("blobs", ())}
    volatile_fd = take_fd() if info.get("volatile") else None
    user = _contents(take_fd()) if info.get("user") else None
    rest = _contents(take_fd()) if info.get("rest") else None
    stored = {
        name: (int(version), _data(data, blobs.get((name, version))), bytes(annex))
        for name, (version, data, annex) in info.get("stored", {}).items()
    }
    return Kept(
        table=table,
        blobs=blobs,
        volatile_fd=volatile_fd,
        stored=stored,
        configured=info.get("configured", {}),
        facts=info.get("facts", {}),
        user=user,
        user_version=info.get("user_version"),
        rest=rest,
        base=assignment.base,
    )


def close(found: Kept) -> None:
    """Close the descriptors of what has no owner."""
    if found.table is not None:
        found.table.close()
    for fd in (*found.blobs.values(), *([] if found.volatile_fd is None else [found.volatile_fd])):
        os.close(fd)


def discard(info: Mapping[str, Any], take_fd: Callable[[], int]) -> None:
    """Close the descriptors of a message that nobody here has a use for."""
    for _ in range(kept_descriptors(info)):
        os.close(take_fd())


def _data(data: bytes | bool | None, blob_fd: int | None) -> bytes | None:
    """Return a stored value; one that is too large for a message is a blob."""
    if isinstance(data, bytes):
        return data
    return bytes(Blob.map(blob_fd)[0]) if data and blob_fd is not None else None


def _table(fd: int, report: Callable[[str], None]) -> Table | None:
    try:
        return Table.adopt(fd)
    except ParameterError as exc:
        report(f"the kept table of parameters is left alone: {exc}")
        return None


def _contents(fd: int) -> bytes:
    try:
        return os.pread(fd, os.fstat(fd).st_size, 0)
    finally:
        os.close(fd)
