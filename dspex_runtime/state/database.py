"""The database file: opened, brought to this version's schema, set aside and read out when it is corrupt.

Never knows what is in the tables. A corrupt file is never written to again and never deleted: it stays beside the new one.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from dspex_runtime.state.layout import SIDES
from dspex_runtime.state.migrations import SCHEMA_VERSION, TABLES, check_ours, migrate

__all__ = ["checkpoint_wal", "connect", "is_corrupt", "open_database", "open_to_read", "rescue"]

BUSY_S: Final = 5.0  # another process that looks at the file: a backup, a curious user
LOG_KEPT_BYTES: Final = 64 * 2**20  # a log that was larger is cut to this when it begins anew
CORRUPT: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

Report = Callable[[str], None]


def open_database(path: Path, report: Report) -> sqlite3.Connection:
    """Return a connection of this version's schema; a corrupt file is set aside, and what can be read of it taken over.

    Raises:
        NewerSchemaError: It is of a later version, and left as it is.
        ForeignDatabaseError: It is some other program's, and left as it is.
        sqlite3.Error: It cannot be opened: disk full, read-only, locked.
    """
    try:
        return _opened(path)
    except sqlite3.DatabaseError as exc:
        if not is_corrupt(exc):
            raise
        return rescue(path, exc, report)


def rescue(path: Path, why: Exception, report: Report) -> sqlite3.Connection:
    """Set a corrupt database aside and return a connection of a new one, with the rows of the old that can be read.

    Nothing counts as folded in it: the journals that are still there are to be read again.
    """
    aside = set_aside(path)
    report(f"{path} is corrupt ({why}); it is now {aside.name}, and what can be read of it goes into a new one")
    connection = _opened(path)
    try:
        read_out(aside, connection, report)
        connection.execute("UPDATE modules SET folded = 0")
    except BaseException:
        connection.close()
        raise
    return connection


def _opened(path: Path) -> sqlite3.Connection:
    # No integrity check: it would read every checkpoint at every start. Damage shows when it is read, and leads here.
    connection = connect(path)
    try:
        migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def connect(path: Path) -> sqlite3.Connection:
    """Return a connection in WAL mode: commits are on the disk when they return, and the log is somebody else's to move."""
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        check_ours(connection)  # first: a mode is written into the file
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "wal_autocheckpoint = 0",
            f"journal_size_limit = {LOG_KEPT_BYTES}",
            "cache_size = -2048",
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def open_to_read(path: Path) -> sqlite3.Connection:
    """Return a connection that needs no space on the disk and cannot write; nobody else has the file open meanwhile.

    Raises:
        DspexError: It is not ours, or of another version.
        sqlite3.Error: It cannot be read, either.
    """
    uri = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")  # before anything is read: the index of the log is in memory then
        connection.execute("PRAGMA query_only = 1")
        if check_ours(connection) != SCHEMA_VERSION:
            raise sqlite3.OperationalError("it is of an earlier version, and cannot be written")
    except BaseException:
        connection.close()
        raise
    return connection


def checkpoint_wal(connection: sqlite3.Connection) -> int:
    """Move what is in the WAL into the database without holding up its writer; return how many pages are still in it."""
    _, in_log, moved = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return max(0, int(in_log) - int(moved))


def is_corrupt(error: BaseException) -> bool:
    """Return whether an error of SQLite says that the file itself is damaged."""
    return isinstance(error, sqlite3.DatabaseError) and getattr(error, "sqlite_errorcode", 0) & 0xFF in CORRUPT


def set_aside(path: Path) -> Path:
    """Rename a database and what belongs to it to `<name>.corrupt-<time>`; return the new name of the database."""
    stem = f"{path}.corrupt-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}"
    aside, number = stem, 1
    while os.path.exists(aside):
        number += 1
        aside = f"{stem}-{number}"
    for side in SIDES:
        try:
            os.rename(f"{path}{side}", f"{aside}{side}")
        except FileNotFoundError:
            pass  # there is no WAL
    return Path(aside)


def read_out(aside: Path, into: sqlite3.Connection, report: Report) -> None:
    """Copy the rows that can be read, table by table; what cannot is reported. Never raises for what is in `aside`."""
    try:
        source = sqlite3.connect(f"{aside.absolute().as_uri()}?mode=ro", uri=True)
    except sqlite3.Error as exc:
        report(f"nothing of {aside.name} can be read: {exc}")
        return
    with_rows = 0
    try:
        for table in TABLES:
            try:
                columns = [row[1] for row in into.execute(f"PRAGMA table_info({table})")]
                with_rows += _copy(source, into, table, columns)
            except sqlite3.Error as exc:
                if not is_corrupt(exc) and not isinstance(exc, sqlite3.OperationalError):
                    raise
                report(f"of {aside.name} the table {table} can be read in part only: {exc}")
    finally:
        source.close()
    report(f"{with_rows} rows were read from {aside.name}; the journals are folded into the new database again")


def _copy(source: sqlite3.Connection, into: sqlite3.Connection, table: str, columns: list[str]) -> int:
    """Copy until the first row that cannot be read; what was copied stays."""
    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
    copied = 0
    into.execute("BEGIN IMMEDIATE")
    try:
        for row in source.execute(f"SELECT {names} FROM {table}"):  # noqa: S608 (names of ours)
            into.execute(f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})", row)  # noqa: S608
            copied += 1
    finally:
        into.execute("COMMIT")
    return copied
