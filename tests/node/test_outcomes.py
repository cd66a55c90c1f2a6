"""What became of a supervisor, told: to its parent, to who waits for it, and in the events."""

from __future__ import annotations

from typing import Any

from dspex_runtime.core import events as ev
from dspex_runtime.core.child_spec import BRUTAL_KILL
from dspex_runtime.errors import StartError
from helpers.fake_tree import FakeTree, group, worker


def events(tree: FakeTree, type: str) -> list[dict[str, Any]]:
    return [event for event in tree.reports.events if event["type"] == type]


class TestNestedSupervisors:
    """A supervisor is a child like others, with a fresh start each time."""

    def test_that_gives_up_is_restarted_by_its_parent(self, tree: FakeTree) -> None:
        tree.boot(group("g", worker("a"), max_restarts=0))
        session = tree.watch("g")
        tree.crash("g/a")
        assert tree.shown() == {"g": "READY", "g/a": "READY"}
        assert session.notices == [("g", 1, "shutdown")]
        assert [record.incarnation for record in tree.registry] == [2, 2]
        assert [event["id"] for event in events(tree, "gave_up")] == ["g"]

    def test_that_starts_anew_has_lost_the_children_added_later(self, tree: FakeTree) -> None:
        tree.boot(group("g", worker("a"), max_restarts=0))
        for spec in (worker("added"), group("h", worker("deep"))):
            tree.ask(tree.supervision.ask, "g", lambda request, spec=spec: ev.StartChildAsked(request, spec))
        assert len(tree.registry) == 5
        tree.crash("g/a")
        assert tree.shown() == {"g": "READY", "g/a": "READY"}

    def test_that_fails_to_restart_is_tried_again(self, tree: FakeTree) -> None:
        tree.boot(group("g", worker("a"), max_restarts=0))
        tree.launcher.script["g/a"] = ["fail"]
        tree.crash("g/a")
        assert (tree.shown(), tree.record("g").incarnation) == ({"g": "READY", "g/a": "READY"}, 3)

    def test_that_fails_to_start_says_which_child_did_it(self, tree: FakeTree) -> None:
        tree.boot()
        tree.launcher.script["g/h/a"] = ["fail"]
        spec = group("g", group("h", worker("a")))
        outcome = tree.ask(tree.supervision.ask, "", lambda request: ev.StartChildAsked(request, spec))
        assert isinstance(outcome.error, StartError)
        assert outcome.error.id == "g/h/a"
        assert tree.shown() == {}

    def test_escalation_reaches_the_root(self, tree: FakeTree) -> None:
        tree.boot(group("g", worker("a"), max_restarts=0), worker("b"), max_restarts=1)
        tree.crash("g/a")
        tree.crash("g/a")
        assert tree.exits == [True]
        assert set(tree.shown().values()) == {"FAILED"}
        assert [event["id"] for event in events(tree, "gave_up")] == ["g", "g", "root"]


def test_roots_that_ended_by_themselves_are_kept_until_they_are_up_again(tree: FakeTree) -> None:
    ended = tree.supervision._executor.outcomes.ended
    tree.boot(worker("a"), max_restarts=0)
    tree.ask(tree.supervision.start_alone, worker("x"))
    tree.crash("a")
    assert list(ended) == [""]
    tree.ask(tree.supervision.reviving.start_root)
    assert ended == {}


def test_one_that_is_killed_has_ended_with_that_reason_and_did_not_give_up(tree: FakeTree) -> None:
    tree.boot(group("g", worker("a"), shutdown=BRUTAL_KILL))
    session = tree.watch("g")
    tree.ask(tree.supervision.terminate, tree.record("g"))
    record = tree.record("g")
    assert (record.exits, record.gave_up, session.notices) == ({1: "killed"}, False, [("g", 1, "killed")])
    assert events(tree, "gave_up") == []
