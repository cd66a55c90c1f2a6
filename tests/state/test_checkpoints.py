"""Checkpoints: numbered for ever, given out only when their bytes are those that were written, carried to other machines."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from dspex_runtime.errors import CheckpointError
from dspex_runtime.state.checkpoints import Checkpoints, from_file, to_file
from dspex_runtime.state.store import Store
from dspex_runtime.types import CheckpointInfo


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def rows(database: sqlite3.Connection, told: list[str]) -> Checkpoints:
    return Checkpoints(database, told.append)


def add(rows: Checkpoints, *images: bytes, id: str = "a") -> list[int]:
    return [rows.add(id, image, kind="manual", when=float(len(image)), version="2.1") for image in images]


def damage(database: sqlite3.Connection, number: int) -> None:
    database.execute("UPDATE checkpoints SET image = ? WHERE number = ?", (b"other", number))


def test_it_comes_back_as_it_was_written(rows: Checkpoints) -> None:
    add(rows, b"first", b"second!")
    assert rows.get("a", 1) == (CheckpointInfo("a", 1, 5.0, "manual", 5, "2.1"), b"first")
    assert [info.number for info in rows.infos("a")] == [2, 1]


def test_a_number_is_never_used_again_and_is_of_one_id(rows: Checkpoints) -> None:
    assert add(rows, b"1", b"2") == [1, 2]
    assert rows.prune("a", keep=0) == [2, 1]
    assert add(rows, b"3") == [3]
    assert add(rows, b"1", id="b") == [1]


def test_of_a_deleted_id_nothing_is_left(database: sqlite3.Connection, rows: Checkpoints) -> None:
    add(rows, b"1")
    Store(database).drop("a")
    assert rows.infos("a") == []
    assert add(rows, b"2") == [1]


@pytest.mark.parametrize(
    ("prune", "gone", "left"),
    [
        ({"keep": 2}, [2, 1], [4, 3]),
        ({"keep": 9}, [], [4, 3, 2, 1]),
        ({"numbers": [1, 3, 7]}, [3, 1], [4, 2]),
        ({"keep": 0}, [4, 3, 2, 1], []),
    ],
)
def test_prune_takes_the_oldest_or_those_that_are_named(rows: Checkpoints, prune: Any, gone: list[int], left: list[int]) -> None:
    add(rows, b"1", b"2", b"3", b"4")
    assert rows.prune("a", **prune) == gone
    assert [info.number for info in rows.infos("a")] == left


def test_the_newest_one_that_proves_is_given_and_the_others_are_reported(
    database: sqlite3.Connection, rows: Checkpoints, told: list[str]
) -> None:
    add(rows, b"1", b"2", b"3")
    damage(database, 3)
    info, image = rows.get("a")
    assert (info.number, image) == (2, b"2")
    assert told == ["checkpoint 3 of 'a' is corrupt and left out: its bytes are not those that were written"]


def test_a_corrupt_one_that_is_asked_for_is_refused(database: sqlite3.Connection, rows: Checkpoints) -> None:
    add(rows, b"1", b"2")
    damage(database, 1)
    with pytest.raises(CheckpointError, match="checkpoint 1 of 'a' is corrupt"):
        rows.get("a", 1)
    damage(database, 2)
    with pytest.raises(CheckpointError, match="all 2 checkpoints of 'a' are corrupt"):
        rows.get("a")


@pytest.mark.parametrize(
    ("number", "why"), [(None, "'a' has no checkpoint; there are: none"), (7, "'a' has no checkpoint 7; there are: none")]
)
def test_one_that_is_not_there_is_named_with_those_that_are(rows: Checkpoints, number: int | None, why: str) -> None:
    with pytest.raises(CheckpointError, match=why):
        rows.get("a", number)


def test_a_file_says_what_it_is_and_holds_the_image() -> None:
    info = CheckpointInfo("sup/a", 3, 1.5, "manual", 5, "2.1", "best so far")
    head, image = from_file(to_file(info, b"image"))
    assert image == b"image"
    assert head == {"id": "sup/a", "number": 3, "created_at": 1.5, "kind": "manual", "version": "2.1", "note": "best so far"}


@pytest.mark.parametrize(
    ("asked_for", "by_itself"),
    [
        (["before_compile", "compiled"], "periodic"),
        (["manual", "import"], "periodic"),
        (["manual", "manual"], "restored"),
        (["before_restore", "restored"], "manual"),
    ],
)
def test_what_somebody_asked_for_is_not_pushed_out_by_others(rows: Checkpoints, asked_for: list[str], by_itself: str) -> None:
    def add(kind: str) -> int:
        with rows._store.writing():
            number = rows.add("a", b"image", kind=kind, when=1.0, version=None, note=kind)
            rows.prune_by_itself("a", keep=2)
        return number

    made = [add(kind) for kind in (*asked_for, *[by_itself] * 3)]
    assert [info.number for info in rows.infos("a")] == [5, 4, 2, 1]
    again = [add(kind) for kind in asked_for]
    assert [info.number for info in rows.infos("a")] == [*again[::-1], *made[:2:-1]]


@pytest.mark.parametrize("length", [0, 7, 40, 48, 60, -1])
def test_a_file_that_is_cut_off_is_refused(length: int) -> None:
    whole = to_file(CheckpointInfo("a", 1, 0.0, "manual", 5), b"image")
    with pytest.raises(CheckpointError):
        from_file(whole[:length])


def test_a_file_of_which_any_byte_is_another_one_is_refused() -> None:
    whole = to_file(CheckpointInfo("a", 1, 0.0, "manual", 5), b"image")
    for at in range(len(whole)):
        changed = bytearray(whole)
        changed[at] ^= 1
        with pytest.raises(CheckpointError):
            from_file(bytes(changed))
