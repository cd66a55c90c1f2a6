"""The descriptors that outlive modules: which are held, which go, and what a next incarnation is given."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from dspex_runtime.state.protocol import BLOBS_KEPT
from dspex_runtime.state.vault import Vault, memfd
from helpers.param_tables import tables


@pytest.fixture
def vault() -> Iterator[Vault]:
    vault = Vault()
    yield vault
    vault.close()


def contents(fd: int) -> bytes:
    return os.pread(fd, 100, 0)


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_of_nothing_nothing_is_given(vault: Vault) -> None:
    info, fds = vault.give("a")
    assert fds == []
    assert info == {
        "table": False,
        "blobs": [],
        "volatile": False,
        "user": False,
        "user_version": None,
        "rest": False,
        "stored": {},
        "configured": {},
        "facts": {},
    }


def test_descriptors_are_given_in_the_order_that_is_promised(vault: Vault) -> None:
    vault.take_user("a", memfd("u", b"user"), "2.1")
    vault.take_volatile("a", memfd("j", b"journal"))
    vault.take_blob("a", "y", 1, memfd("b", b"y1"))
    vault.take_blob("a", "x", 3, memfd("b", b"x3"))
    vault.take_blob("a", "x", 2, memfd("b", b"x2"))
    vault.take_table("a", memfd("t", b"table"))
    info, fds = vault.give("a")
    assert [contents(fd) for fd in fds] == [b"table", b"y1", b"x2", b"x3", b"journal", b"user"]
    assert info["user_version"] == "2.1"
    assert info["blobs"] == [["y", 1], ["x", 2], ["x", 3]]


def test_what_takes_the_place_of_another_closes_it(vault: Vault) -> None:
    for take in (vault.take_table, vault.take_volatile):
        first, second = memfd("1", b"1"), memfd("2", b"2")
        take("a", first)
        take("a", second)
        assert (is_open(first), is_open(second)) == (False, True)


def test_readers_of_a_table_that_goes_learn_it_and_those_of_one_that_is_handed_over_again_do_not(vault: Vault) -> None:
    with tables() as made:
        first, second = made.new(), made.new()
        made.put(first, "k", 1)
        made.put(second, "k", 2)
        views = [made.view(first), made.view(second)]
        vault.take_table("a", os.dup(first.fd))
        vault.take_table("a", os.dup(first.fd))
        assert views[0].get("k") == 1
        vault.take_table("a", os.dup(second.fd))
        assert (views[0].valid, views[1].valid) == (False, True)
        vault.drop("a")
        assert not views[1].valid


def test_of_each_name_only_the_newest_blobs_are_held(vault: Vault) -> None:
    fds = {version: memfd("b", b"") for version in (1, 2, 3, 4)}
    for version in (2, 1, 4, 3):  # whatever order they come in
        vault.take_blob("a", "x", version, fds[version])
    assert [version for version, fd in fds.items() if is_open(fd)] == [3, 4][-BLOBS_KEPT:]
    assert vault.blob("a", "x", 1) is None


def test_what_is_asked_for_is_a_duplicate_of_its_own(vault: Vault) -> None:
    vault.take_table("a", memfd("t", b"table"))
    fd = vault.table("a")
    assert fd is not None
    os.close(fd)
    _, (kept,) = vault.give("a")
    assert contents(kept) == b"table"
    assert vault.table("b") is None
    assert vault.volatile("a") is None


def test_what_is_lent_is_whole_whatever_is_taken_meanwhile(vault: Vault) -> None:
    vault.take_user("a", memfd("u", b"old"), "1")
    info, (fd,) = vault.lend("a")
    vault.take_user("a", memfd("u", b"new"), "2")
    assert (contents(fd), info["user_version"]) == (b"old", "1")
    os.close(fd)


def test_a_table_has_what_was_stored_of_its_names(vault: Vault) -> None:
    vault.of("a").values["x"] = (1, b"1", b"")
    assert vault.give("a")[0]["stored"] == {"x": [1, b"1", b""]}
    vault.take_table("a", memfd("t", b""))
    assert vault.give("a")[0]["stored"] == {}


def test_of_a_dropped_id_nothing_is_left_open(vault: Vault) -> None:
    fds = [memfd("x", b"") for _ in range(3)]
    vault.take_table("a", fds[0])
    vault.take_blob("a", "x", 1, fds[1])
    vault.take_volatile("a", fds[2])
    vault.take_user("a", memfd("u", b"user"))
    vault.unread.add("a")
    vault.drop("a")
    vault.drop("a")
    assert not any(is_open(fd) for fd in fds)
    assert (vault.ids(), vault.unread) == ([], set())


def test_figures_count_what_is_held(vault: Vault) -> None:
    vault.take_table("a", memfd("t", b""))
    vault.take_blob("a", "x", 1, memfd("b", b""))
    vault.of("b").incarnation = 3
    assert vault.figures() == {"ids": 2, "tables": 1, "blobs": 1, "alive": 1}
    assert (vault.incarnation("b"), vault.incarnation("c")) == (3, 0)
