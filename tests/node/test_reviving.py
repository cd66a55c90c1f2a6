"""Crashed is never terminal: what is down can be started again, with whatever failed above it."""

from __future__ import annotations

from dspex_runtime.core import events as ev
from dspex_runtime.errors import NoProcessError, StartError, SupervisorError
from helpers.fake_tree import FakeTree, group, worker


def test_starting_a_child_starts_the_supervisor_that_failed_above_it(tree: FakeTree) -> None:
    tree.boot(group("g", group("h", worker("a")), restart="transient", max_restarts=0))
    tree.crash("g/h/a", "g/h/a")
    tree.ask(tree.supervision.terminate, tree.record("g"))
    assert tree.ask(tree.supervision.reviving.start, tree.record("g/h/a")).value == "g/h/a"
    assert set(tree.shown().values()) == {"READY"}


def test_a_root_that_failed_is_told_shown_and_started_again(tree: FakeTree) -> None:
    tree.boot(worker("a"), worker("b"), max_restarts=0)
    tree.crash("a")
    assert tree.exits == [True]
    assert tree.shown() == {"a": "FAILED", "b": "FAILED"}
    assert tree.supervision.view.as_dict(lambda record: {"id": record.id}, "rt")["state"] == "FAILED"
    assert tree.ask(tree.supervision.terminate, tree.record("b")).error is None
    assert tree.ask(tree.supervision.reviving.start, tree.record("b")).value == "b"
    assert tree.shown() == {"a": "READY", "b": "READY"}


def test_one_that_does_not_start_again_can_be_tried_again(tree: FakeTree) -> None:
    tree.boot()
    tree.ask(tree.supervision.start_alone, worker("x"))
    for _ in range(4):
        tree.crash("x")
    tree.launcher.script["x"] = ["fail"]
    assert isinstance(tree.ask(tree.supervision.reviving.start, tree.record("x")).error, StartError)
    assert tree.shown() == {"x": "FAILED"}
    assert tree.ask(tree.supervision.reviving.start, tree.record("x")).error is None
    assert tree.shown() == {"x": "READY"}


def test_without_a_tree_there_is_nothing_to_start(tree: FakeTree) -> None:
    record = tree.registry.ensure("x", worker("x"))
    assert isinstance(tree.ask(tree.supervision.reviving.start, record).error, NoProcessError)


def test_a_root_that_runs_cannot_be_started(tree: FakeTree) -> None:
    tree.boot(worker("a"))
    error = tree.ask(tree.supervision.reviving.start_root).error
    assert isinstance(error, SupervisorError)
    assert error.code == "already_started"


def test_a_root_that_starts_anew_has_lost_what_was_added_and_says_so_to_who_asked_for_that(tree: FakeTree) -> None:
    tree.boot(worker("a"), max_restarts=0)
    tree.ask(tree.supervision.ask, "", lambda request: ev.StartChildAsked(request, worker("added")))
    tree.ask(tree.supervision.start_alone, worker("alone"))
    added = tree.record("added")
    tree.crash("a")
    outcome = tree.ask(tree.supervision.reviving.start, added)
    assert isinstance(outcome.error, NoProcessError)
    assert tree.shown() == {"a": "READY", "alone": "READY"}
