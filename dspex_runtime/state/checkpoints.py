"""Checkpoints as rows: numbered for ever, proven by their SHA-256, pruned; and as files that another machine takes in.

    file    0        8                         40                        48      48 + head bytes
            MAGIC    sha256 of all behind it   head bytes u32, zeros     head    image
                                                                         map of id, number, kind, created_at, version

Owns the numbers and the proof; never looks into an image. One that does not prove is never given out: it is reported, and the
one before it is taken where any will do. A transaction writes a checkpoint whole or not at all.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from struct import Struct
from typing import Any, Final

from dspex_runtime.errors import CheckpointError
from dspex_runtime.state.store import Store, packed, unpacked
from dspex_runtime.types import CheckpointInfo

__all__ = ["Checkpoints", "from_file", "to_file"]

_MAGIC: Final = b"dspexckp"
_HEAD: Final = Struct("<8s32s")
_LENGTH: Final = Struct("<I4x")
_COLUMNS: Final = "number, created_at, kind, bytes, version, note"
_ALL: Final = "id, number, created_at, kind, version, bytes, sha256, image, note"
# What is made by itself does not push out what somebody asked for; any kind that is not listed is a group of its own.
_GROUPS: Final = {"import": "manual", "before_restore": "restored", "before_compile": "compiled"}

Report = Callable[[str], None]


class Checkpoints:
    """The checkpoints of all ids. Writes inside the caller's transaction (`Store.writing`)."""

    def __init__(self, connection: sqlite3.Connection, report: Report) -> None:
        self._db = connection
        self._store = Store(connection)
        self._report = report

    def add(self, id: str, image: bytes, *, kind: str, when: float, version: str | None, note: str | None = None) -> int:
        """Add one; return its number, which was never used for this id before."""
        self._store.know(id)
        self._db.execute("UPDATE modules SET checkpoints = checkpoints + 1 WHERE id = ?", (id,))
        (number,) = self._db.execute("SELECT checkpoints FROM modules WHERE id = ?", (id,)).fetchone()
        row = (id, number, when, kind, version, len(image), _sha256(image), image, note)
        self._db.execute(f"INSERT INTO checkpoints ({_ALL}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)  # noqa: S608
        return int(number)

    def infos(self, id: str) -> list[CheckpointInfo]:
        """Return them, newest first."""
        rows = self._db.execute(f"SELECT {_COLUMNS} FROM checkpoints WHERE id = ? ORDER BY number DESC", (id,))  # noqa: S608
        return [CheckpointInfo(id, *row) for row in rows.fetchall()]

    def get(self, id: str, number: int | None = None) -> tuple[CheckpointInfo, bytes]:
        """Return one that proves; without a number the newest that does: those above it are reported and left out.

        Raises:
            CheckpointError: There is none, or the one that was asked for is corrupt.
        """
        found = self.infos(id)
        wanted = [info for info in found if number in (None, info.number)]
        for info in wanted:
            image = self._proven(info)
            if image is not None:
                return info, image
        have = ", ".join(str(info.number) for info in found[:10]) or "none"
        if wanted:
            what = f"checkpoint {number} of {id!r} is" if number is not None else f"all {len(wanted)} checkpoints of {id!r} are"
            raise CheckpointError(f"{what} corrupt: their bytes are not those that were written", id=id)
        asked = "no checkpoint" if number is None else f"no checkpoint {number}"
        raise CheckpointError(f"{id!r} has {asked}; there are: {have}", id=id)

    def _proven(self, info: CheckpointInfo) -> bytes | None:
        try:
            row = self._db.execute(
                "SELECT sha256, image FROM checkpoints WHERE id = ? AND number = ?", (info.id, info.number)
            ).fetchone()
        except sqlite3.DatabaseError as exc:
            self._report(f"checkpoint {info.number} of {info.id!r} cannot be read: {exc}")
            return None
        if row is not None and isinstance(row[1], bytes) and _sha256(row[1]) == row[0]:
            return row[1]
        self._report(f"checkpoint {info.number} of {info.id!r} is corrupt and left out: its bytes are not those that were written")
        return None

    def prune_by_itself(self, id: str, *, keep: int) -> list[int]:
        """Forget all but the newest `keep` of each group (periodic, asked for, of restores, of compiles); return what went."""
        groups: dict[str, list[int]] = {}
        for info in self.infos(id):
            groups.setdefault(_GROUPS.get(info.kind, info.kind), []).append(info.number)
        return self.prune(id, numbers=[number for group in groups.values() for number in group[keep:]])

    def prune(self, id: str, *, keep: int | None = None, numbers: Iterable[int] = ()) -> list[int]:
        """Forget those with these numbers, and all but the newest `keep`; return the numbers that went."""
        have = [info.number for info in self.infos(id)]
        going = set(numbers) | set(have[keep:] if keep is not None else ())
        gone = [number for number in have if number in going]
        self._db.executemany("DELETE FROM checkpoints WHERE id = ? AND number = ?", [(id, number) for number in gone])
        return gone


def to_file(info: CheckpointInfo, image: bytes) -> bytes:
    """Return a checkpoint as a file that `from_file` takes in on any machine."""
    head = packed({key: value for key, value in asdict(info).items() if key != "size"})
    body = _LENGTH.pack(len(head)) + head + image
    return _HEAD.pack(_MAGIC, _sha256(body)) + body


def from_file(data: bytes) -> tuple[Mapping[str, Any], bytes]:
    """Return what the head says (id, number, kind, created_at, version) and the image.

    Raises:
        CheckpointError: It is no such file, or not whole.
    """
    if len(data) < _HEAD.size or data[: len(_MAGIC)] != _MAGIC:
        raise CheckpointError(f"these {len(data)} bytes are no exported checkpoint")
    _, proof = _HEAD.unpack_from(data)
    body = data[_HEAD.size :]
    if _sha256(body) != proof:
        raise CheckpointError(f"the exported checkpoint is not whole: its {len(data)} bytes are not those that were written")
    (head_bytes,) = _LENGTH.unpack_from(body)
    image_at = _LENGTH.size + head_bytes
    return unpacked(body[_LENGTH.size : image_at]), body[image_at:]


def _sha256(data: bytes) -> bytes:
    import hashlib  # OpenSSL with it: nothing for the start of the process

    return hashlib.sha256(data).digest()
