"""Checkpoints as rows: numbered for ever, proven by their SHA-256, pruned; those of an owner and its parts held together.

Owns the numbers and the proof; never looks into an image. One that does not prove is never given out: it is reported, and the
one before it is taken where any will do. A transaction writes a checkpoint whole or not at all. What an owner's names of its parts
stays as long as that one does, and goes with it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

from dspex_runtime.errors import CheckpointError
from dspex_runtime.state.store import Store
from dspex_runtime.types import CheckpointInfo

__all__ = ["Checkpoints", "sha256"]

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
        row = (id, number, when, kind, version, len(image), sha256(image), image, note)
        self._db.execute(f"INSERT INTO checkpoints ({_ALL}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)  # noqa: S608
        return int(number)

    def join(self, numbers: Mapping[str, int]) -> None:
        """Hold checkpoints of an owner and of what is below it together: each names what is below its own id."""
        for id, number in numbers.items():
            below = [(id, number, part, its) for part, its in numbers.items() if part.startswith(f"{id}/")]
            self._db.executemany("INSERT INTO checkpoint_parts (id, number, part, part_number) VALUES (?, ?, ?, ?)", below)

    def infos(self, id: str) -> list[CheckpointInfo]:
        """Return them, newest first."""
        rows = self._db.execute(f"SELECT {_COLUMNS} FROM checkpoints WHERE id = ? ORDER BY number DESC", (id,))  # noqa: S608
        parts, owners = self._parts(id), self._owners(id)
        return [replace(CheckpointInfo(id, *row), parts=parts.get(row[0], {}), of=owners.get(row[0])) for row in rows.fetchall()]

    def _parts(self, id: str) -> dict[int, dict[str, int]]:
        """Return what is held together with each checkpoint of an id, by its number."""
        found: dict[int, dict[str, int]] = {}
        rows = self._db.execute("SELECT number, part, part_number FROM checkpoint_parts WHERE id = ? ORDER BY rowid", (id,))
        for number, part, part_number in rows.fetchall():
            found.setdefault(number, {})[part] = part_number
        return found

    def _owners(self, id: str) -> dict[int, tuple[str, int]]:
        """Return what holds a checkpoint of an id, by its number: of several the one that holds all of them."""
        rows = self._db.execute(
            "SELECT part_number, id, number FROM checkpoint_parts WHERE part = ? ORDER BY length(id) DESC", (id,)
        )
        return {part_number: (owner, number) for part_number, owner, number in rows.fetchall()}

    def get(self, id: str, number: int | None = None) -> tuple[CheckpointInfo, bytes]:
        """Return one that proves; without a number the newest that does: those above it are reported and left out.

        Raises:
            CheckpointError: There is none, or the one that was asked for is corrupt.
        """
        ((info, image),) = self._newest(id, number, lambda info: [(info.id, info.number)])
        return info, image

    def get_all(self, id: str, number: int | None = None) -> list[tuple[CheckpointInfo, bytes]]:
        """Return one as `get` does, and those that it names of its parts behind it: all of them prove."""
        return self._newest(id, number, lambda info: [(info.id, info.number), *info.parts.items()])

    def _newest(
        self, id: str, number: int | None, members: Callable[[CheckpointInfo], list[tuple[str, int]]]
    ) -> list[tuple[CheckpointInfo, bytes]]:
        found = self.infos(id)
        wanted = [info for info in found if number in (None, info.number)]
        for info in wanted:
            images = [self._proven(*each) for each in members(info)]
            if all(image is not None for image in images):
                return [image for image in images if image is not None]
        have = ", ".join(str(info.number) for info in found[:10]) or "none"
        if wanted:
            what = f"checkpoint {number} of {id!r} is" if number is not None else f"all {len(wanted)} checkpoints of {id!r} are"
            raise CheckpointError(f"{what} corrupt: their bytes are not those that were written", id=id)
        asked = "no checkpoint" if number is None else f"no checkpoint {number}"
        raise CheckpointError(f"{id!r} has {asked}; there are: {have}", id=id)

    def _proven(self, id: str, number: int) -> tuple[CheckpointInfo, bytes] | None:
        try:
            row = self._db.execute(
                f"SELECT sha256, image, {_COLUMNS} FROM checkpoints WHERE id = ? AND number = ?",  # noqa: S608
                (id, number),
            ).fetchone()
        except sqlite3.DatabaseError as exc:
            self._report(f"checkpoint {number} of {id!r} cannot be read: {exc}")
            return None
        if row is not None and isinstance(row[1], bytes) and sha256(row[1]) == row[0]:
            info = CheckpointInfo(id, *row[2:])
            return replace(info, parts=self._parts(id).get(number, {}), of=self._owners(id).get(number)), row[1]
        self._report(f"checkpoint {number} of {id!r} is corrupt and left out: its bytes are not those that were written")
        return None

    def prune_by_itself(self, id: str, *, keep: int) -> list[int]:
        """Forget all but the newest `keep` of each group (periodic, asked for, of restores, of compiles); return what went."""
        groups: dict[str, list[int]] = {}
        for info in self.infos(id):
            if info.of is None:
                groups.setdefault(_GROUPS.get(info.kind, info.kind), []).append(info.number)
        return self._forget(id, [number for group in groups.values() for number in group[keep:]])

    def prune(self, id: str, *, keep: int | None = None, numbers: Iterable[int] = ()) -> list[int]:
        """Forget those with these numbers, and all but the newest `keep`; return the numbers that went.

        What an owner holds stays.

        Raises:
            CheckpointError: One of the numbers is held by an owner's. Nothing is forgotten.
        """
        infos, asked = self.infos(id), set(numbers)
        for info in infos:
            if info.of is not None and info.number in asked:
                owner, number = info.of
                text = f"checkpoint {info.number} of {id!r} is a part of checkpoint {number} of {owner!r}"
                raise CheckpointError(f"{text}, and goes with that", id=id, hint=f"prune that of {owner!r}")
        going = asked | {info.number for info in (infos[keep:] if keep is not None else ())}
        return self._forget(id, [info.number for info in infos if info.number in going and info.of is None])

    def _forget(self, id: str, numbers: Iterable[int]) -> list[int]:
        gone = list(numbers)
        for number in gone:
            self._delete(id, number)
        return gone

    def _delete(self, id: str, number: int) -> None:
        """Delete one, and what it held that nobody holds then."""
        of = (id, number)
        held = self._db.execute("SELECT part, part_number FROM checkpoint_parts WHERE id = ? AND number = ? ORDER BY rowid", of)
        parts = held.fetchall()
        self._db.execute("DELETE FROM checkpoints WHERE id = ? AND number = ?", of)
        self._db.execute("DELETE FROM checkpoint_parts WHERE id = ? AND number = ?", of)
        for part in parts:
            if self._db.execute("SELECT 1 FROM checkpoint_parts WHERE part = ? AND part_number = ?", part).fetchone() is None:
                self._delete(*part)


def sha256(data: bytes) -> bytes:
    """Return what proves these bytes."""
    import hashlib  # OpenSSL with it: nothing for the start of the process

    return hashlib.sha256(data).digest()
