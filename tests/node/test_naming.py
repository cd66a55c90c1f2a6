"""Names in a tree of fake processes (otp-semantics §2.8): registered before init, gone before anybody hears of the end."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.core.keys import Holder
from dspex_runtime.errors import RegistryError, StartError, UnserialisableError
from dspex_runtime.node.reports import EVENT_VALUE_BYTES
from dspex_runtime.types import FullId, Incarnation
from helpers.fake_tree import FakeProcess, FakeTree, group, worker


def holder(tree: FakeTree, id: str) -> Holder:
    return Holder(FullId(id), Incarnation(tree.record(id).incarnation))


def register(tree: FakeTree, key: Any, id: str, value: Any = None, *, unique: bool = True) -> None:
    tree.naming.register(key, holder(tree, id), value, unique=unique)


def holders(tree: FakeTree, key: Any) -> list[tuple[str, int]]:
    return [(entry.holder.id, entry.holder.incarnation) for entry in tree.naming.keys.lookup(key)]


def events(tree: FakeTree, *types: str) -> list[dict[str, Any]]:
    return [{k: v for k, v in event.items() if k not in ("seq", "time")} for event in tree.reports.events if event["type"] in types]


class TestTheKeyOfASpec:
    """Registered before init runs; taken: init never runs."""

    def test_is_held_before_init_has_run(self, tree: FakeTree) -> None:
        tree.launcher.script["a"] = ["hang"]
        tree.boot(worker("a", register="k"))
        assert tree.shown() == {"a": "STARTING"}
        assert holders(tree, "k") == [("a", 1)]
        assert tree.naming.whereis("k") is tree.record("a")

    def test_taken_it_fails_the_start_and_no_process_is_made(self, tree: FakeTree) -> None:
        tree.boot(worker("a", register="k"), worker("b", register="k"))
        (error,) = tree.boots
        assert isinstance(error, StartError)
        assert (error.code, error.id) == ("already_registered", "b")
        assert str(error) == "'b' did not start: key 'k' is registered already: 'a' (incarnation 1) holds it"
        assert [line for line in tree.launcher.did() if line.startswith("start")] == ["start a"]

    def test_is_free_when_a_failed_start_is_told(self, tree: FakeTree) -> None:
        tree.launcher.script["b"] = ["fail"]
        tree.boot()
        free: list[list[Any]] = []
        tree.ask(lambda answer: tree.supervision.start_alone(worker("b", register="k"), answer))
        tree.supervision.start_alone(worker("c", register="k"), lambda _, error: free.append([error]))
        tree.launcher.settle()
        assert free == [[None]]

    def test_is_free_when_init_ignored(self, tree: FakeTree) -> None:
        tree.launcher.script["a"] = ["ignore"]
        tree.boot(worker("a", register="k"))
        assert holders(tree, "k") == []

    def test_is_registered_anew_by_every_incarnation(self, tree: FakeTree) -> None:
        tree.boot(worker("a", register="k"))
        tree.crash("a")
        assert holders(tree, "k") == [("a", 2)]

    def test_taken_at_a_restart_counts_as_a_failed_restart(self, tree: FakeTree) -> None:
        tree.boot(worker("a", register="k"), worker("b"), max_restarts=1)
        a = tree.process("a")
        tree.naming.ended("a", 1)
        register(tree, "k", "b")
        a.end()
        tree.launcher.settle()
        assert tree.exits == [True], "the restart failed, the next one was one too many"
        assert [event["reason"][1] for event in events(tree, "start_error")] == ["RegistryError"]

    def test_of_a_supervisor_is_held_while_it_lives(self, tree: FakeTree) -> None:
        tree.boot(group("g", worker("a"), register="k"))
        assert holders(tree, "k") == [("g", 1)]
        tree.ask(tree.supervision.terminate, tree.record("g"))
        assert holders(tree, "k") == []


class TestNamesVanishWithTheProcess:
    """Before its DOWN, and before its supervisor decides."""

    def test_before_its_monitors_are_told(self, tree: FakeTree, monkeypatch: pytest.MonkeyPatch) -> None:
        tree.boot(worker("a", register="k"))
        seen: list[Any] = []
        monkeypatch.setattr(tree.session, "down", lambda *_: seen.append(holders(tree, "k")))
        tree.watch("a")
        tree.crash("a")
        assert seen == [[]]

    def test_however_it_was_registered(self, tree: FakeTree) -> None:
        tree.boot(worker("a", restart="temporary", register="k"), worker("b"))
        register(tree, "l", "a")
        register(tree, "d", "a", unique=False)
        register(tree, "d", "b", unique=False)
        tree.crash("a")
        assert [entry.holder.id for entry in tree.naming.keys.select()] == ["b"]


class TestLiveness:
    """Checked where it matters: at register, and at whereis."""

    def test_a_key_held_by_a_dead_process_is_registered_at_once(self, tree: FakeTree) -> None:
        tree.boot(worker("a", restart="temporary", register="k"), worker("b"))
        FakeProcess.zombies.add(tree.process("a").pid or 0)
        assert tree.naming.whereis("k") is None
        register(tree, "k", "b")
        assert holders(tree, "k") == [("b", 1)]
        tree.crash("a")
        assert holders(tree, "k") == [("b", 1)], "the late end of the old holder frees nothing"

    def test_a_living_one_keeps_it(self, tree: FakeTree) -> None:
        tree.boot(worker("a", register="k"), worker("b"))
        with pytest.raises(RegistryError, match="'a'"):
            register(tree, "k", "b")

    def test_one_that_has_no_process_yet_lives(self, tree: FakeTree) -> None:
        tree.launcher.script["a"] = ["hang"]
        tree.boot(worker("a", register="k"))
        tree.process("a").pid = None
        assert tree.naming.whereis("k") is tree.record("a")


class TestEvents:
    """Listeners hear of registrations, and of explicit removals only."""

    def test_say_who_was_registered_with_what(self, tree: FakeTree) -> None:
        tree.boot(worker("a"))
        register(tree, ("k", 1), "a", {"n": 1})
        register(tree, "d", "a", unique=False)
        assert events(tree, "registered") == [
            {"type": "registered", "id": "a", "incarnation": 1, "key": ("k", 1), "unique": True, "value": {"n": 1}},
            {"type": "registered", "id": "a", "incarnation": 1, "key": "d", "unique": False},
        ]

    def test_a_large_value_is_not_kept_ten_thousand_times(self, tree: FakeTree) -> None:
        tree.boot(worker("a"))
        register(tree, "k", "a", "x" * (EVENT_VALUE_BYTES + 1))
        (event,) = events(tree, "registered")
        assert "value" not in event
        assert event["value_bytes"] > EVENT_VALUE_BYTES

    def test_a_removal_is_told_and_the_end_of_a_process_is_not(self, tree: FakeTree) -> None:
        tree.boot(worker("a"), worker("b"))
        register(tree, "k", "a")
        register(tree, "l", "b")
        tree.naming.unregister("k", None)
        tree.crash("b")
        assert events(tree, "unregistered") == [{"type": "unregistered", "id": "a", "incarnation": 1, "key": "k"}]


def test_a_value_that_could_not_be_handed_out_is_not_taken(tree: FakeTree) -> None:
    value: Any = None
    for _ in range(1022):
        value = [value]
    tree.boot(worker("a"))
    with pytest.raises(UnserialisableError):
        register(tree, "k", "a", value)
    assert holders(tree, "k") == []
