"""The store as something that fails: full, read-only, damaged, of a later version; and what becomes of it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dspex_runtime.errors import CheckpointError, StartError
from dspex_runtime.state.access import Access
from dspex_runtime.state.checkpoints import Checkpoints
from dspex_runtime.state.database import checkpoint_wal
from dspex_runtime.state.health import Health
from dspex_runtime.state.layout import NAME
from dspex_runtime.state.migrations import SCHEMA_VERSION
from dspex_runtime.state.store import Store, Version


class Told:
    """An access with a list of what was told of it."""

    def __init__(self, path: Path) -> None:
        self.events: list[dict[str, Any]] = []
        self.rescued = 0
        self.access = Access(Health(self.events.append), self._rescued)
        self.access.path = path

    def _rescued(self) -> None:
        self.rescued += 1

    @property
    def alarm(self) -> str | None:
        last = [each for each in self.events if each["type"].startswith("alarm")][-1:]
        return last[0].get("description") if last else None

    @property
    def connection(self) -> sqlite3.Connection:
        assert self.access.is_open
        assert self.access._db is not None
        return self.access._db


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    told = Told(tmp_path / NAME)
    yield told
    told.access.close()


def write(store: Store, _rows: Checkpoints) -> None:
    with store.writing():
        store.set("a", "x", Version(1, 1.0, "me", bytes(100_000)), b"")
        store.know("a")


def read(store: Store, _rows: Checkpoints) -> list[str]:
    return store.ids()


def test_it_is_opened_when_it_is_first_used(told: Told, tmp_path: Path) -> None:
    assert not (tmp_path / NAME).exists()
    assert told.access.run(read) == []
    assert (tmp_path / NAME).exists()


@pytest.mark.parametrize(
    ("fault", "cure", "why"),
    [
        ("PRAGMA max_page_count = 20", "PRAGMA max_page_count = 100000", "full"),
        ("PRAGMA query_only = 1", "PRAGMA query_only = 0", "readonly"),
    ],
)
def test_a_disk_that_takes_nothing_is_an_alarm_and_what_is_there_stays_readable(
    told: Told, fault: str, cure: str, why: str
) -> None:
    with Store(told.connection).writing():
        Store(told.connection).know("before")
    told.connection.execute(fault)
    with pytest.raises(CheckpointError, match=f"does not work: .*{why}"):
        told.access.run(write)
    assert why in str(told.alarm)
    assert told.access.run(read) == ["before"]
    told.connection.execute(cure)
    told.access.run(write)
    assert told.access.run(read) == ["a", "before"]


def test_one_that_cannot_be_made_is_an_alarm_and_is_tried_again(told: Told, tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    with pytest.raises(CheckpointError, match=r"there is no store: .*state.db cannot be opened"):
        told.access.run(read)
    (tmp_path / NAME).rmdir()
    assert told.access.run(read) == []


def test_one_of_a_later_version_is_left_alone_for_good(told: Told, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / NAME)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    before = (tmp_path / NAME).read_bytes()
    for _ in range(2):
        with pytest.raises(CheckpointError, match="is left alone: its schema has version"):
            told.access.run(write)
    assert (tmp_path / NAME).read_bytes() == before
    assert len(told.events) == 1


def test_one_that_cannot_be_read_is_refused_before_anything_starts(told: Told, tmp_path: Path) -> None:
    told.access.check_read()  # there is none yet
    told.access.close()
    for side in ("", "-wal", "-shm"):
        (tmp_path / f"{NAME}{side}").unlink(missing_ok=True)
    (tmp_path / NAME).mkdir()
    with pytest.raises(StartError, match=r"state.db has the state of earlier runs and cannot be read: unable to open") as caught:
        told.access.check_read()
    assert "name another state_dir; --fresh discards" in str(caught.value.hint)


def test_a_refusal_names_the_version_that_was_found_and_what_to_do(told: Told, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / NAME)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StartError, match="its schema has version 99") as caught:
        told.access.check_read()
    assert "a later one" in str(caught.value.hint)


@pytest.mark.parametrize("version", [0, 1])
def test_a_database_of_something_else_is_refused_and_not_touched(told: Told, tmp_path: Path, version: int) -> None:
    connection = sqlite3.connect(tmp_path / NAME)
    connection.execute("CREATE TABLE checkpoints (a)")
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    before = (tmp_path / NAME).read_bytes()
    with pytest.raises(StartError, match="it is a database of something else") as caught:
        told.access.check_read()
    assert "move that file away" in str(caught.value.hint)
    assert (tmp_path / NAME).read_bytes() == before


def test_one_that_cannot_be_written_at_start_is_read_and_written_when_that_works_again(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told.access.run(write)
    copies = {side: (tmp_path / f"{NAME}{side}").read_bytes() for side in ("", "-wal")}
    told.access.close()
    for side, data in copies.items():  # as after a kill: the last commits are in the log only
        (tmp_path / f"{NAME}{side}").write_bytes(data)

    def full(*_: Any) -> sqlite3.Connection:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr("dspex_runtime.state.access.open_database", full)
        told.access.check_read()
        assert told.access.run(read) == ["a"]
        assert not told.access.is_writable
        with pytest.raises(CheckpointError, match="does not work: disk I/O error"):
            told.access.run(write)
        assert "can only be read, not written: disk I/O error" in str(told.alarm)
        assert told.access.run(read) == ["a"]
    told.access.run(lambda store, _: store.merge_facts("b", {}))
    assert told.access.is_writable
    assert told.access.run(read) == ["a", "b"]


def test_one_that_is_damaged_while_it_is_used_is_replaced_and_the_work_is_done(told: Told, tmp_path: Path) -> None:
    told.access.run(write)
    checkpoint_wal(told.connection)
    told.access.close()
    data = bytearray((tmp_path / NAME).read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    (tmp_path / NAME).write_bytes(data)
    assert told.access.run(read) in ([], ["a"])
    told.access.run(write)
    assert told.rescued == 1
    assert len([path for path in tmp_path.glob(f"{NAME}.corrupt-*") if not path.name.endswith(("-wal", "-shm"))]) == 1


def test_whatever_a_function_raises_leaves_no_transaction_open(told: Told) -> None:
    def broken(store: Store, _rows: Checkpoints) -> None:
        store._db.execute("BEGIN IMMEDIATE")
        raise ValueError("The truth value of an array is ambiguous")

    with pytest.raises(ValueError, match="truth value"):
        told.access.run(broken)
    assert not told.connection.in_transaction
    told.access.run(write)


@pytest.mark.parametrize("how", ["deleted", "moved"])
def test_a_directory_that_is_gone_while_it_is_used_is_an_alarm(told: Told, tmp_path: Path, how: str) -> None:
    state_dir = tmp_path / "state"
    state_dir.mkdir()
    told.access.path = state_dir / NAME
    told.access.run(write)
    assert told.access.is_in_place
    if how == "moved":
        state_dir.rename(tmp_path / "elsewhere")
    else:
        shutil.rmtree(state_dir)
    with pytest.raises(CheckpointError, match=r"state.db is not there any more"):
        told.access.check_in_place()
    assert f"{state_dir} was deleted or moved" in str(told.alarm)
    if how == "moved":
        (tmp_path / "elsewhere").rename(state_dir)
        told.access.check_in_place()
        assert told.alarm is None


def test_one_that_is_damaged_and_cannot_be_replaced_is_an_alarm(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_other(*_: Any) -> sqlite3.Connection:
        raise OSError("read-only file system")

    monkeypatch.setattr("dspex_runtime.state.access.rescue", no_other)
    assert told.access.is_open
    error = sqlite3.DatabaseError("malformed")
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    told.access.failed(error)
    assert "there cannot be another one: read-only file system" in str(told.alarm)
    assert told.rescued == 0
