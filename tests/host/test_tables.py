"""Others' tables inside a module process: what is asked of the parent, and what is not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from dspex_runtime.errors import NoProcessError, ParameterNotFoundError
from dspex_runtime.host import parent
from dspex_runtime.host.shared import SharedParameters
from dspex_runtime.host.tables import OthersTable
from dspex_runtime.params.table import Table
from dspex_runtime.state.protocol import SHARED
from helpers.param_tables import CODEC, Tables, tables


class Parent:
    """Gives descriptors of one table and of its large values."""

    def __init__(self, made: Tables) -> None:
        self.made = made
        self.table: Table | None = made.new()
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def put(self, name: str, value: Any) -> None:
        assert self.table is not None
        self.made.put(self.table, name, value)

    def ask_for_fd(self, op: str, args: dict[str, Any]) -> int | None:
        self.asked.append((op, args))
        if args["id"] == "nobody":
            raise NoProcessError("no such id: 'nobody'", id="nobody")
        if op == "param_blob":
            return self.made.fetch(args["name"], args["at"])
        return None if self.table is None else os.dup(self.table.fd)


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Parent]:
    with tables() as made:
        runtime = Parent(made)
        monkeypatch.setattr(parent, "ask_for_fd", runtime.ask_for_fd)
        yield runtime


def test_only_the_first_read_asks_for_the_table(runtime: Parent) -> None:
    runtime.put("k", 1)
    table = OthersTable(CODEC, "qa")
    assert table.read("k") == 1
    runtime.put("k", 2)
    assert table.read("k") == 2
    entry = table.entry("k")
    assert (entry.version, entry.value, entry.who) == (2, 2, "test")
    assert runtime.asked == [("param_table", {"id": "qa"})]


def test_a_large_value_is_asked_for_by_version(runtime: Parent) -> None:
    runtime.put("k", "a" * 100_000)
    table = OthersTable(CODEC, "qa")
    assert table.read("k") == table.read("k") == "a" * 100_000
    assert runtime.asked[1:] == [("param_blob", {"id": "qa", "name": "k", "at": 1})]


def test_a_table_that_was_replaced_is_attached_anew(runtime: Parent) -> None:
    runtime.put("k", 1)
    table = OthersTable(CODEC, "qa")
    assert table.read("k") == 1
    assert runtime.table is not None
    runtime.table.retire()
    runtime.table = runtime.made.new()
    runtime.put("k", "other")
    assert table.read("k") == "other"


def test_what_is_not_there_is_named(runtime: Parent) -> None:
    with pytest.raises(ParameterNotFoundError, match="'k'"):
        OthersTable(CODEC, "qa").read("k")
    with pytest.raises(NoProcessError):
        OthersTable(CODEC, "nobody").read("k")
    runtime.table = None
    with pytest.raises(ParameterNotFoundError, match="'qa' has no parameters"):
        OthersTable(CODEC, "qa").read("k")


def test_the_runtimes_own_are_read_the_same_way(runtime: Parent) -> None:
    runtime.put("style", "brief")
    shared = SharedParameters(CODEC)
    assert shared.read("style") == "brief"
    assert runtime.asked == [("param_table", {"id": SHARED})]
    runtime.table = None
    with pytest.raises(ParameterNotFoundError, match="the runtime has no shared parameters"):
        SharedParameters(CODEC).read("style")
