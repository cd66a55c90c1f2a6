"""What is kept of every module, as rows: facts, parameters with their history, executions, configured values, events.

Owns the SQL and the limits; never looks into a value, never decides what is newer but by version. One thread at a time.
Checkpoints, which are rows of their own kind, are in `checkpoints`. Every change is a transaction of whoever calls (`writing`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from dspex_runtime.wire.codec import Codec

__all__ = [
    "EVENTS_KEPT", "EXECUTIONS_KEPT", "HISTORY_BYTES", "HISTORY_KEPT", "Store", "StoredValue", "Version", "packed", "unpacked",
]  # fmt: skip

HISTORY_KEPT: Final = 100  # versions of one parameter
HISTORY_BYTES: Final = 64 * 2**20  # ... and so many bytes of it: the newest two are kept whatever they take
EXECUTIONS_KEPT: Final = 1000  # of one module
EVENTS_KEPT: Final = 10_000

_UNAPPLIED: Final = "\0unapplied"  # no parameter's name
_PLAIN: Final = Codec()  # tuples stay tuples; what only its module can read passes through unopened


def packed(value: Any) -> bytes:
    """Return a value that is a row's, as bytes."""
    return _PLAIN.pack([value])


def unpacked(data: bytes) -> Any:
    """Return what `packed` wrote."""
    return _PLAIN.unpack(data)[0]


@dataclass(frozen=True, slots=True)
class StoredValue:
    """The newest version of one parameter; `data` None: it was removed. `meta` is its spec's map, None where that is not known."""

    version: int
    data: bytes | None
    annex: bytes
    meta: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Version:
    """One entry of a parameter's history; `data` of a removed one is empty."""

    version: int
    when: float
    who: str
    data: bytes
    removed: bool = False


