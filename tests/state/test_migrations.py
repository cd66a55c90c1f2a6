"""The schema: made step by step, never half, never of a later version."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from dspex_runtime.state.migrations import SCHEMA_VERSION, STEPS, TABLES, NewerSchemaError, migrate


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    yield connection
    connection.close()


def version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def tables(connection: sqlite3.Connection) -> set[str]:
    return {
        name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
    }


def test_an_empty_database_gets_every_table(connection: sqlite3.Connection) -> None:
    migrate(connection)
    assert (version(connection), tables(connection)) == (SCHEMA_VERSION, set(TABLES))


def test_a_database_of_this_version_is_left_as_it_is(connection: sqlite3.Connection) -> None:
    migrate(connection)
    connection.execute("INSERT INTO modules (id) VALUES ('a')")
    migrate(connection)
    assert connection.execute("SELECT id FROM modules").fetchall() == [("a",)]


def test_an_older_one_gets_the_steps_that_it_lacks_and_keeps_its_rows(connection: sqlite3.Connection) -> None:
    migrate(connection)
    connection.execute("INSERT INTO modules (id) VALUES ('a')")
    migrate(connection, (*STEPS, ("ALTER TABLE modules ADD COLUMN colour TEXT DEFAULT 'red'",), ("CREATE TABLE later (x)",)))
    assert connection.execute("SELECT id, colour FROM modules").fetchall() == [("a", "red")]
    assert version(connection) == SCHEMA_VERSION + 2


def test_a_step_that_fails_leaves_nothing_and_those_before_it_stay(connection: sqlite3.Connection) -> None:
    broken = (*STEPS, ("CREATE TABLE half (x)", "CREATE TABLE modules (x)"))
    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        migrate(connection, broken)
    assert (version(connection), tables(connection)) == (SCHEMA_VERSION, set(TABLES))


def test_one_of_a_later_version_is_refused_untouched(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(NewerSchemaError, match=f"its schema has version {SCHEMA_VERSION + 1}; this version of dspex reads up to"):
        migrate(connection)
    assert tables(connection) == set()
