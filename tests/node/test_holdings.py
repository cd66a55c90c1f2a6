"""A second hand on what a keeper holds: what is held, what goes, and what there is no room for."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from dspex_runtime.node.holdings import Holdings
from dspex_runtime.state.protocol import BLOBS_KEPT


@pytest.fixture
def holdings() -> Iterator[Holdings]:
    holdings = Holdings(room=5)
    yield holdings
    holdings.close()


def take(holdings: Holdings, id: str, kind: str, text: str, **facts: object) -> None:
    fd = os.memfd_create("test")
    os.write(fd, text.encode())
    holdings.take(id, kind, facts, fd)
    os.close(fd)


def held(holdings: Holdings) -> list[tuple[str, str, str]]:
    return [(id, kind, os.pread(fd, 100, 0).decode()) for id, kind, _, fd in holdings.all()]


def test_a_copy_of_each_is_held_large_values_first(holdings: Holdings) -> None:
    take(holdings, "a", "table", "t")
    take(holdings, "a", "blob", "b", name="x", version=3)
    take(holdings, "b", "volatile", "v")
    assert held(holdings) == [("a", "blob", "b"), ("a", "table", "t"), ("b", "volatile", "v")]
    assert [facts for _, kind, facts, _ in holdings.all() if kind == "blob"] == [{"name": "x", "version": 3}]


def test_one_takes_the_place_of_the_one_before_it(holdings: Holdings) -> None:
    for text in ("1", "2"):
        take(holdings, "a", "table", text)
        take(holdings, "a", "volatile", text)
    assert sorted(held(holdings)) == [("a", "table", "2"), ("a", "volatile", "2")]


@pytest.mark.parametrize("order", [(1, 2, 3), (2, 1, 3)])
def test_of_a_large_value_the_newest_few_are_held(holdings: Holdings, order: tuple[int, ...]) -> None:
    for version in order:
        take(holdings, "a", "blob", str(version), name="x", version=version)
    assert sorted(text for *_, text in held(holdings)) == ["2", "3"][-BLOBS_KEPT:]


def test_what_there_is_no_room_for_is_not_held_and_known_to_lack(holdings: Holdings) -> None:
    for number in range(6):
        take(holdings, f"m{number}", "table", str(number))
    assert len(held(holdings)) == 5
    assert [holdings.lacks(f"m{number}") for number in range(6)] == [False] * 5 + [True]
    assert holdings.has_table("m5")
    assert holdings.n_tables == 6


def test_of_a_forgotten_id_nothing_is_left(holdings: Holdings) -> None:
    take(holdings, "a", "table", "t")
    take(holdings, "a", "blob", "b", name="x", version=1)
    take(holdings, "b", "table", "t")
    before = len(os.listdir("/proc/self/fd"))
    holdings.forget("a")
    holdings.forget("nobody")
    assert len(os.listdir("/proc/self/fd")) == before - 2
    assert held(holdings) == [("b", "table", "t")]
    assert not holdings.has_table("a")


def test_what_is_here_can_be_read_by_others_and_not_written(holdings: Holdings) -> None:
    fd = os.memfd_create("t")
    os.write(fd, b"table")
    holdings.take("a", "table", {}, fd)
    readable = holdings.readable("a", "table")
    assert readable is not None
    assert os.pread(readable, 10, 0) == b"table"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(readable, b"x")
    assert holdings.readable("a", "blob", "x", 1) is None
    assert holdings.readable("b", "table") is None
    for each in (fd, readable):
        os.close(each)


def test_a_large_value_is_superseded_by_a_later_version_of_itself(holdings: Holdings) -> None:
    take(holdings, "a", "blob", "3", name="x", version=3)
    take(holdings, "a", "blob", "9", name="y", version=9)
    assert [holdings.supersedes("a", "x", version) for version in (2, 3, 4)] == [True, False, False]
    assert not holdings.supersedes("b", "x", 1)
