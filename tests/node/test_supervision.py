"""The tree as a whole: asked, stopped, given up and brought back; children started alone beside it."""

from __future__ import annotations

import pytest

from dspex_runtime.core import events as ev
from dspex_runtime.core.child_spec import BRUTAL_KILL
from dspex_runtime.errors import NoProcessError, StartError, SupervisorError
from dspex_runtime.types import ChildId, State
from helpers.fake_tree import FakeTree, Outcome, group, worker


def test_a_tree_boots_in_order_and_stops_in_reverse(tree: FakeTree) -> None:
    tree.boot(worker("a"), group("g", worker("b"), worker("c")), worker("d"))
    assert tree.boots == [None]
    assert set(tree.shown().values()) == {"READY"}
    tree.supervision.shutdown(lambda: tree.launcher.log.append("done"))
    tree.launcher.settle()
    starts, stops = ["a", "g/b", "g/c", "d"], ["d", "g/c", "g/b", "a"]
    assert tree.launcher.did() == [*(f"start {id}" for id in starts), *(f"stop {id}" for id in stops), "done"]


def test_forks_are_announced_ahead_of_the_starts(tree: FakeTree) -> None:
    tree.boot(worker("a"), group("g", worker("b"), worker("c")), worker("d"))
    assert tree.launcher.announced == [2, -1, 2, -1, -1, 0, -1, 0]
    assert sum(tree.launcher.announced) == 0


def test_forks_that_a_failed_boot_no_longer_needs_are_taken_back(tree: FakeTree) -> None:
    tree.launcher.script["b"] = ["fail"]
    tree.boot(worker("a"), worker("b"), worker("c"))
    assert sum(tree.launcher.announced) == 0


def test_a_boot_that_fails_tells_why_and_stops_what_was_started(tree: FakeTree) -> None:
    tree.launcher.script["g/b"] = ["fail"]
    tree.boot(worker("a"), group("g", worker("b")))
    (error,) = tree.boots
    assert isinstance(error, StartError)
    assert (error.id, error.reason) == ("g/b", ("error", "ValueError", "no", "Traceback ..."))
    assert error.remote_traceback is not None
    assert "ValueError: no" in error.remote_traceback
    assert tree.launcher.did() == ["start a", "start g/b", "stop a"]


def test_stopping_an_empty_house_is_done_at_once(tree: FakeTree) -> None:
    told: list[str] = []
    tree.supervision.shutdown(lambda: told.append("done"))
    assert told == ["done"]


def test_shutdown_waits_for_the_slowest_tree(tree: FakeTree) -> None:
    tree.boot(worker("a"))
    tree.ask(tree.supervision.start_alone, worker("alone"))
    tree.launcher.stubborn.add("alone")
    told: list[str] = []
    tree.supervision.shutdown(lambda: told.append("done"))
    tree.launcher.settle()
    assert (told, tree.process("a").ended) == ([], True)
    tree.process("alone").end("shutdown")
    assert told == ["done"]


class TestAsking:
    """Requests reach the supervisor they are for, and each is answered once."""

    def test_a_stopped_child_stays_down_until_it_is_started(self, tree: FakeTree) -> None:
        tree.boot(worker("a"))
        record = tree.record("a")
        assert tree.ask(tree.supervision.terminate, record).came == 1
        assert (record.state, record.process) == (State.STOPPED, None)
        revived = tree.ask(tree.supervision.reviving.start, record)
        assert (revived.value, revived.error, record.state, record.incarnation) == ("a", None, State.READY, 2)

    def test_a_cycle_stops_and_starts_without_counting(self, tree: FakeTree) -> None:
        tree.boot(worker("a"), max_restarts=0)
        assert tree.ask(tree.supervision.cycle, tree.record("a")).value == "a"
        assert tree.launcher.did() == ["start a", "stop a", "start a"]
        assert tree.record("a").restarts == 0

    def test_a_deleted_child_is_forgotten(self, tree: FakeTree) -> None:
        tree.boot(worker("a"))
        assert tree.ask(tree.supervision.delete, tree.record("a")).error is None
        assert tree.registry.get("a") is None

    def test_a_temporary_child_is_deleted_by_its_stop(self, tree: FakeTree) -> None:
        tree.boot(worker("a", "temporary"))
        deleted = tree.ask(tree.supervision.delete, tree.record("a"))
        assert (deleted.came, deleted.error, tree.registry.get("a")) == (1, None, None)

    def test_a_deleted_supervisor_takes_the_records_below_it(self, tree: FakeTree) -> None:
        tree.boot(group("g", worker("a"), group("h", worker("b"))))
        assert tree.ask(tree.supervision.delete, tree.record("g")).error is None
        assert tree.shown() == {}

    def test_a_start_that_fails_names_the_child(self, tree: FakeTree) -> None:
        tree.boot(group("g"))
        for path, full_id in (("", "x"), ("g", "g/x")):
            tree.launcher.script[full_id] = ["fail"]
            outcome = tree.ask(tree.supervision.ask, path, lambda request: ev.StartChildAsked(request, worker("x")))
            assert isinstance(outcome.error, StartError)
            assert outcome.error.id == full_id
            assert f"{full_id!r} did not start: ValueError: no" in str(outcome.error)
            assert tree.registry.get(full_id) is None

    def test_a_supervisor_that_does_not_run_takes_no_requests(self, tree: FakeTree) -> None:
        tree.boot(group("g", worker("a")))
        tree.ask(tree.supervision.terminate, tree.record("g"))
        outcome = tree.ask(tree.supervision.ask, "g", ev.WhichChildrenAsked)
        assert isinstance(outcome.error, NoProcessError)
        cycled = tree.ask(tree.supervision.cycle, tree.record("g/a"))
        assert isinstance(cycled.error, NoProcessError)

    def test_a_stopped_supervisor_that_was_started_alone_takes_no_requests_either(self, tree: FakeTree) -> None:
        tree.boot()
        tree.ask(tree.supervision.start_alone, group("g", worker("a")))
        tree.ask(tree.supervision.terminate, tree.record("g"))
        outcome = tree.ask(tree.supervision.ask, "g", lambda request: ev.StartChildAsked(request, worker("x")))
        assert isinstance(outcome.error, NoProcessError)

    def test_a_refusal_carries_otps_word(self, tree: FakeTree) -> None:
        tree.boot(group("g", worker("a")))
        outcome = tree.ask(tree.supervision.ask, "g", lambda request: ev.DeleteChildAsked(request, ChildId("a")))
        assert isinstance(outcome.error, SupervisorError)
        assert (outcome.error.code, outcome.error.id) == ("running", "g")

    def test_who_waits_for_a_supervisor_that_is_killed_is_answered(self, tree: FakeTree) -> None:
        tree.boot(group("g", worker("a"), shutdown=BRUTAL_KILL))
        tree.launcher.script["g/x"] = ["hang"]
        waiting, behind = Outcome(), Outcome()
        tree.supervision.ask("g", lambda request: ev.StartChildAsked(request, worker("x")), waiting)
        tree.supervision.ask("g", ev.WhichChildrenAsked, behind)
        assert (waiting.came, behind.came) == (0, 0)
        assert tree.ask(tree.supervision.terminate, tree.record("g")).error is None
        assert [(outcome.came, type(outcome.error)) for outcome in (waiting, behind)] == [(1, NoProcessError)] * 2


