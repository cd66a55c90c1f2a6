"""The schema of the store, as the steps that make it: step n turns version n-1 into version n. Steps are added, never changed.

The version is SQLite's own `user_version`, so that it is known before any table is looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dspex_runtime.errors import DspexError

if TYPE_CHECKING:
    import sqlite3

__all__ = ["SCHEMA_VERSION", "STEPS", "TABLES", "ForeignDatabaseError", "NewerSchemaError", "check_ours", "migrate", "version_of"]

STEPS: Final[tuple[tuple[str, ...], ...]] = (
    (
        # folded: journal position up to which all is here. facts: what modules said last. noted: what the parent did.
        """CREATE TABLE modules (
            id TEXT PRIMARY KEY, folded INTEGER NOT NULL DEFAULT 0, checkpoints INTEGER NOT NULL DEFAULT 0,
            facts BLOB, noted BLOB) WITHOUT ROWID""",
        # data: NULL of one that was removed, whose next version must still be higher.
        """CREATE TABLE parameters (
            id TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL, meta BLOB, annex BLOB NOT NULL, data BLOB,
            PRIMARY KEY (id, name))""",
        """CREATE TABLE history (
            id TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL, at REAL NOT NULL, who TEXT NOT NULL,
            removed INTEGER NOT NULL, bytes INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (id, name, version))""",
        "CREATE TABLE executions (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, body BLOB NOT NULL)",
        "CREATE INDEX executions_of ON executions (id, number)",
        """CREATE TABLE checkpoints (
            id TEXT NOT NULL, number INTEGER NOT NULL, created_at REAL NOT NULL, kind TEXT NOT NULL, version TEXT,
            bytes INTEGER NOT NULL, sha256 BLOB NOT NULL, image BLOB NOT NULL, PRIMARY KEY (id, number))""",
        "CREATE TABLE configured (id TEXT NOT NULL, name TEXT NOT NULL, data BLOB NOT NULL, PRIMARY KEY (id, name)) WITHOUT ROWID",
        "CREATE TABLE events (number INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL)",
    ),
    ("ALTER TABLE checkpoints ADD COLUMN note TEXT",),
    (
        # One of an owner names those of its parts that were taken with it; in the order in which they were added.
        """CREATE TABLE checkpoint_parts (
            id TEXT NOT NULL, number INTEGER NOT NULL, part TEXT NOT NULL, part_number INTEGER NOT NULL,
            PRIMARY KEY (id, number, part))""",
        "CREATE INDEX checkpoint_parts_of ON checkpoint_parts (part, part_number)",
    ),
)
SCHEMA_VERSION: Final = len(STEPS)
TABLES: Final = ("modules", "parameters", "history", "executions", "checkpoints", "checkpoint_parts", "configured", "events")


class NewerSchemaError(DspexError):
    """The database was written by a later version of this package; nothing was read and nothing was changed."""

    code = "newer_schema"


class ForeignDatabaseError(DspexError):
    """The database is some other program's; nothing was changed."""

    code = "foreign_database"


def version_of(connection: sqlite3.Connection, steps: tuple[tuple[str, ...], ...] = STEPS) -> int:
    """Return the version of a database, which is not written to.

    Raises:
        NewerSchemaError: It is of a later one.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(steps):
        raise NewerSchemaError(f"its schema has version {version}; this version of dspex reads up to {len(steps)}")
    return int(version)


def check_ours(connection: sqlite3.Connection) -> int:
    """Return the version of a database that is empty or ours, which is not written to.

    Raises:
        NewerSchemaError: It is of a later version.
        ForeignDatabaseError: It is not this package's.
    """
    version = version_of(connection)
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if version == 0 and names:
        raise ForeignDatabaseError(
            f"it is a database of something else: it has tables ({', '.join(sorted(names)):.200}) and no version"
        )
    if version > 0 and not names.issuperset(TABLES[:1]):
        raise ForeignDatabaseError(f"it is a database of something else: it says version {version} and has no table {TABLES[0]!r}")
    return version


def migrate(connection: sqlite3.Connection, steps: tuple[tuple[str, ...], ...] = STEPS) -> None:
    """Bring a database to the version of `steps`, each step in a transaction of its own.

    Raises:
        NewerSchemaError: It is of a later one.
        sqlite3.Error: As the statements do; the step that failed left nothing.
    """
    version = version_of(connection, steps)
    for number, step in enumerate(steps[version:], version + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in step:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
