"""A supervisor that is killed takes everything below with it; what a signal ends is, to its supervisor, a child that ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dspex_runtime.core import events as ev
from dspex_runtime.core.child_spec import BRUTAL_KILL, Backoff, Shutdown
from dspex_runtime.errors import NoProcessError, StartError
from dspex_runtime.node.registry import Record, Registry
from helpers.fake_tree import FakeTree, group, worker


class TestBrutalKill:
    """Its end is told once, when the last process is dead."""

    @pytest.fixture
    def doomed(self, tree: FakeTree) -> FakeTree:
        nested = group("h", worker("c"), group("i", worker("d")), group("empty"))
        tree.boot(worker("first"), group("g", worker("a"), worker("b"), nested, shutdown=BRUTAL_KILL))
        tree.launcher.did()
        return tree

    def test_nothing_below_is_asked(self, doomed: FakeTree) -> None:
        outcome = doomed.ask(doomed.supervision.terminate, doomed.record("g"))
        assert outcome.came == 1
        assert sorted(doomed.launcher.did()) == ["kill g/a", "kill g/b", "kill g/h/c", "kill g/h/i/d"]
        assert sorted(doomed.launcher.abandoned) == ["g/a", "g/b", "g/h/c", "g/h/i/d"]

    def test_its_end_waits_for_the_last_process_and_comes_once(self, doomed: FakeTree) -> None:
        doomed.launcher.undying.add("g/h/i/d")
        session = doomed.watch("g", "g/h", "g/h/i", "g/h/empty", "g/a")
        outcome = doomed.ask(doomed.supervision.terminate, doomed.record("g"))
        assert outcome.came == 0
        assert [id for id, _, _ in session.notices] == ["g/h/empty", "g/a"]
        doomed.process("g/h/i/d").end()
        assert outcome.came == 1
        assert session.notices[2:] == [("g/h/i", 1, "killed"), ("g/h", 1, "killed"), ("g", 1, "killed")]

    def test_everything_below_is_shown_as_stopped(self, doomed: FakeTree) -> None:
        doomed.ask(doomed.supervision.terminate, doomed.record("g"))
        assert doomed.shown() == {
            "first": "READY",
            **dict.fromkeys(["g", "g/a", "g/b", "g/h", "g/h/c", "g/h/i", "g/h/i/d", "g/h/empty"], "STOPPED"),
        }

    def test_who_asks_it_for_something_meanwhile_is_told_that_it_is_gone(self, doomed: FakeTree) -> None:
        doomed.launcher.undying.add("g/b")
        stopped = doomed.ask(doomed.supervision.terminate, doomed.record("g"))
        doomed.launcher.did()
        started = doomed.ask(doomed.supervision.ask, "g", lambda request: ev.StartChildAsked(request, worker("late")))
        assert (stopped.came, started.came) == (0, 0)
        doomed.process("g/b").end()
        assert (stopped.came, type(started.error)) == (1, NoProcessError)
        assert doomed.launcher.did() == []

    def test_it_can_be_started_again(self, doomed: FakeTree) -> None:
        doomed.ask(doomed.supervision.terminate, doomed.record("g"))
        assert doomed.ask(doomed.supervision.reviving.start, doomed.record("g")).error is None
        assert set(doomed.shown().values()) == {"READY"}

    def test_without_anything_below_it_is_gone_at_once(self, tree: FakeTree) -> None:
        tree.boot(group("g", shutdown=BRUTAL_KILL))
        assert tree.ask(tree.supervision.terminate, tree.record("g")).came == 1
        assert tree.shown() == {"g": "STOPPED"}

    def test_a_restart_that_was_due_below_is_not_made(self, tree: FakeTree) -> None:
        child = worker("a", backoff=Backoff(initial_s=1.0))
        tree.boot(group("g", child, worker("b"), shutdown=BRUTAL_KILL, max_restarts=10))
        tree.crash("g/a")
        tree.crash("g/a")
        tree.ask(tree.supervision.terminate, tree.record("g"))
        tree.advance(100.0)
        assert tree.shown() == dict.fromkeys(["g", "g/a", "g/b"], "STOPPED")

    def test_a_start_that_takes_too_long_kills_all_that_was_started_below(self, tree: FakeTree) -> None:
        tree.boot()
        tree.launcher.script["g/b"] = ["hang"]
        spec = group("g", worker("a"), worker("b"), start_timeout_s=3.0)
        outcome = tree.ask(tree.supervision.ask, "", lambda request: ev.StartChildAsked(request, spec))
        tree.advance(3.0)
        assert isinstance(outcome.error, StartError)
        assert outcome.error.reason == ("limit", "start_timeout", 3.0)
        assert tree.shown() == {}

    @pytest.mark.parametrize("pools", [1, 3])
    def test_what_it_costs_to_note_one_death_does_not_grow_with_the_tree(
        self, tree: FakeTree, monkeypatch: pytest.MonkeyPatch, pools: int
    ) -> None:
        """Nobody walks through the registry for each process that dies; before, n deaths looked at n records each."""
        walks: list[Any] = []

        def walk(registry: Registry) -> Iterator[Record]:
            walks.append(registry)
            return iter(registry._records.values())

        below = [group(f"p{n}", *(worker(f"c{m}") for m in range(20))) for n in range(pools)]
        tree.boot(group("g", *below, shutdown=BRUTAL_KILL))
        (node,) = [tree.supervision.node_of("g")]
        assert node is not None
        assert [len(pool.processes) for pool in node.below] == [20] * pools
        monkeypatch.setattr(Registry, "__iter__", walk)
        assert tree.ask(tree.supervision.terminate, tree.record("g")).came == 1
        assert len(walks) == 1  # when all of it is shown as stopped
        assert not any(pool.processes for pool in node.below)


class TestSignals:
    """Exit signals of links and of `exit()`."""

    def test_a_process_is_asked_first_and_killed_when_its_time_is_over(self, tree: FakeTree) -> None:
        tree.boot(worker("a", "temporary", shutdown=Shutdown(timeout_s=2.0)))
        tree.launcher.stubborn.add("a")
        tree.supervision.end(tree.record("a"), "broken", "b")
        tree.advance(1.9)
        assert tree.launcher.did() == ["start a", "stop a"]
        tree.advance(0.1)
        assert tree.launcher.did() == ["kill a"]

    def test_a_brutal_one_is_killed_at_once(self, tree: FakeTree) -> None:
        tree.boot(worker("a", "temporary", shutdown=BRUTAL_KILL))
        tree.launcher.did()
        tree.supervision.end(tree.record("a"), "broken", "b")
        assert tree.launcher.did() == ["kill a"]
        (event,) = [event for event in tree.reports.events if event["type"] == "exit_signal"]
        assert (event["id"], event["incarnation"], event["reason"], event["sender"]) == ("a", 1, "broken", "b")

    def test_its_supervisor_restarts_it_as_policy_says(self, tree: FakeTree) -> None:
        tree.boot(worker("a"), worker("t", "transient"))
        tree.supervision.end(tree.record("a"), "shutdown", "b")
        tree.supervision.end(tree.record("t"), "shutdown", "b")
        tree.launcher.settle()
        assert tree.shown() == {"a": "READY", "t": "EXITED"}
        assert tree.record("a").incarnation == 2

    def test_a_supervisor_is_killed_with_all_below_and_restarted(self, tree: FakeTree) -> None:
        tree.boot(group("g", worker("a"), worker("b")))
        tree.launcher.did()
        tree.supervision.kill(tree.record("g"), "killed", "b")
        tree.supervision.kill(tree.record("g"), "killed", "c")  # it is dying: once is enough
        tree.launcher.settle()
        assert tree.launcher.did() == ["kill g/a", "kill g/b", "start g/a", "start g/b"]
        assert (set(tree.shown().values()), tree.record("g").incarnation) == ({"READY"}, 2)
