"""Whatever is done to a table in whatever order, every reader sees exactly what a dict would, or the version before a death."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

from dspex_runtime.errors import ParameterError, ParameterNotFoundError
from dspex_runtime.params.view import View
from helpers.killing import dies_at
from helpers.param_tables import Tables

NAMES = st.sampled_from(["a", "b", "temperature", "predict.demos", "\0facts"]) | st.integers(0, 80).map("p{}".format)
SMALL = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=100)
VALUES = (
    SMALL
    | st.lists(SMALL, max_size=20)
    | st.dictionaries(st.text(max_size=5), SMALL, max_size=5)
    | st.integers(0, 200_000).map(lambda n: "x" * n)
)


class TableMachine(RuleBasedStateMachine):
    """A table, its readers, and a dict of what they should see."""

    views = Bundle("views")

    def __init__(self) -> None:
        super().__init__()
        self.closing = ExitStack()
        self.world = Tables(self.closing)
        self.values: dict[str, tuple[int, Any]] = {}
        self.last: dict[str, int] = {}  # highest version ever, of removed names too
        self.readers: list[View] = []
        self.incarnation = 1

    @initialize()
    def start(self) -> None:
        self.table = self.world.new(leased_to=1)
        self.readers.append(self.world.view(self.table))

    @rule(target=views)
    def open_view(self) -> View:
        view = self.world.view(self.table)
        self.readers.append(view)
        return view

    @rule(view=consumes(views))
    def close_view(self, view: View) -> None:
        self.readers.remove(view)
        view.close()

    @rule(name=NAMES, value=VALUES, gap=st.integers(1, 3))
    def publish(self, name: str, value: Any, gap: int) -> None:
        version = self.last.get(name, 0) + gap
        self.world.put(self.table, name, value, version=version)
        self.values[name] = (version, value)
        self.last[name] = version

    @rule(name=NAMES)
    def add(self, name: str) -> None:
        slot = self.table.add(name)
        assert self.table.version(slot) == self.last.get(name, 0)

    @rule(name=NAMES, behind=st.integers(0, 5))
    def publish_an_old_version(self, name: str, behind: int) -> None:
        if name in self.values:
            with pytest.raises(ParameterError):
                self.world.put(self.table, name, "old", version=self.last[name] - behind)

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        if name in self.values:
            self.table.remove(name)
            del self.values[name]

    @rule()
    def hand_to_another_class(self) -> None:
        self.table.bump_epoch()

    @rule(kill=st.booleans())
    def adopt(self, kill: bool) -> None:
        self.incarnation += 1
        old = self.table
        self.table = self.world.adopt(old, leased_to=self.incarnation)
        if not kill:
            old.close()

    @rule(name=NAMES, value=VALUES, instruction=st.integers(0, 1200))
    def die_while_publishing(self, name: str, value: Any, instruction: int) -> None:
        version = self.last.get(name, 0) + 1
        died = dies_at(instruction, lambda: self.world.put(self.table, name, value, version=version), inside="dspex_runtime/params")
        self.adopt(kill=True)
        slot = self.table.slot(name)
        if slot is not None and self.table.version(slot) == version:
            self.values[name] = (version, value)
            self.last[name] = version
        else:
            assert died

    @precondition(lambda self: self.values)
    @rule(data=st.data(), instruction=st.integers(0, 100))
    def die_while_removing(self, data: st.DataObject, instruction: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.values)))
        died = dies_at(instruction, lambda: self.table.remove(name), inside="dspex_runtime/params")
        self.adopt(kill=True)
        slot = self.table.slot(name)
        assert slot is not None
        if self.table.read(slot) is None:
            del self.values[name]
        else:
            assert died

    @invariant()
    def every_reader_sees_what_is_published(self) -> None:
        visible = sorted(name for name in self.values if not name.startswith("\0"))
        for view in self.readers:
            assert view.names() == visible
            for name, (version, value) in self.values.items():
                assert view.get(name) == value
                assert view.version(name) == version
                assert view.entry(name).version == version
            for name in self.last.keys() - self.values.keys():
                with pytest.raises(ParameterNotFoundError):
                    view.get(name)

    def teardown(self) -> None:
        self.closing.close()


TableMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestTable = TableMachine.TestCase