class TestAlone:
    """A child started alone has a supervisor, a budget and an end of its own."""

    def test_answers_with_its_id_when_it_is_ready(self, tree: FakeTree) -> None:
        started = Outcome()
        tree.boot().supervision.start_alone(worker("x"), started)
        assert started.came == 0
        tree.launcher.settle()
        assert (started.value, started.error, tree.shown()) == ("x", None, {"x": "READY"})

    def test_that_fails_to_start_leaves_nothing(self, tree: FakeTree) -> None:
        tree.launcher.script["x"] = ["fail"]
        outcome = tree.boot().ask(tree.supervision.start_alone, worker("x"))
        assert isinstance(outcome.error, StartError)
        assert tree.shown() == {}
        assert tree.ask(tree.supervision.start_alone, worker("x")).value == "x"

    @pytest.mark.parametrize(("restart", "left"), [("permanent", {"x": "EXITED"}), ("temporary", {})])
    def test_that_ignores_its_start_is_undefined(self, tree: FakeTree, restart: str, left: dict[str, str]) -> None:
        tree.launcher.script["x"] = ["ignore"]
        outcome = tree.boot().ask(tree.supervision.start_alone, worker("x", restart))
        assert (outcome.came, outcome.value, outcome.error, tree.shown()) == (1, None, None, left)

    def test_that_gave_up_fails_alone_and_is_started_stopped_and_deleted_as_others(self, tree: FakeTree) -> None:
        tree.boot(worker("a"))
        tree.ask(tree.supervision.start_alone, worker("x"))
        for _ in range(4):
            tree.crash("x")
        assert tree.shown() == {"a": "READY", "x": "FAILED"}
        x = tree.record("x")
        assert tree.ask(tree.supervision.terminate, x).error is None
        assert tree.ask(tree.supervision.reviving.start, x).value == "x"
        assert tree.shown() == {"a": "READY", "x": "READY"}
        for _ in range(4):
            tree.crash("x")
        assert tree.ask(tree.supervision.delete, x).error is None
        assert tree.shown() == {"a": "READY"}
        tree.ask(tree.supervision.ask, "", lambda request: ev.StartChildAsked(request, worker("x")))
        assert tree.ask(tree.supervision.terminate, tree.record("x")).error is None
        assert tree.shown() == {"a": "READY", "x": "STOPPED"}

    @pytest.mark.parametrize("how", ["deleted", "temporary and ended"])
    def test_takes_its_supervisor_with_it(self, tree: FakeTree, how: str) -> None:
        tree.boot()
        tree.ask(tree.supervision.start_alone, worker("x", "permanent" if how == "deleted" else "temporary"))
        if how == "deleted":
            assert tree.ask(tree.supervision.delete, tree.record("x")).came == 1
        else:
            tree.crash("x")
        assert tree.shown() == {}
        assert tree.supervision.node_of("@x") is None

    def test_outlives_the_root(self, tree: FakeTree) -> None:
        tree.boot(worker("a"), max_restarts=0)
        tree.ask(tree.supervision.start_alone, worker("x"))
        tree.crash("a")
        assert tree.shown() == {"a": "FAILED", "x": "READY"}


class TestGivenUp:
    """Crashed is never terminal: what failed is shown, and can be started."""

    def test_everything_below_is_shown_as_failed(self, tree: FakeTree) -> None:
        tree.boot(group("g", worker("a"), worker("b"), group("h", worker("c")), restart="transient", max_restarts=0), worker("d"))
        tree.crash("g/a")
        assert tree.shown() == {"g": "FAILED", "g/a": "FAILED", "g/b": "FAILED", "g/h": "FAILED", "g/h/c": "FAILED", "d": "READY"}
        assert tree.launcher.did()[-2:] == ["stop g/h/c", "stop g/b"]

    def test_a_child_of_a_failed_supervisor_can_be_forgotten(self, tree: FakeTree) -> None:
        tree.boot(group("g", worker("a"), restart="transient", max_restarts=0))
        tree.crash("g/a")
        assert tree.ask(tree.supervision.delete, tree.record("g/a")).came == 1
        assert tree.shown() == {"g": "FAILED"}
