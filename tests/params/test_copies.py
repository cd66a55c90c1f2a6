"""Values of another owner, taken over with their versions."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from dspex_runtime.errors import ConstraintViolationError, ParameterError
from dspex_runtime.params.owner import Owner
from helpers.owners import Keeper, specs

SPECS = specs(
    k=(int, {"default": 1, "max": 100}),
    words=(list, {"default": []}),
    mine=(float, {"durability": "memory", "default": 0.0}),
    thing=("any", {"default": None}),
    safe=(int, {"durability": "fsync", "default": 0}),
)


@pytest.fixture
def two(tmp_path: Path) -> Any:
    """Two owners of the same parameters, each with what it keeps."""
    keepers = [Keeper(tmp_path / name) for name in ("a", "b")]
    for keeper in keepers:
        keeper.start(SPECS)
    yield keepers
    for keeper in keepers:
        keeper.kill_runtime()


def owners(two: Any) -> tuple[Owner, Owner]:
    return two[0].owner, two[1].owner


def test_what_is_newer_is_taken_with_its_version(two: Any) -> None:
    a, b = owners(two)
    for k in (2, 3, 4):
        a.set("k", k, who="x")
    assert b.take_copies(a.copies()) == {}
    assert (b.get("k"), b.version("k")) == (4, 4)
    assert b.entry("k").who == "x"


def test_what_is_not_newer_stays(two: Any) -> None:
    a, b = owners(two)
    a.set("k", 2, who="x")
    for k in (5, 6):
        b.set("k", k, who="y")
    assert b.take_copies(a.copies()) == {"k": 3}
    assert b.get("k") == 6


def test_the_same_value_is_no_other(two: Any) -> None:
    a, b = owners(two)
    a.set("k", 2, who="x")
    b.set("k", 2, who="y")
    assert b.take_copies(a.copies()) == {}


def test_another_value_of_the_same_version_is_told(two: Any) -> None:
    a, b = owners(two)
    a.set("k", 2, who="x")
    b.set("k", 3, who="y")
    assert b.take_copies(a.copies()) == {"k": 2}
    assert b.get("k") == 3


def test_only_what_the_other_lacks_is_given(two: Any) -> None:
    a, b = owners(two)
    a.set("k", 2, who="x")
    a.set("words", ["w"], who="x")
    versions = {name: b.version(name) for name in b.names()}
    assert a.copies(versions).keys() == {"k", "words"}
    assert a.copies(versions, ["words", "unknown"]).keys() == {"words"}
    assert b.copies({name: a.version(name) for name in a.names()}) == {}


def test_what_it_does_not_declare_is_left_out(two: Any) -> None:
    a, b = owners(two)
    copies = {"unknown": a.copies()["k"]}
    assert b.take_copies(copies) == {}


def test_a_value_that_is_refused_here_is_an_error(two: Any) -> None:
    a, b = owners(two)
    a.set("k", 2, who="x")
    version, data, annex = a.copies()["k"]
    other = a.copies(names=["words"])["words"]
    with pytest.raises(ConstraintViolationError):
        b.take_copies({"k": (version, other[1], annex)})
    assert b.version("k") == 1
    assert data


def test_whoever_watches_is_told(two: Any) -> None:
    a, b = owners(two)
    for k in (2, 3):
        a.set("k", k, who="x")
    two[1].changes.clear()
    b.take_copies(a.copies(names=["k"]))
    assert [(change.name, change.version, change.value) for change in two[1].changes] == [("k", 3, 3)]


def test_it_is_the_same_bytes_where_equal_values_have_others(two: Any) -> None:
    a, b = owners(two)
    value = set(range(1000))
    for each in set(range(1000)) - {2, 65}:
        value.discard(each)  # what is left comes out of a large table in another order than out of a small one
    a.set("thing", value, who="x")
    assert list(value) != list({*value}), "the next assertion says nothing"
    assert b.take_copies(a.copies()) == {}
    assert b.copies()["thing"][:2] == a.copies()["thing"][:2]
    assert b.take_copies(a.copies()) == {}, "compared as another value"
    assert b.get("thing") == value


def test_a_number_that_a_failed_write_has_used_is_not_used_for_a_copy(two: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = owners(two)

    def fails(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr("dspex_runtime.params.segments.os.fdatasync", fails)
        with pytest.raises(ParameterError):
            b.set("safe", 7, who="y")
    a.set("safe", 2, who="x")
    assert b.take_copies(a.copies()) == {}
    assert (a.version("safe"), b.version("safe"), b.get("safe")) == (2, 3, 2)
    assert a.take_copies(b.copies()) == b.take_copies(a.copies()) == {}
    assert a.version("safe") == b.version("safe") == 3


def test_the_next_version_comes_after_a_taken_one(two: Any) -> None:
    a, b = owners(two)
    for k in (2, 3, 4):
        a.set("k", k, who="x")
    b.take_copies(a.copies())
    assert b.set("k", 5, who="y").version == 5


def test_a_taken_version_outlives_the_process(two: Any) -> None:
    a, b = owners(two)
    for k in (2, 3, 4):
        a.set("k", k, who="x")
    a.set("mine", 0.5, who="x")
    b.take_copies(a.copies())
    two[1].kill()
    two[1].start(SPECS)
    assert (two[1].owner.get("k"), two[1].owner.version("k"), two[1].owner.get("mine")) == (4, 4, 0.5)


def test_lifting_gives_a_value_a_later_version(two: Any) -> None:
    a, _ = owners(two)
    a.set("k", 2, who="x")
    a.lift({"k": 7, "unknown": 3})
    assert (a.get("k"), a.version("k")) == (2, 8)
    a.lift({"k": 5})
    assert a.version("k") == 8
