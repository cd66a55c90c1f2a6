"""What is shown of children: down for good only where nothing brings them back."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.core.child_spec import Backoff, ChildSpec
from dspex_runtime.node.registry import Record
from helpers.fake_tree import FakeTree, group, worker

LATER = Backoff(initial_s=10.0, max_s=10.0, jitter=0.0)


def seen(tree: FakeTree, *ids: str) -> dict[str, list[str]]:
    """Note every state that these children are shown in from now on."""
    states: dict[str, list[str]] = {id: [] for id in ids}

    def note(record: Record) -> None:
        if record.id in states and states[record.id][-1:] != [record.state.value]:
            states[record.id].append(record.state.value)

    tree.registry.on_change.append(note)
    return states


def test_a_start_is_shown_before_the_key_it_brings(tree: FakeTree) -> None:
    tree.boot(worker("a", register="k"))
    told = [(event["type"], event.get("state")) for event in tree.reports.events]
    assert told == [("state", "STARTING"), ("registered", None), ("state", "READY")]


def failing(restart: str = "permanent", **fields: Any) -> ChildSpec:
    """Return a supervisor that gives up at the first crash."""
    return group("g", worker("a"), worker("b"), group("h", worker("c")), restart=restart, max_restarts=0, **fields)


def test_1_5_children_of_a_supervisor_that_is_restarted_are_never_shown_as_down_for_good(tree: FakeTree) -> None:
    tree.boot(failing())
    states = seen(tree, "g/a", "g/b", "g/h/c")
    tree.crash("g/a")
    assert set(tree.shown().values()) == {"READY"}
    assert states["g/a"] == states["g/h/c"] == ["STOPPING", "STARTING", "READY"]


@pytest.mark.parametrize("restart", ["transient", "temporary"])
def test_1_5_children_of_one_that_is_not_restarted_are(tree: FakeTree, restart: str) -> None:
    tree.boot(failing(restart))
    tree.crash("g/a")
    down = dict.fromkeys(("g", "g/a", "g/b", "g/h", "g/h/c"), "FAILED")
    assert tree.shown() == (down if restart == "transient" else {})


def test_children_wait_with_a_supervisor_whose_restart_is_due_later(tree: FakeTree) -> None:
    tree.boot(failing(backoff=LATER))
    for _ in range(2):
        tree.crash("g/a")
    assert tree.shown() == {"g": "BACKOFF", "g/a": "PENDING", "g/b": "PENDING", "g/h": "PENDING", "g/h/c": "PENDING"}
    tree.advance(10.0)
    assert set(tree.shown().values()) == {"READY"}


def test_they_are_stopped_with_a_supervisor_that_is_stopped_meanwhile(tree: FakeTree) -> None:
    tree.boot(failing(backoff=LATER))
    for _ in range(2):
        tree.crash("g/a")
    tree.ask(tree.supervision.terminate, tree.record("g"))
    assert set(tree.shown().values()) == {"STOPPED"}


def test_they_have_failed_when_the_supervisor_above_gives_up_in_turn(tree: FakeTree) -> None:
    tree.boot(failing(), max_restarts=0)
    tree.crash("g/a")
    assert set(tree.shown().values()) == {"FAILED"}
    assert [event["id"] for event in tree.reports.events if event["type"] == "gave_up"] == ["g", "root"]


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_1_3_nor_are_those_of_one_that_a_sweep_restarts(tree: FakeTree, strategy: str) -> None:
    tree.boot(worker("x"), group("g", worker("a"), group("h", worker("c"))), strategy=strategy)
    states = seen(tree, "g/a", "g/h/c")
    tree.crash("x")
    assert {id: set(shown) & {"STOPPED", "FAILED", "EXITED"} for id, shown in states.items()} == {"g/a": set(), "g/h/c": set()}
    assert set(tree.shown().values()) == {"READY"}


def test_nor_are_those_of_one_that_is_restarted_by_request(tree: FakeTree) -> None:
    tree.boot(group("g", worker("a")))
    states = seen(tree, "g/a")
    tree.ask(tree.supervision.cycle, tree.record("g"))
    assert not {"STOPPED", "FAILED"} & set(states["g/a"])
    assert tree.shown() == {"g": "READY", "g/a": "READY"}


def test_children_that_were_stopped_before_stay_what_they_were(tree: FakeTree) -> None:
    tree.boot(group("g", worker("a"), worker("b", "transient"), worker("c")))
    tree.ask(tree.supervision.terminate, tree.record("g/a"))
    tree.crash("g/b", reason="normal")
    tree.ask(tree.supervision.terminate, tree.record("g"))
    assert tree.shown() == {"g": "STOPPED", "g/a": "STOPPED", "g/b": "EXITED", "g/c": "STOPPED"}


def test_a_child_that_is_forgotten_is_shown_in_its_last_state_and_said_to_be_gone(tree: FakeTree) -> None:
    tree.boot(worker("a", "temporary"))
    states = seen(tree, "a")
    tree.crash("a", reason="normal")
    assert states["a"][-1] == "EXITED"
    told = [(event["type"], event.get("state")) for event in tree.reports.events]
    assert told[-2:] == [("state", "EXITED"), ("deleted", None)]


def test_a_start_by_request_that_fails_is_shown_as_such(tree: FakeTree) -> None:
    tree.boot(worker("a"))
    tree.ask(tree.supervision.terminate, tree.record("a"))
    tree.launcher.script["a"] = ["fail"]
    tree.ask(tree.supervision.reviving.start, tree.record("a"))
    assert tree.shown() == {"a": "FAILED"}
