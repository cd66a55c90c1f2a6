"""The database file: how it is opened, and what becomes of one that is damaged."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from dspex_runtime.state.database import checkpoint_wal, connect, is_corrupt, open_database, rescue
from dspex_runtime.state.layout import NAME
from dspex_runtime.state.migrations import SCHEMA_VERSION, NewerSchemaError
from dspex_runtime.state.store import Store, Version


def fill(path: Path, ids: int = 50) -> None:
    connection = open_database(path, pytest.fail)
    store = Store(connection)
    with store.writing():
        for number in range(ids):
            store.set(f"m{number}", "x", Version(1, 1.0, "me", bytes(2000)), b"annex")
            store.set_folded(f"m{number}", 77)
    checkpoint_wal(connection)
    connection.close()


def test_a_commit_is_on_the_disk_and_the_log_is_not_moved_by_it(tmp_path: Path) -> None:
    connection = open_database(tmp_path / NAME, pytest.fail)
    found = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "wal_autocheckpoint")]
    connection.close()
    assert found == ["wal", 2, 0]


def test_the_log_is_moved_by_another_connection_while_the_writer_goes_on(tmp_path: Path) -> None:
    path = tmp_path / NAME
    writer, mover = open_database(path, pytest.fail), connect(path)
    Store(writer).know("a")
    assert checkpoint_wal(mover) == 0
    Store(writer).know("b")
    assert Store(mover).ids() == ["a", "b"]
    mover.close()
    writer.close()


def test_one_of_a_later_version_is_not_written_to(tmp_path: Path) -> None:
    path = tmp_path / NAME
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(NewerSchemaError):
        open_database(path, pytest.fail)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION + 1,)
    connection.close()


@pytest.mark.parametrize("damage", [b"this is no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 3000])
def test_what_is_no_database_is_set_aside_and_a_new_one_takes_its_place(tmp_path: Path, damage: bytes) -> None:
    path, told = tmp_path / NAME, list[str]()
    path.write_bytes(damage)
    connection = open_database(path, told.append)
    assert Store(connection).ids() == []
    connection.close()
    (aside,) = tmp_path.glob(f"{NAME}.corrupt-*[0-9]")
    assert aside.read_bytes() == damage
    assert f"{path} is corrupt" in told[0]
    assert aside.name in told[0]


def test_what_can_be_read_of_a_damaged_one_is_in_the_new_one_and_nothing_counts_as_folded(tmp_path: Path) -> None:
    path, told = tmp_path / NAME, list[str]()
    fill(path)
    data = bytearray(path.read_bytes())
    half = len(data) // 2 // 4096 * 4096
    data[half : half + 8192] = b"\xff" * 8192
    path.write_bytes(data)
    connection = rescue(path, sqlite3.DatabaseError("malformed"), told.append)
    store = Store(connection)
    left = [id for id in store.ids() if store.parameters(id).get("x")]
    assert 5 < len(left) < 50
    assert {store.folded(id) for id in store.ids()} == {0}
    connection.close()
    assert any("rows were read" in text for text in told)


def test_two_that_are_set_aside_in_one_second_both_stay(tmp_path: Path) -> None:
    path = tmp_path / NAME
    for _ in range(2):
        path.write_bytes(b"damaged" * 1000)
        open_database(path, lambda _: None).close()
    assert len([name for name in tmp_path.glob(f"{NAME}.corrupt-*") if not name.name.endswith(("-wal", "-shm"))]) == 2


def test_a_full_disk_and_a_locked_file_are_no_damage() -> None:
    connection = sqlite3.connect(":memory:")
    with pytest.raises(sqlite3.OperationalError) as caught:
        connection.execute("SELECT * FROM nothing")
    connection.close()
    assert not is_corrupt(caught.value)
    assert not is_corrupt(OSError("disk full"))
