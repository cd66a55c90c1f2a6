"""Starts that are asked for wait for what is coming, and are refused where nothing is."""

from __future__ import annotations

import pytest

from dspex_runtime.core.child_spec import Backoff
from dspex_runtime.errors import StartError
from helpers.fake_tree import FakeTree, group, needing, worker

SLOWLY = Backoff(initial_s=5.0, factor=1.0, max_s=5.0, jitter=0.0)


def down(tree: FakeTree) -> None:
    """Boot x, which needs y; stop x, and have y come back in five seconds."""
    tree.boot(worker("y", backoff=SLOWLY), needing(worker("x"), y="wait"))
    tree.ask(tree.supervision.terminate, tree.record("x"))
    tree.crash("y")
    tree.crash("y")  # the first restart is at once
    assert tree.shown()["y"] == "BACKOFF"


def test_a_start_waits_for_what_is_coming(tree: FakeTree) -> None:
    down(tree)
    outcome = tree.ask(tree.supervision.reviving.start, tree.record("x"))
    assert outcome.came == 0
    tree.advance(5.0)
    assert outcome.value == "x"
    assert tree.shown() == {"y": "READY", "x": "READY"}


def test_it_gives_up_after_its_own_start_timeout(tree: FakeTree) -> None:
    tree.boot(worker("y", backoff=SLOWLY), needing(worker("x", start_timeout_s=2.0), y="wait"))
    tree.ask(tree.supervision.terminate, tree.record("x"))
    tree.crash("y")
    tree.crash("y")
    outcome = tree.ask(tree.supervision.reviving.start, tree.record("x"))
    tree.advance(2.0)
    assert isinstance(outcome.error, StartError)
    assert outcome.error.message == "'x' was not started: it depends on 'y' (BACKOFF), and still waits for that after 2 s"
    tree.advance(5.0)
    assert tree.shown() == {"y": "READY", "x": "STOPPED"}


def test_it_is_refused_where_nothing_is_coming_and_says_what_to_start(tree: FakeTree) -> None:
    tree.boot(worker("y"), needing(worker("x"), y="restart"))
    for id in ("x", "y"):
        tree.ask(tree.supervision.terminate, tree.record(id))
    outcome = tree.ask(tree.supervision.reviving.start, tree.record("x"))
    assert isinstance(outcome.error, StartError)
    assert outcome.error.message == "'x' was not started: 'y', which it depends on (on_down: restart), is STOPPED"
    assert outcome.error.hint == "`dspex start y` starts that one first"


def test_one_that_waits_is_refused_when_what_it_waits_for_is_stopped(tree: FakeTree) -> None:
    down(tree)
    outcome = tree.ask(tree.supervision.reviving.start, tree.record("x"))
    tree.ask(tree.supervision.terminate, tree.record("y"))
    assert isinstance(outcome.error, StartError)
    assert "is STOPPED" in outcome.error.message


def test_a_stop_of_one_that_waits_ends_the_waiting(tree: FakeTree) -> None:
    down(tree)
    outcome = tree.ask(tree.supervision.reviving.start, tree.record("x"))
    tree.ask(tree.supervision.terminate, tree.record("x"))
    assert isinstance(outcome.error, StartError)
    assert outcome.error.message == "'x' was not started: it was stopped while it waited for 'y' (BACKOFF)"
    tree.advance(5.0)
    assert tree.shown()["x"] == "STOPPED"


def test_what_only_degrades_or_fails_starts_at_once(tree: FakeTree) -> None:
    tree.boot(worker("y"), needing(worker("x"), y="degrade"), needing(worker("z"), y="fail"))
    for id in ("x", "y", "z"):
        tree.ask(tree.supervision.terminate, tree.record(id))
    for id in ("x", "z"):
        assert tree.ask(tree.supervision.reviving.start, tree.record(id)).value == id


def test_a_restart_by_hand_stops_nothing_before_it_can_start(tree: FakeTree) -> None:
    tree.boot(group("g", worker("y")), needing(worker("x"), **{"g/y": "wait"}))
    tree.ask(tree.supervision.terminate, tree.record("g/y"))
    outcome = tree.ask(tree.supervision.cycle, tree.record("x"))
    assert isinstance(outcome.error, StartError)
    assert tree.shown()["x"] == "READY"


def test_a_start_is_looked_at_only_when_what_it_goes_by_changes(tree: FakeTree, monkeypatch: pytest.MonkeyPatch) -> None:
    down(tree)  # x needs y
    tree.ask(tree.supervision.start_alone, worker("other"))
    outcome = tree.ask(tree.supervision.reviving.start, tree.record("x"))
    machine = tree.supervision.dependencies.machine
    looked: list[str] = []
    look = machine.obstacles
    monkeypatch.setattr(machine, "obstacles", lambda each, edges: looked.append(each) or look(each, edges))
    tree.crash("other")
    assert looked == []
    tree.advance(5.0)
    assert set(looked) == {"x"}
    assert outcome.value == "x"


def test_a_start_goes_by_what_its_dependencies_depend_on_too(tree: FakeTree) -> None:
    tree.boot(worker("z", backoff=SLOWLY), needing(worker("y"), z="wait"), needing(worker("x"), y="wait"))
    tree.ask(tree.supervision.terminate, tree.record("x"))
    for id in ("z", "z", "y"):
        tree.crash(id)
    assert tree.shown() == {"z": "BACKOFF", "y": "PENDING", "x": "STOPPED"}
    outcome = tree.ask(tree.supervision.reviving.start, tree.record("x"))
    assert outcome.came == 0
    tree.ask(tree.supervision.terminate, tree.record("z"))
    assert isinstance(outcome.error, StartError)
    assert "'y'" in outcome.error.message