class Store:
    """See the module docstring. The connection stays its opener's to close.

    Rows are fetched to the last: one that is open holds the log, which then grows without bound.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One transaction: on the disk when it is left, gone when an exception leaves it."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # SQLite takes some back by itself: disk full
                self._db.execute("ROLLBACK")
            raise

    # -- modules ----------------------------------------------------------------------------------------------------

    def ids(self) -> list[str]:
        """Return the ids of which anything is kept."""
        return [id for (id,) in self._db.execute("SELECT id FROM modules ORDER BY id").fetchall()]

    def ids_with_state(self) -> list[str]:
        """Return those of which a next incarnation gets something: more than that it was there and was called."""
        tables = ("parameters", "configured", "checkpoints")
        found = {id for table in tables for (id,) in self._db.execute(f"SELECT DISTINCT id FROM {table}").fetchall()}  # noqa: S608
        return sorted(found | {id for id in self.ids() if self.facts(id).keys() - {"metrics"}})

    def folded(self, id: str) -> int:
        """Return up to which position the journal of an id is in here."""
        row = self._db.execute("SELECT folded FROM modules WHERE id = ?", (id,)).fetchone()
        return int(row[0]) if row else 0

    def set_folded(self, id: str, position: int) -> None:
        """Note up to where a journal is in here; the same transaction as what was in it."""
        self.know(id)
        self._db.execute("UPDATE modules SET folded = ? WHERE id = ?", (position, id))

    def know(self, id: str) -> None:
        """Make sure that an id has its row."""
        self._db.execute("INSERT OR IGNORE INTO modules (id) VALUES (?)", (id,))

    def facts(self, id: str) -> dict[str, Any]:
        """Return what the module said last of itself."""
        return self._map("facts", id)

    def noted(self, id: str) -> dict[str, Any]:
        """Return what the parent noted of it: restarts, last exit."""
        return self._map("noted", id)

    def merge_facts(self, id: str, facts: Mapping[str, Any]) -> None:
        """Add facts of a module to those that are kept; a key of the same name is replaced."""
        self._merge("facts", id, facts)

    def merge_noted(self, id: str, facts: Mapping[str, Any]) -> None:
        """Add facts of the parent to those that are kept."""
        self._merge("noted", id, facts)

    def _map(self, column: str, id: str) -> dict[str, Any]:
        row = self._db.execute(f"SELECT {column} FROM modules WHERE id = ?", (id,)).fetchone()  # noqa: S608 (names of ours)
        return dict(unpacked(row[0])) if row and row[0] else {}

    def _merge(self, column: str, id: str, facts: Mapping[str, Any]) -> None:
        self.know(id)
        merged = packed({**self._map(column, id), **facts})
        self._db.execute(f"UPDATE modules SET {column} = ? WHERE id = ?", (merged, id))  # noqa: S608

    def drop(self, id: str) -> None:
        """Forget all of an id."""
        for table in ("modules", "parameters", "history", "executions", "checkpoints", "configured"):
            self._db.execute(f"DELETE FROM {table} WHERE id = ?", (id,))  # noqa: S608
        self._db.execute("DELETE FROM checkpoint_parts WHERE id = ? OR part = ?", (id, id))

    # -- parameters -------------------------------------------------------------------------------------------------

    def set(self, id: str, name: str, entry: Version, annex: bytes) -> None:
        """Take a version into history, and as the newest if it is; one that is known changes nothing."""
        self._db.execute(
            "INSERT OR IGNORE INTO history (id, name, version, at, who, removed, bytes, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (id, name, entry.version, entry.when, entry.who, entry.removed, len(entry.data), entry.data),
        )
        if entry.version <= self.version(id, name):
            return
        self._db.execute(
            """INSERT INTO parameters (id, name, version, annex, data) VALUES (?, ?, ?, ?, ?)
               ON CONFLICT (id, name) DO UPDATE SET version = excluded.version, annex = excluded.annex, data = excluded.data""",
            (id, name, entry.version, annex, None if entry.removed else entry.data),
        )

    def version(self, id: str, name: str) -> int:
        """Return the newest version of a parameter, also of a removed one; 0: there was none."""
        row = self._db.execute("SELECT version FROM parameters WHERE id = ? AND name = ?", (id, name)).fetchone()
        return int(row[0]) if row else 0

    def parameters(self, id: str) -> dict[str, StoredValue]:
        """Return the newest version of every parameter of an id."""
        rows = self._db.execute("SELECT name, version, data, annex, meta FROM parameters WHERE id = ? ORDER BY name", (id,))
        return {
            name: StoredValue(version, data, annex, unpacked(meta) if meta else None)
            for name, version, data, annex, meta in rows.fetchall()
        }

    def set_meta(self, id: str, name: str, meta: Mapping[str, Any]) -> None:
        """Keep the spec of a parameter that has a value."""
        self._db.execute("UPDATE parameters SET meta = ? WHERE id = ? AND name = ?", (packed(dict(meta)), id, name))

    def history(self, id: str, name: str, n: int) -> list[Version]:
        """Return the newest n versions, newest first."""
        rows = self._db.execute(
            "SELECT version, at, who, data, removed FROM history WHERE id = ? AND name = ? ORDER BY version DESC LIMIT ?",
            (id, name, n),
        )
        return [Version(version, at, who, data, bool(removed)) for version, at, who, data, removed in rows.fetchall()]

    def value_at(self, id: str, name: str, version: int) -> bytes | None:
        """Return a value of the past; None: it is not kept, or was a removal."""
        row = self._db.execute(
            "SELECT data FROM history WHERE id = ? AND name = ? AND version = ? AND NOT removed", (id, name, version)
        ).fetchone()
        return bytes(row[0]) if row else None

    def prune_history(self, id: str, name: str, *, keep: int = HISTORY_KEPT, keep_bytes: int = HISTORY_BYTES) -> None:
        """Forget the oldest versions beyond the limits."""
        rows = self._db.execute("SELECT version, bytes FROM history WHERE id = ? AND name = ? ORDER BY version DESC", (id, name))
        size = 0
        for place, (version, n_bytes) in enumerate(rows.fetchall()):
            size += n_bytes
            if place >= keep or (place >= 2 and size > keep_bytes):
                self._db.execute("DELETE FROM history WHERE id = ? AND name = ? AND version <= ?", (id, name, version))
                return

    # -- configured values ------------------------------------------------------------------------------------------

    def configured(self, id: str) -> dict[str, bytes]:
        """Return the values that the configuration gave when it was last taken over."""
        rows = self._db.execute("SELECT name, data FROM configured WHERE id = ? AND name <> ?", (id, _UNAPPLIED))
        return dict(rows.fetchall())

    def set_configured(self, id: str, values: Mapping[str, bytes]) -> None:
        """Replace them."""
        self.know(id)
        self._db.execute("DELETE FROM configured WHERE id = ?", (id,))
        self._db.executemany("INSERT INTO configured (id, name, data) VALUES (?, ?, ?)", [(id, *item) for item in values.items()])

    def set_unapplied(self, id: str, number: int) -> None:
        """Note which checkpoint a stopped module was put back to; gone when its next incarnation has taken its values over."""
        self.know(id)
        row = (id, _UNAPPLIED, packed(number))
        self._db.execute("INSERT OR REPLACE INTO configured (id, name, data) VALUES (?, ?, ?)", row)

    def unapplied(self, id: str) -> int | None:
        """Return which one that is."""
        row = self._db.execute("SELECT data FROM configured WHERE id = ? AND name = ?", (id, _UNAPPLIED)).fetchone()
        return int(unpacked(row[0])) if row else None

    # -- executions and events --------------------------------------------------------------------------------------

    def add_executions(self, id: str, executions: Iterable[Any]) -> None:
        """Append calls of a module, oldest first."""
        self.know(id)
        self._db.executemany("INSERT INTO executions (id, body) VALUES (?, ?)", [(id, packed(each)) for each in executions])

    def prune_executions(self, id: str, *, keep: int = EXECUTIONS_KEPT) -> None:
        """Forget the oldest calls beyond the limit."""
        self._db.execute(
            """DELETE FROM executions WHERE id = ? AND number <=
               (SELECT number FROM executions WHERE id = ? ORDER BY number DESC LIMIT 1 OFFSET ?)""",
            (id, id, keep),
        )

    def executions(self, id: str, n: int) -> list[dict[str, Any]]:
        """Return the newest n calls, newest first."""
        rows = self._db.execute("SELECT body FROM executions WHERE id = ? ORDER BY number DESC LIMIT ?", (id, n))
        return [unpacked(body) for (body,) in rows.fetchall()]

    def add_events(self, events: Iterable[bytes], *, keep: int = EVENTS_KEPT) -> None:
        """Append events, each packed by the caller, and forget the oldest beyond the limit."""
        self._db.executemany("INSERT INTO events (body) VALUES (?)", [(body,) for body in events])
        self._db.execute("DELETE FROM events WHERE number <= (SELECT MAX(number) FROM events) - ?", (keep,))

    def events(self, n: int) -> list[bytes]:
        """Return the newest n events as they were packed, oldest first."""
        rows = self._db.execute("SELECT body FROM events ORDER BY number DESC LIMIT ?", (n,))
        return [body for (body,) in rows.fetchall()][::-1]
