"""Decisions of supervisors, carried out: what is started, killed, shown, told, and in which order."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.core import events as ev
from dspex_runtime.core.child_spec import Backoff, Shutdown
from dspex_runtime.errors import StartError
from dspex_runtime.node.registry import Record
from dspex_runtime.types import Kind, State
from helpers.fake_tree import FakeTree, group, worker


def events(tree: FakeTree, type: str) -> list[dict[str, Any]]:
    return [event for event in tree.reports.events if event["type"] == type]


class TestStarts:
    """A start ends in one of three ways, and each is shown."""

    def test_ready_is_shown_with_what_the_process_says_of_itself(self, tree: FakeTree) -> None:
        tree.launcher.script["a"] = ["hang"]
        tree.boot(worker("a"))
        assert (tree.shown(), tree.boots) == ({"a": "STARTING"}, [])
        process = tree.process("a")
        process.version, process.kind = "2", Kind.MODULE
        process.become_ready()
        record = tree.record("a")
        assert (record.state, record.version, record.kind, record.started_at is not None) == (State.READY, "2", Kind.MODULE, True)
        assert tree.boots == [None]

    def test_a_version_that_the_spec_says_is_what_is_shown(self, tree: FakeTree) -> None:
        tree.launcher.script["a"] = ["hang"]
        tree.boot(worker("a", version="1"))
        tree.process("a").version = "2"
        tree.process("a").become_ready()
        assert tree.record("a").version == "1"

    def test_ignored_is_shown_as_exited_and_the_boot_goes_on(self, tree: FakeTree) -> None:
        tree.launcher.script["a"] = ["ignore"]
        tree.boot(worker("a"), worker("b"))
        assert (tree.shown(), tree.boots) == ({"a": "EXITED", "b": "READY"}, [None])

    def test_one_that_takes_too_long_is_killed_and_named_as_such(self, tree: FakeTree) -> None:
        tree.launcher.script["a"] = ["hang"]
        tree.boot(worker("a", start_timeout_s=3.0))
        tree.advance(3.0)
        (error,) = tree.boots
        assert isinstance(error, StartError)
        assert error.reason == ("limit", "start_timeout", 3.0)
        assert tree.launcher.abandoned == ["a"]

    def test_a_restart_that_fails_is_retried_and_counted(self, tree: FakeTree) -> None:
        tree.boot(worker("a"))
        tree.launcher.script["a"] = ["fail"]
        tree.crash("a")
        assert tree.launcher.did() == ["start a", "start a", "start a"]
        record = tree.record("a")
        assert (record.state, record.incarnation, record.restarts) == (State.READY, 3, 2)
        (failed,) = events(tree, "start_error")
        assert (failed["id"], failed["supervisor"]) == ("a", "root")

    def test_a_request_for_a_child_that_ignores_is_undefined(self, tree: FakeTree) -> None:
        tree.boot()
        tree.launcher.script["a"] = ["ignore"]
        outcome = tree.ask(tree.supervision.ask, "", lambda request: ev.StartChildAsked(request, worker("a")))
        assert (outcome.came, outcome.value, outcome.error) == (1, None, None)


class TestEnds:
    """First the name is free, then the monitors know, then the supervisor decides."""

    def test_the_name_is_free_before_down_and_down_comes_before_the_restart(self, tree: FakeTree) -> None:
        tree.boot(worker("a"))
        session = tree.watch("a")
        seen: list[tuple[int, bool]] = []

        def look(record: Record) -> None:
            seen.append((len(session.notices), record.process is None or record.process.incarnation > 1))

        tree.registry.on_change.append(look)
        tree.crash("a", reason=("signal", "SEGV"))
        assert session.notices == [("a", 1, ("signal", "SEGV"))]
        assert seen
        assert all(told == 1 and is_free for told, is_free in seen)
        assert tree.record("a").exits == {1: ("signal", "SEGV")}

    def test_a_client_that_hears_down_can_use_the_name_at_once(self, tree: FakeTree, monkeypatch: pytest.MonkeyPatch) -> None:
        tree.boot(worker("a", "temporary"))
        session = tree.watch("a")
        processes: list[Any] = []
        monkeypatch.setattr(session, "down", lambda *_: processes.append(tree.record("a").process))
        tree.crash("a")
        assert processes == [None]
        assert tree.registry.get("a") is None

    @pytest.mark.parametrize(
        ("restart", "reason", "shown"),
        [
            ("permanent", "normal", {"a": "READY"}),
            ("transient", "normal", {"a": "EXITED"}),
            ("transient", "killed", {"a": "READY"}),
            ("temporary", "killed", {}),
        ],
    )
    def test_what_comes_of_an_end(self, tree: FakeTree, restart: str, reason: str, shown: dict[str, str]) -> None:
        tree.boot(worker("a", restart))
        tree.crash("a", reason=reason)
        assert tree.shown() == shown

    def test_an_end_that_comes_after_the_child_was_deleted_is_told_to_nobody_twice(self, tree: FakeTree) -> None:
        tree.boot(worker("a"))
        process = tree.process("a")
        tree.ask(tree.supervision.delete, tree.record("a"))
        process.end()
        assert tree.shown() == {}

    @pytest.mark.parametrize(
        ("strategy", "restarted"),
        [("one_for_one", {"b"}), ("rest_for_one", {"b", "c"}), ("one_for_all", {"a", "b", "c"})],
    )
    def test_a_strategy_restarts_whom_it_should(self, tree: FakeTree, strategy: str, restarted: set[str]) -> None:
        tree.boot(worker("a"), worker("b"), worker("c"), strategy=strategy)
        tree.crash("b")
        assert {record.id for record in tree.registry if record.incarnation == 2} == restarted
        assert set(tree.shown().values()) == {"READY"}

    def test_a_crash_loop_is_slowed_down(self, tree: FakeTree) -> None:
        tree.boot(worker("a", backoff=Backoff(initial_s=1.0, jitter=0.0)), max_restarts=10)
        tree.crash("a")
        tree.crash("a")
        assert tree.shown() == {"a": "BACKOFF"}
        backoff = [event for event in events(tree, "state") if event["state"] == "BACKOFF" and "due" in event]
        assert (backoff[0]["due"], backoff[0]["attempt"], backoff[0]["reason"]) == (tree.loop.now() + 1.0, 2, "killed")
        tree.advance(1.0)
        assert (tree.shown(), tree.record("a").incarnation) == ({"a": "READY"}, 3)

    def test_a_restart_that_is_due_is_cancelled_by_a_stop(self, tree: FakeTree) -> None:
        tree.boot(worker("a", backoff=Backoff(initial_s=1.0)), max_restarts=10)
        tree.crash("a")
        tree.crash("a")
        tree.ask(tree.supervision.terminate, tree.record("a"))
        tree.advance(100.0)
        assert tree.shown() == {"a": "STOPPED"}


class TestStops:
    """Asked first, killed when the time is over."""

    def test_a_stop_that_takes_too_long_ends_in_a_kill(self, tree: FakeTree) -> None:
        tree.boot(worker("a", shutdown=Shutdown(timeout_s=2.0)))
        tree.launcher.stubborn.add("a")
        outcome = tree.ask(tree.supervision.terminate, tree.record("a"))
        assert (outcome.came, tree.shown()) == (0, {"a": "STOPPING"})
        tree.advance(2.0)
        assert (outcome.came, outcome.error, tree.shown()) == (1, None, {"a": "STOPPED"})
        assert tree.launcher.did() == ["start a", "stop a", "kill a"]
        assert events(tree, "shutdown_error")[0]["reason"] == "killed"

    def test_a_start_that_is_stopped_needs_no_process_any_more(self, tree: FakeTree) -> None:
        tree.launcher.script["a"] = ["hang"]
        tree.boot(worker("a"))
        tree.supervision.shutdown(lambda: None)
        assert tree.launcher.abandoned == ["a"]

    def test_a_supervisor_is_asked_like_a_child(self, tree: FakeTree) -> None:
        tree.boot(group("g", worker("a"), worker("b")))
        session = tree.watch("g", "g/a")
        tree.ask(tree.supervision.terminate, tree.record("g"))
        assert tree.shown() == {"g": "STOPPED", "g/a": "STOPPED", "g/b": "STOPPED"}
        assert session.notices == [("g/a", 1, "shutdown"), ("g", 1, "shutdown")]

    def test_a_supervisor_that_is_stopped_while_it_starts_did_not_start(self, tree: FakeTree) -> None:
        tree.boot()
        tree.launcher.script["g/a"] = ["hang"]
        started = tree.ask(tree.supervision.ask, "", lambda request: ev.StartChildAsked(request, group("g", worker("a"))))
        tree.supervision.shutdown(lambda: None)
        tree.launcher.settle()
        assert started.came == 1
        assert started.error is not None
        assert tree.shown().get("g/a", "STOPPED") == "STOPPED"

    def test_a_stop_of_what_has_just_died_waits_for_its_end(self, tree: FakeTree) -> None:
        tree.boot(worker("a"), worker("b"), strategy="one_for_all")
        tree.process("a").end()
        tree.process("b").end()
        tree.launcher.settle()
        assert tree.shown() == {"a": "READY", "b": "READY"}


class TestReports:
    """Each transition is one event; what modules report is passed on under names of its own."""

    def test_each_transition_is_one_event(self, tree: FakeTree) -> None:
        tree.boot(worker("a"))
        tree.crash("a")
        shown = [(event["state"], event["incarnation"]) for event in events(tree, "state")]
        assert shown == [("STARTING", 1), ("READY", 1), ("STARTING", 2), ("READY", 2)]
        assert [event["reason"] for event in events(tree, "child_terminated")] == ["killed"]

    def test_a_modules_own_event_cannot_pass_for_one_of_the_runtime(self, tree: FakeTree) -> None:
        tree.boot(worker("a"))
        tree.process("a").tell(type="max_calls", id="b", seq=0, calls=3)
        event = tree.reports.events[-1]
        assert (event["type"], event["id"], event["calls"], event["id_"], event["seq_"]) == ("max_calls", "a", 3, "b", 0)
        assert event["seq"] == tree.reports.seq


def test_its_supervisor_hears_of_an_end_also_where_telling_somebody_else_fails(
    tree: FakeTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    tree.boot(worker("a"))
    monkeypatch.setattr(tree.relations.monitoring, "down", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        tree.process("a").end()
    tree.launcher.settle()
    assert (tree.shown(), tree.record("a").incarnation) == ({"a": "READY"}, 2)
