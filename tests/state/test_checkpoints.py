"""Checkpoints: numbered for ever, given out only when their bytes are those that were written, those of a composite together."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from dspex_runtime.errors import CheckpointError
from dspex_runtime.state.checkpoints import Checkpoints
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


class TestOfAnOwnerWithItsParts:
    """`qa` has a part `qa/r`, which has one, too."""

    IDS = ("qa", "qa/r", "qa/r/x")

    def together(self, rows: Checkpoints, *ids: str, kind: str = "manual") -> dict[str, int]:
        numbers = {id: rows.add(id, id.encode(), kind=kind, when=1.0, version=None) for id in ids}
        rows.join(numbers)
        return numbers

    def left(self, rows: Checkpoints) -> dict[str, list[int]]:
        return {id: [info.number for info in rows.infos(id)] for id in self.IDS}

    def test_each_names_what_is_below_it_and_who_holds_it(self, rows: Checkpoints) -> None:
        add(rows, b"alone", id="qa/r")
        self.together(rows, *self.IDS)
        (qa,), (r, alone), (x,) = (rows.infos(id) for id in self.IDS)
        assert (qa.parts, qa.of) == ({"qa/r": 2, "qa/r/x": 1}, None)
        assert (r.parts, r.of) == ({"qa/r/x": 1}, ("qa", 1))
        assert (x.parts, x.of) == ({}, ("qa", 1))
        assert (alone.parts, alone.of) == ({}, None)

    def test_they_come_back_together_and_a_part_with_its_own(self, rows: Checkpoints) -> None:
        self.together(rows, *self.IDS)
        assert [(info.id, data) for info, data in rows.get_all("qa", 1)] == [(id, id.encode()) for id in self.IDS]
        assert [info.id for info, _ in rows.get_all("qa/r")] == ["qa/r", "qa/r/x"]
        assert rows.get_all("qa")[0][0].parts == {"qa/r": 1, "qa/r/x": 1}

    def test_one_of_which_a_part_does_not_prove_is_no_whole_one(
        self, database: sqlite3.Connection, rows: Checkpoints, told: list[str]
    ) -> None:
        self.together(rows, *self.IDS)
        self.together(rows, *self.IDS)
        database.execute("UPDATE checkpoints SET image = x'00' WHERE id = 'qa/r/x' AND number = 2")
        assert [(info.id, info.number) for info, _ in rows.get_all("qa")] == [("qa", 1), ("qa/r", 1), ("qa/r/x", 1)]
        assert told == ["checkpoint 2 of 'qa/r/x' is corrupt and left out: its bytes are not those that were written"]
        with pytest.raises(CheckpointError, match="checkpoint 2 of 'qa' is corrupt"):
            rows.get_all("qa", 2)

    def test_what_is_held_goes_with_its_owners_only(self, rows: Checkpoints) -> None:
        self.together(rows, *self.IDS)
        add(rows, b"alone", id="qa/r")
        assert rows.prune("qa/r", keep=0) == [2]
        with pytest.raises(CheckpointError, match="checkpoint 1 of 'qa/r' is a part of checkpoint 1 of 'qa', and goes with that"):
            rows.prune("qa/r", numbers=[1])
        assert rows.prune("qa", numbers=[1]) == [1]
        assert self.left(rows) == {id: [] for id in self.IDS}

    def test_each_is_pruned_by_itself_without_those_that_are_held(self, rows: Checkpoints) -> None:
        for _ in range(3):
            self.together(rows, *self.IDS, kind="periodic")
        for _ in range(3):
            rows.add("qa/r", b"", kind="periodic", when=1.0, version=None)
        assert rows.prune_by_itself("qa/r", keep=1) == [5, 4]
        assert rows.prune_by_itself("qa", keep=2) == [1]
        assert self.left(rows) == {"qa": [3, 2], "qa/r": [6, 3, 2], "qa/r/x": [3, 2]}

    def test_of_a_part_that_is_deleted_no_owners_names_anything(self, database: sqlite3.Connection, rows: Checkpoints) -> None:
        self.together(rows, *self.IDS)
        Store(database).drop("qa/r/x")
        assert [info.id for info, _ in rows.get_all("qa")] == ["qa", "qa/r"]
        Store(database).drop("qa")
        (r,) = rows.infos("qa/r")
        assert (r.of, r.parts) == (None, {})
