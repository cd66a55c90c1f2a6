"""Reading: what is published now, decoded once, from any thread, while the table grows, is removed or replaced."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from dspex_runtime.errors import ParameterError, ParameterNotFoundError
from dspex_runtime.params import layout, view
from dspex_runtime.params.blob import Blob
from dspex_runtime.params.memory import read_only
from dspex_runtime.params.table import Table
from dspex_runtime.params.view import REPLACED, View
from helpers.killing import interrupted_at
from helpers.param_tables import CODEC, Tables
from helpers.waiting import PATIENCE_S

VALUES: dict[str, Any] = {
    "float": 0.2,
    "none": None,
    "text": "x" * 1000,
    "list": [1, {"a": [2]}],
    "dict": {"demos": [{"question": "a", "answer": "b"}]},
    "tuple": (1, (2, "x")),
    "large text": "x" * 100_000,
    "large list": list(range(50_000)),
}


@pytest.fixture
def table(world: Tables) -> Table:
    return world.new()


@pytest.mark.parametrize("name", VALUES)
def test_every_value_is_read_and_read_again_when_it_changes(world: Tables, table: Table, name: str) -> None:
    reader = world.view(table)
    for value in (VALUES[name], VALUES[name], "other", VALUES[name]):
        world.put(table, name, value)
        assert reader[name] == reader.get(name) == reader.get(name) == value


@pytest.mark.parametrize("name", ["float", "none", "text", "tuple", "large text"])
def test_a_value_that_nobody_can_change_is_decoded_once(world: Tables, table: Table, name: str) -> None:
    world.put(table, name, VALUES[name])
    reader = world.view(table)
    assert reader.get(name) is reader.get(name)


@pytest.mark.parametrize("name", ["list", "dict", "large list"])
def test_a_value_that_can_be_changed_is_the_readers_own(world: Tables, table: Table, name: str) -> None:
    world.put(table, name, VALUES[name])
    reader = world.view(table)
    mine = reader.get(name)
    mine.clear()
    assert reader.get(name) == VALUES[name]
    assert len(world.fetched) <= 1, "the bytes are kept"


@pytest.mark.parametrize("size", [10, 100_000], ids=["inline", "blob"])
def test_an_array_is_one_read_only_view_that_stays_as_it_was(world: Tables, table: Table, size: int) -> None:
    world.put(table, "a", np.arange(size))
    reader = world.view(table)
    first = reader.get("a")
    assert reader.get("a") is first
    assert not first.flags.writeable
    for n in range(5):
        world.put(table, "a", np.full(size, n))
        assert reader.get("a")[-1] == n
    reader.close()
    for blob in world.blobs.values():
        blob.close()
    table.close()
    assert np.array_equal(first, np.arange(size))


def test_the_array_of_a_blob_is_aligned_and_not_copied(world: Tables, table: Table) -> None:
    world.put(table, "a", np.arange(100_000.0))
    array = world.view(table).get("a")
    assert array.ctypes.data % 64 == 0
    base = array
    while isinstance(base, np.ndarray):
        base = base.base
    assert type(base).__name__ == "mmap"


def test_a_cached_read_does_nothing_but_look_it_up_and_compare(
    world: Tables, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.put(table, "x", 0.2)
    reader = world.view(table)
    reader.get("x")
    for name in ("_read", "_value", "_slot", "_word"):
        monkeypatch.setattr(View, name, None)
    assert reader.get("x") == reader["x"] == 0.2
    world.put(table, "x", 0.3)
    with pytest.raises(TypeError, match="NoneType"):
        reader.get("x")


def test_an_entry_tells_who_set_which_version_when(world: Tables, table: Table) -> None:
    world.put(table, "x", 1)
    world.put(table, "x", [2], who="cli", grad=0.5)
    entry = world.view(table).entry("x")
    assert entry == view.Entry(version=2, value=[2], updated_at=1002.0, who="cli", grad=0.5, created_at=1000.0)


def test_the_entry_of_a_blob_has_its_gradient_too(world: Tables, table: Table) -> None:
    world.put(table, "w", np.arange(50_000.0), grad=np.ones(50_000))
    entry = world.view(table).entry("w")
    assert (entry.version, entry.who) == (1, "test")
    assert entry.grad.sum() == 50_000
    assert entry.value[-1] == 49_999


def test_a_value_without_annex_has_an_entry(world: Tables, table: Table) -> None:
    table.publish(table.add("x"), 1, CODEC.pack([5]))
    assert world.view(table).entry("x") == view.Entry(1, 5, 0.0, "", None, 0.0)


def test_names_versions_meta_and_facts(world: Tables, table: Table) -> None:
    world.put(table, "b", 1)
    world.put(table, "a", 1)
    world.put(table, "a", 2)
    world.put(table, layout.meta_name("a"), {"type": "int", "min": 0})
    world.put(table, layout.FACTS, {"mode": "train"})
    table.add("empty")
    reader = world.view(table)
    assert reader.names() == list(reader) == ["a", "b"]
    assert len(reader) == 2
    assert [name in reader for name in ("a", "empty", layout.FACTS, "z")] == [True, False, True, False]
    assert 5 not in reader
    assert (reader.version("a"), reader.version("b")) == (2, 1)
    assert reader.meta("a") == {"type": "int", "min": 0}
    assert reader.meta("b") is None
    assert reader.facts() == {"mode": "train"}


def test_without_facts_there_are_none(world: Tables, table: Table) -> None:
    assert world.view(table).facts() == {}


READS: dict[str, Callable[[View], object]] = {
    "get": lambda reader: reader.get("temprature"),
    "[]": lambda reader: reader["temprature"],
    "entry": lambda reader: reader.entry("temprature"),
    "version": lambda reader: reader.version("temprature"),
}


@pytest.mark.parametrize("read", READS)
def test_an_unknown_name_says_what_is_like_it(world: Tables, table: Table, read: str) -> None:
    world.put(table, "temperature", 1)
    with pytest.raises(ParameterNotFoundError, match="no parameter 'temprature'") as caught:
        READS[read](world.view(table))
    assert caught.value.name == "temprature"
    assert caught.value.hint == "did you mean 'temperature'?"


def test_a_name_that_is_none_is_not_found(world: Tables, table: Table) -> None:
    world.put(table, "temperature", 1)
    reader = View(read_only(table.fd), CODEC, world.fetch, "qa")
    with pytest.raises(ParameterNotFoundError, match="'qa' has no parameter 5; it has temperature"):
        reader[5]  # type: ignore[index]
    reader.close()


def test_a_cached_reader_notices_that_a_name_was_removed_and_came_back(world: Tables, table: Table) -> None:
    reader = world.view(table)
    world.put(table, "x", 1)
    assert reader["x"] == 1
    table.remove("x")
    for read in (reader.get, reader.entry, reader.version):
        with pytest.raises(ParameterNotFoundError):
            read("x")
    assert "x" not in reader
    table.add("x")
    with pytest.raises(ParameterNotFoundError):
        reader.get("x")
    assert world.put(table, "x", 5) == 2
    assert reader["x"] == 5


def test_names_added_after_the_view_was_made_are_found(world: Tables, table: Table) -> None:
    reader = world.view(table)
    for n in range(200):
        world.put(table, f"p{n}", n)
        assert reader[f"p{n}"] == n
    assert len(reader) == 200


def test_a_cached_reader_reads_again_when_another_class_took_the_table(world: Tables, table: Table) -> None:
    world.put(table, "x", "a long text")
    reader = world.view(table)
    before = reader["x"]
    table.bump_epoch()
    assert reader["x"] == before
    assert reader["x"] is not before
    assert reader.valid


@pytest.mark.parametrize("read", ["get", "entry", "version", "names", "facts", "meta", "sequence"])
def test_a_view_of_a_retired_table_says_that_it_was_replaced(world: Tables, table: Table, read: str) -> None:
    world.put(table, "x", 1)
    reader = world.view(table)
    assert reader["x"] == 1
    table.retire()
    assert not reader.valid
    with pytest.raises(ParameterError) as caught:
        getattr(reader, read)(*(["x"] if read in ("get", "entry", "version", "meta") else []))
    assert caught.value.code == REPLACED
    assert not isinstance(caught.value, ParameterNotFoundError)


def test_the_writer_may_go_and_another_one_come_while_a_view_reads(world: Tables, table: Table) -> None:
    world.put(table, "x", 1)
    reader = world.view(table)
    assert reader["x"] == 1
    heir = world.adopt(table)
    table.close()
    world.put(heir, "x", 2)
    world.put(heir, "y", 3)
    assert (reader["x"], reader["y"]) == (2, 3)


def test_a_blob_that_is_superseded_while_it_is_fetched_is_not_waited_for(world: Tables, table: Table) -> None:
    world.put(table, "x", "a" * 70_000)
    world.blobs.pop(("x", 1)).close()

    def fetch(name: str, version: int) -> int | None:
        if version == 1:
            world.put(table, "x", "b" * 70_000)
        return world.fetch(name, version)

    reader = View(read_only(table.fd), CODEC, fetch)
    assert reader["x"] == "b" * 70_000
    reader.close()


def test_a_blob_that_is_nowhere_is_an_error_that_names_it(world: Tables, table: Table) -> None:
    world.put(table, "x", "a" * 70_000)
    world.blobs.pop(("x", 1)).close()
    with pytest.raises(ParameterError, match=r"'x' \(version 1\) cannot be fetched"):
        world.view(table).get("x")


def test_another_blob_is_not_taken_for_the_right_one(world: Tables, table: Table) -> None:
    world.put(table, "x", "a" * 70_000)
    world.put(table, "x", "b" * 70_000)
    world.blobs["x", 2] = world.blobs["x", 1]
    with pytest.raises(ParameterError, match=r"'x' \(version 2\) cannot be fetched"):
        world.view(table).get("x")


@pytest.mark.process
def test_what_is_no_table_or_of_another_layout_is_refused_and_closed(world: Tables) -> None:
    table = world.new()
    table._memory.words[layout.LAYOUT] = 7
    with pytest.raises(ParameterError, match="layout 7, expected 1"):
        world.view(table)
    blob = Blob.create(b"x" * 5000)
    with pytest.raises(ParameterError, match="no parameter table"):
        View(os.dup(blob.fd), CODEC, world.fetch)
    blob.close()
    table.close()


@pytest.mark.process
def test_a_closed_view_says_so_and_leaves_nothing() -> None:
    table = Table.create("x")
    table.lease(1)
    table.publish(table.add("x"), 1, CODEC.pack([1]))
    reader = View(read_only(table.fd), CODEC, lambda name, version: None)
    assert reader["x"] == 1
    reader.close()
    reader.close()
    table.close()
    assert not reader.valid
    for read in (lambda: reader.get("x"), reader.names, reader.facts, lambda: reader.sequence):
        with pytest.raises(ParameterError, match="closed"):
            read()


OVERTAKEN: dict[str, Callable[[Tables, Table, int], object]] = {
    "a set": lambda world, table, n: world.put(table, "x", [n] * 5),
    "two sets": lambda world, table, n: [world.put(table, "x", [m] * 5) for m in (n, n)],
    "large sets": lambda world, table, n: [world.put(table, "x", [m] * 70_000) for m in (n, n)],
    "another class": lambda world, table, n: (table.bump_epoch(), world.put(table, "x", [n] * 5)),
    "a removal and a set": lambda world, table, n: (table.remove("x"), world.put(table, "x", [n] * 5)),
    "many new names": lambda world, table, n: [world.put(table, f"{n}.{m}", m) for m in range(30)],
}


@pytest.mark.parametrize("what", OVERTAKEN)
@pytest.mark.parametrize("cached", [True, False], ids=["cached", "uncached"])
def test_a_read_that_is_overtaken_between_any_two_instructions_gives_one_whole_version(
    world: Tables, table: Table, what: str, cached: bool
) -> None:
    def read() -> None:
        try:
            values.append(reader.get("x"))
            entry = reader.entry("x")
            values.append(entry.value)
            assert entry.who == "test"
        except ParameterNotFoundError:
            assert what == "a removal and a set"

    reader = world.view(table)
    for instruction in range(0, 2000, 7):
        world.put(table, "x", [-instruction] * 5)
        values: list[list[int]] = []
        if cached:
            reader.get("x")
        else:
            reader.close()
            reader = world.view(table)
        by = partial(OVERTAKEN[what], world, table, instruction)
        if not interrupted_at(instruction, read, inside="dspex_runtime/params", by=by):
            break
        numbers = [value[0] for value in values]
        assert all(set(value) <= {-instruction, instruction} and len(set(value)) == 1 for value in values)
        assert numbers == sorted(numbers), "never back"
        reader.get("x")
    assert instruction > 200


def test_threads_of_one_view_see_whole_values_that_never_go_back_while_the_table_grows(world: Tables, table: Table) -> None:
    names = [f"p{n}" for n in range(6)]
    for name in names:
        world.put(table, name, [0] * 10)
    reader = world.view(table)
    done = threading.Event()
    problems: list[str] = []

    def read() -> None:
        seen = dict.fromkeys(names, 0)
        while not done.is_set() and not problems:
            for name in names:
                value = reader.get(name)
                if len(set(value)) != 1:
                    problems.append(f"torn: {name} {value[:20]}")
                if value[0] < seen[name]:
                    problems.append(f"{name} went back from {seen[name]} to {value[0]}")
                seen[name] = value[0]

    threads = [threading.Thread(target=read, name="dspex-test-reader") for _ in range(3)]
    for thread in threads:
        thread.start()
    for n in range(1, 400):
        for name in names:
            world.put(table, name, [n] * (10 + n * n % 7000))
        world.put(table, f"new{n}", n)
    done.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert problems == []
    assert reader["p0"][0] == 399
    assert len(reader) == 6 + 399
