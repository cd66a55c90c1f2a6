"""The parameters that are written here, and a write that is to be made of one: what the ledger works on. Decides nothing."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from dspex_runtime.errors import DspexError
from dspex_runtime.params.blob import Blob
from dspex_runtime.params.holders import Holder
from dspex_runtime.params.records import SET
from dspex_runtime.params.spec import ParameterSpec
from dspex_runtime.types import Durability

__all__ = ["CONFLICT", "KEEP", "Owned", "Write", "drop_blobs", "failed", "record_of"]

CONFLICT: Final = "conflict"  # code of the ParameterError of a write that expected another version
KEEP: Final = object()  # the accumulated gradient stays what it is


@dataclass(slots=True)
class Owned:
    """One parameter that is written here.

    Attributes:
        version: That readers see.
        assigned: Highest version that any journal may have, also of a write that failed; never used again.
        grad: The accumulated gradient, encoded.
        first: Payload of a version that is published and in no journal, as nobody set it: written with the first set at the latest.
        turn: Of a durable one: its own writes wait for the disk one after the other, those of other names together.
        is_gone: It was taken away.
        setter: Who set this version, if that was since the start.
    """

    name: str
    spec: ParameterSpec
    holder: Holder
    level: Durability
    version: int = 0
    assigned: int = 0
    created_at: float = 0.0
    grad: bytes | None = None
    first: list[Any] | None = None
    turn: threading.Lock | None = None
    is_gone: bool = False
    setter: str = ""


@dataclass(slots=True)
class Write:
    """A write that is to be made: checked, and encoded.

    Attributes:
        grad: The accumulated gradient from now on, encoded; None for none.
        expect: The version that it builds on; None: whatever there is.
        at: The version that it is to have, where that is later than the next one.
    """

    owned: Owned
    value: Any
    data: bytes | memoryview
    grad: Any = KEEP
    expect: int | None = None
    at: int = 0
    version: int = field(default=0, init=False)
    annex: bytes = field(default=b"", init=False)
    blob: Blob | None = field(default=None, init=False)


def record_of(write: Write, now: float, who: str) -> list[Any]:
    """Return the record of a write that has its number."""
    return [SET, write.owned.name, write.version, now, who, write.data, write.annex, False]


def failed(writes: Sequence[Write], exc: BaseException) -> None:
    """Let go of what was made for writes that came to nothing; their numbers stay used where a journal may have them."""
    drop_blobs(writes)
    if isinstance(exc, DspexError):
        return  # refused before it was written, or by a journal: what that raises such an error for is not there
    for write in writes:
        write.owned.assigned = max(write.owned.assigned, write.version)


def drop_blobs(writes: Sequence[Write]) -> None:
    """Let go of the blobs that were made for writes and not published."""
    for write in writes:
        if write.blob is not None:
            write.blob.close()
