"""The rows of the store, against a model that is a few dicts; and each of its limits."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dspex_runtime.state.database import connect
from dspex_runtime.state.migrations import migrate
from dspex_runtime.state.store import Store, StoredValue, Version, packed, unpacked

IDS = st.sampled_from(["a", "sup/b", "$shared"])
NAMES = st.sampled_from(["x", "y", "predictors[0]"])
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=5,
)
FACTS = st.dictionaries(st.sampled_from(["mode", "restarts", "last_exit"]), PLAIN, max_size=3)


@dataclass
class Kept:
    """What the model knows of one id."""

    folded: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    noted: dict[str, Any] = field(default_factory=dict)
    newest: dict[str, StoredValue] = field(default_factory=dict)
    history: dict[str, dict[int, Version]] = field(default_factory=dict)
    configured: dict[str, bytes] = field(default_factory=dict)
    executions: list[Any] = field(default_factory=list)


class StoreModel(RuleBasedStateMachine):
    """Everything that can be written, in any order, some of it taken back."""

    def __init__(self) -> None:
        super().__init__()
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        migrate(self.connection)
        self.store = Store(self.connection)
        self.kept: dict[str, Kept] = {}

    def teardown(self) -> None:
        self.connection.close()

    def of(self, id: str) -> Kept:
        return self.kept.setdefault(id, Kept())

    @rule(
        id=IDS, name=NAMES, version=st.integers(1, 30), data=st.binary(max_size=20), who=st.text(max_size=5), removed=st.booleans()
    )
    def set(self, id: str, name: str, version: int, data: bytes, who: str, removed: bool) -> None:
        entry = Version(version, version / 2, who, b"" if removed else data, removed)
        with self.store.writing():
            self.store.know(id)
            self.store.set(id, name, entry, who.encode())
        kept = self.of(id)
        kept.history.setdefault(name, {}).setdefault(version, entry)
        before = kept.newest.get(name)
        if before is None or version > before.version:
            kept.newest[name] = StoredValue(version, None if removed else data, who.encode(), before.meta if before else None)

    @rule(id=IDS, name=NAMES, meta=FACTS)
    def learn_the_spec(self, id: str, name: str, meta: dict[str, Any]) -> None:
        with self.store.writing():
            self.store.set_meta(id, name, meta)
        value = self.of(id).newest.get(name) if id in self.kept else None
        if value is not None:
            self.of(id).newest[name] = StoredValue(value.version, value.data, value.annex, meta)

    @rule(id=IDS, name=NAMES, keep=st.integers(1, 5))
    def prune_history(self, id: str, name: str, keep: int) -> None:
        with self.store.writing():
            self.store.prune_history(id, name, keep=keep)
        versions = self.of(id).history.get(name, {}) if id in self.kept else {}
        for version in sorted(versions)[:-keep]:
            del versions[version]

    @rule(id=IDS, facts=FACTS, position=st.integers(0, 2**50))
    def fold(self, id: str, facts: dict[str, Any], position: int) -> None:
        with self.store.writing():
            self.store.merge_facts(id, facts)
            self.store.set_folded(id, position)
        self.of(id).facts |= facts
        self.of(id).folded = position

    @rule(id=IDS, facts=FACTS)
    def note(self, id: str, facts: dict[str, Any]) -> None:
        with self.store.writing():
            self.store.merge_noted(id, facts)
        self.of(id).noted |= facts

    @rule(id=IDS, values=st.dictionaries(NAMES, st.binary(max_size=5)))
    def configure(self, id: str, values: dict[str, bytes]) -> None:
        with self.store.writing():
            self.store.set_configured(id, values)
        self.of(id).configured = values

    @rule(id=IDS, calls=st.lists(st.fixed_dictionaries({"method": st.text(max_size=3), "ok": st.booleans()}), max_size=4))
    def call(self, id: str, calls: list[Any]) -> None:
        with self.store.writing():
            self.store.add_executions(id, calls)
            self.store.prune_executions(id, keep=6)
        self.of(id).executions = [*self.of(id).executions, *calls][-6:]

    @rule(id=IDS)
    def drop(self, id: str) -> None:
        with self.store.writing():
            self.store.drop(id)
        self.kept.pop(id, None)

    @precondition(lambda self: self.kept)
    @rule(id=IDS, name=NAMES)
    def taken_back(self, id: str, name: str) -> None:
        with pytest.raises(InterruptedError):
            self.interrupted(id, name)

    def interrupted(self, id: str, name: str) -> None:
        with self.store.writing():
            self.store.set(id, name, Version(1000, 0.0, "", b"never"), b"")
            self.store.drop(id)
            raise InterruptedError

    @invariant()
    def the_store_is_what_the_model_says(self) -> None:
        assert self.store.ids() == sorted(self.kept)
        for id, kept in self.kept.items():
            assert (self.store.folded(id), self.store.facts(id), self.store.noted(id)) == (kept.folded, kept.facts, kept.noted)
            assert self.store.parameters(id) == kept.newest
            assert self.store.configured(id) == kept.configured
            assert self.store.executions(id, 100) == kept.executions[::-1]
            for name, versions in kept.history.items():
                assert self.store.history(id, name, 100) == [versions[version] for version in sorted(versions, reverse=True)]
                assert self.store.version(id, name) == kept.newest[name].version


TestStoreModel = StoreModel.TestCase
TestStoreModel.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


def test_history_keeps_so_many_bytes_but_always_the_newest_two(store: Store) -> None:
    with store.writing():
        for version in range(1, 6):
            store.set("a", "x", Version(version, 0.0, "", bytes(100)), b"")
        store.prune_history("a", "x", keep_bytes=300)
        assert [each.version for each in store.history("a", "x", 10)] == [5, 4, 3]
        store.prune_history("a", "x", keep_bytes=10)
    assert [each.version for each in store.history("a", "x", 10)] == [5, 4]


def test_a_value_of_the_past_is_had_while_it_is_kept(store: Store) -> None:
    with store.writing():
        store.set("a", "x", Version(1, 0.0, "", b"one"), b"")
        store.set("a", "x", Version(2, 0.0, "", b"", removed=True), b"")
    assert [store.value_at("a", "x", version) for version in (1, 2, 3)] == [b"one", None, None]


def test_a_next_incarnation_gets_something_of_those_alone_that_kept_more_than_figures(store: Store) -> None:
    with store.writing():
        store.merge_noted("restarted", {"restarts": 1})
        store.merge_facts("called", {"metrics": {"calls": 1}})
        store.merge_facts("in eval mode", {"mode": "eval"})
        store.set("set", "x", Version(1, 0.0, "", b"1"), b"")
        store.know("set")
        store.set_configured("configured", {"x": b"1"})
    assert store.ids_with_state() == ["configured", "in eval mode", "set"]


def test_only_the_newest_events_are_kept_in_their_order(store: Store) -> None:
    with store.writing():
        store.add_events([packed({"seq": number}) for number in range(10)], keep=4)
        store.add_events([], keep=4)
    assert [unpacked(body)["seq"] for body in store.events(3)] == [7, 8, 9]
    assert len(store.events(100)) == 4


def test_what_was_committed_is_there_for_another_connection(store: Store, tmp_path: Path) -> None:
    with store.writing():
        store.set("a", "x", Version(1, 0.0, "", b"1"), b"")
    other = connect(tmp_path / "state.db")
    assert Store(other).value_at("a", "x", 1) == b"1"
    other.close()


def test_values_come_back_as_what_they_were() -> None:
    value = {"reason": ("shutdown", ("failed", 1)), "set": {1}, "big": 2**80}
    assert unpacked(packed(value)) == value
