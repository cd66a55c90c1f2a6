"""One swap, step by step: what is asked of whom, and what is left when a step fails."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from dspex_runtime.errors import BusyError, CheckpointError, ConfigError, SwapError
from dspex_runtime.node.swapping import leaving, member
from dspex_runtime.osproc.board import ENDED
from dspex_runtime.types import Kind
from helpers.fake_node import server
from helpers.fake_tree import FakeProcess
from helpers.swap_play import INFO, Play

STEPS = ("snapshot", "rehearsed", "held", "packed", "prepared")
PROGRAM = {"id": "a", "module": "pkg:X"}


class TestSwap:
    """From one process to the other."""

    def test_another_process_is_the_same_incarnation(self, play: Play) -> None:
        facts = play.boot().swap()
        record, old, new = play.runtime.node.registry.get("a"), play.old["a"], play.new()
        assert record is not None
        assert (record.process, record.state.value, record.incarnation, record.restarts) == (new, "READY", 1, 0)
        assert new.pid != old.pid
        assert (facts["id"], facts["pid"], facts["incarnation"], facts["number"]) == ("a", new.pid, 1, 2)
        assert (facts["migrated"], facts["moved"]) == (True, {"channels": 2, "queued": 3, "timers": 1})
        assert old.left == [("shutdown", "swapped")]
        assert old.ended
        play.is_over()

    def test_what_is_asked_and_in_which_order(self, play: Play) -> None:
        play.boot(server("a", shutdown={"drain": 3.0, "timeout": 9.0})).begin(
            member={"migrate": b"m", "verify": {"call": "ok"}, "extra": b"e"}
        )
        assert play.snapshot() == {"kind": "before_swap", "down": None, "has_down": False, "extra": b"e"}
        assert play.rehearsed() == {"old_version": None, "migrate": b"m", "extra": b"e", "verify": {"call": "ok"}}
        assert play.info()["state"] == "SWAPPING"
        assert play.held() == {"drain_s": 3.0}
        assert play.packed() == {"down": None, "has_down": False, "extra": b"e"}
        assert play.prepared() == {}
        assert play.info()["state"] == "READY"
        assert play.served() == {"base": {}}
        phases = [(told["id"], told["phase"]) for told in play.told()]
        assert phases == [("a", phase) for phase in ("rehearsing", "verified", "draining", "moving", "done")]

    def test_a_new_one_with_a_readiness_is_asked_when_it_has_taken_over_the_state(self, play: Play) -> None:
        play.boot(PROGRAM).begin(member={"spec": {"readiness": {"call": "well", "timeout": 3}}}).to("rehearsed")
        play.rehearsed()
        assert play.info()["swap"]["phase"] == "rehearsing"
        assert play.ready() == {"method": "well", "timeout_s": 3.0}
        assert play.info()["swap"]["phase"] == "draining"
        for answer in (play.held, play.packed, play.prepared, play.served):
            answer()
        assert play.answer()["members"][0]["number"] == 2

    def test_the_new_one_has_nothing_that_is_the_old_ones_until_it_serves(self, play: Play) -> None:
        play.boot().begin().to("served")
        facts = play.new().facts
        assert (facts["rehearsal"], facts["kept"], facts["base"]) == (True, False, {})
        assert play.new().keeper is play.runtime.node.keeping

    def test_it_is_saved_as_it_was_and_as_it_is(self, play: Play) -> None:
        play.boot().swap()
        op, args, done = play.new().fd_requests.pop()
        assert (op, args) == ("checkpoint", {"kind": "swapped"})
        done(None, {"message": "the disk is full"}, None)
        assert [asked["kind"] for asked in play.runtime.keeper.of("checkpoint")] == ["before_swap"]
        assert [event["message"] for event in play.events("checkpoint_failed")] == ["the disk is full"]

    def test_a_store_that_takes_nothing_keeps_nobody_from_a_swap(self, play: Play) -> None:
        play.boot()
        del play.runtime.keeper.answers["checkpoint"]
        play.begin()
        play.snapshot()
        play.runtime.keeper.refuse(play.runtime.keeper.question("checkpoint"), CheckpointError("the disk is full"))
        for step in (play.rehearsed, play.held, play.packed, play.prepared, play.served):
            step()
        assert play.answer()["members"][0]["number"] == 2
        assert [event["message"] for event in play.events("checkpoint_failed")] == ["the disk is full"]

    def test_nobody_is_held_while_the_snapshot_is_on_its_way_to_the_disk(self, play: Play) -> None:
        play.boot()
        del play.runtime.keeper.answers["checkpoint"]
        play.begin().to("held")
        assert play.info()["state"] == "READY"
        play.runtime.keeper.answer(play.runtime.keeper.question("checkpoint"), {**INFO, "number": 1, "kind": "before_swap"})
        play.runtime.turn()
        assert play.info()["state"] == "SWAPPING"
        for step in (play.held, play.packed, play.prepared, play.served):
            step()
        assert play.answer()["members"][0]["number"] == 2

    def test_a_disk_that_does_not_answer_is_not_waited_for(self, play: Play) -> None:
        play.boot()
        del play.runtime.keeper.answers["checkpoint"]
        play.begin().to("held")
        play.runtime.loop.advance(member.STORE_WAIT_S)
        assert play.info()["state"] == "SWAPPING"
        for step in (play.held, play.packed, play.prepared, play.served):
            step()
        assert play.answer()["members"][0]["number"] == 2

    def test_the_old_one_leaves_when_the_new_one_serves(self, play: Play) -> None:
        play.boot().begin().to("served")
        assert play.old["a"].left == []
        play.served()
        assert play.old["a"].left == [("shutdown", "swapped")]

    def test_the_old_one_leaves_also_when_the_new_one_says_nothing(self, play: Play) -> None:
        play.boot().begin().to("served")
        play.runtime.loop.advance(leaving.LATEST_S)
        assert play.old["a"].left == [("shutdown", "swapped")]
        play.served()
        assert play.old["a"].left == [("shutdown", "swapped")]

    def test_info_shows_how_far_it_is(self, play: Play) -> None:
        play.boot().begin(member={"version": "2"})
        shown = play.info()["swap"]
        assert (shown["phase"], shown["to"], play.info()["state"]) == ("rehearsing", "2", "READY")
        play.to("held")
        assert play.info()["swap"]["phase"] == "draining"
        play.held()
        for step in (play.packed, play.prepared):
            step()
        assert play.info()["swap"] is None

    def test_events_tell_of_it(self, play: Play) -> None:
        play.boot().swap(member={"version": "2"})
        started, swapped = play.events("swap_started", "swapped")
        assert (started["id"], started["to"], started["incarnation"]) == ("a", "2", 1)
        assert (swapped["version"], swapped["pid"], swapped["number"]) == ("2", play.new().pid, 2)
        states = [event["state"] for event in play.events("state")][-2:]
        assert states == ["SWAPPING", "READY"]
        assert not play.events("crash_report", "child_terminated", "deleted")

    def test_figures_go_on(self, play: Play) -> None:
        play.boot()
        node = play.runtime.node
        node.keeping.note("a", {"metrics": {"calls": 5, "failures": 1, "busy_ns": 7}})
        assert node.board is not None
        old = play.runtime.process("a")
        old.slot = node.board.allocate()
        node.board.slot(old.slot).set(ENDED, 3)
        play.begin().to("served")
        assert play.served()["base"]["calls"] == 8
        assert play.info()["metrics"]["calls"] == 8

    def test_the_next_swap_begins_from_the_new_one(self, play: Play) -> None:
        play.boot().swap()
        assert play.swap()["number"] == 3
        play.is_over()


FAILURES: dict[str, tuple[str, Callable[[Play], Any], str]] = {
    "no snapshot": ("snapshot", lambda play: play.snapshot(error=ValueError("boom")), "migrate"),
    "the rehearsal": ("rehearsed", lambda play: play.rehearsed(error=ValueError("boom")), "migrate"),
    "its own word": ("rehearsed", lambda play: play.rehearsed(error=SwapError("boom", code="verify")), "verify"),
    "calls that run on": ("held", lambda play: play.held(running=2), "drain_timeout"),
    "no hold": ("held", lambda play: play.held(error=ValueError("boom")), "drain_timeout"),
    "no pack": ("packed", lambda play: play.packed(error=ValueError("boom")), "move"),
    "no preparation": ("prepared", lambda play: play.prepared(error=ValueError("boom")), "move"),
}


class TestFailure:
    """Whatever fails before the commit, the old one serves as if nothing had happened."""

    @pytest.mark.parametrize(("step", "fails", "code"), FAILURES.values(), ids=FAILURES.keys())
    def test_a_step_that_fails(self, play: Play, step: str, fails: Callable[[Play], Any], code: str) -> None:
        play.boot().begin().to(step)
        fails(play)
        error = play.error()
        assert isinstance(error, SwapError)
        assert (error.code, error.id) == (code, "a")
        assert "'a' serves on as it was" in error.message
        play.nothing_has_happened()
        (failed,) = play.events("swap_failed")
        assert (failed["id"], failed["code"]) == ("a", code)

    @pytest.mark.parametrize(
        ("answer", "why"), [({"said": False}, "returned False"), ({"error": ValueError("no index")}, "no index")]
    )
    def test_a_new_one_that_says_it_is_not_ready(self, play: Play, answer: dict[str, Any], why: str) -> None:
        play.boot(PROGRAM).begin(member={"spec": {"readiness": {"call": "well"}}}).to("rehearsed")
        play.rehearsed()
        play.ready(**answer)
        error = play.error()
        assert isinstance(error, SwapError)
        assert error.code == "verify"
        assert f"the new version of 'a': readiness call 'well': {why}; 'a' serves on" in error.message
        play.nothing_has_happened()

    @pytest.mark.parametrize("step", STEPS)
    def test_the_end_of_the_new_one(self, play: Play, step: str) -> None:
        play.boot().begin().to(step)
        play.new().end(("signal", "KILL"))
        play.runtime.turn()
        error = play.error()
        assert isinstance(error, SwapError)
        assert error.reason == ("signal", "KILL")
        play.nothing_has_happened()
        assert not play.events("crash_report")

    @pytest.mark.parametrize("step", STEPS)
    def test_the_end_of_the_old_one_is_a_crash_like_any_other(self, play: Play, step: str) -> None:
        play.boot().begin().to(step)
        play.runtime.crash("a")
        error = play.error()
        assert isinstance(error, SwapError)
        assert (error.code, error.reason) == ("old_ended", "killed")
        assert "serves on" not in error.message
        record = play.runtime.node.registry.get("a")
        assert record is not None
        assert (record.state.value, record.incarnation, record.restarts) == ("READY", 2, 1)
        assert play.new().ended
        play.is_over()

    @pytest.mark.parametrize("step", STEPS)
    def test_whoever_asked_gives_it_up(self, play: Play, step: str) -> None:
        play.boot()
        client = play.runtime.connect()
        play.begin(client=client).to(step)
        client.close()
        play.runtime.turn()
        play.nothing_has_happened()

    @pytest.mark.parametrize("step", STEPS)
    def test_somebody_aborts_it(self, play: Play, step: str) -> None:
        play.boot().begin().to(step)
        assert play.runtime.connect().ask("abort_swap", id="a") is True
        play.runtime.turn()
        assert getattr(play.error(), "code", None) == "aborted"
        play.nothing_has_happened()
        assert play.runtime.connect().ask("abort_swap", id="a") is False

    @pytest.mark.parametrize("step", STEPS)
    def test_it_takes_too_long(self, play: Play, step: str) -> None:
        play.boot(server("a", shutdown={"drain": 600.0, "timeout": 600.0})).begin(timeout=5.0).to(step)
        play.runtime.advance(5.1)
        assert getattr(play.error(), "code", None) == "timeout"
        play.nothing_has_happened()

    @pytest.mark.parametrize("step", STEPS)
    @pytest.mark.parametrize("op", ["stop", "restart", "delete"])
    def test_a_stop_goes_first(self, play: Play, step: str, op: str) -> None:
        play.boot().begin().to(step)
        play.runtime.connect().begin(op, id="a")
        play.runtime.turn()
        assert getattr(play.error(), "code", None) == "old_ended"
        assert play.new().ended
        play.is_over()

    @pytest.mark.parametrize("step", STEPS)
    def test_a_supervisors_sweep_goes_first(self, play: Play, step: str) -> None:
        play.boot(server("a"), server("b"), strategy="one_for_all").begin().to(step)
        play.runtime.crash("b")
        assert getattr(play.error(), "code", None) == "old_ended"
        assert play.runtime.shown() == {"a": "READY", "b": "READY"}
        assert play.new().ended
        play.is_over()

    @pytest.mark.parametrize("step", STEPS)
    def test_the_end_of_the_runtime_goes_first(self, play: Play, step: str) -> None:
        play.boot().begin().to(step)
        play.runtime.node.shutdown()
        play.runtime.turn()
        play.runtime.turn()
        assert play.runtime.node.state == "stopped"
        assert play.new().ended
        play.is_over()

    def test_an_answer_of_a_process_that_is_gone_commits_nothing(self, play: Play) -> None:
        play.boot().begin().to("prepared")
        FakeProcess.zombies.add(play.new().pid or 0)  # it has died, and nobody has said so yet
        play.prepared()
        assert play.runtime.node.registry.resolve("a").process is play.old["a"]
        assert not play.is_answered
        play.new().end(("signal", "SEGV"))
        play.runtime.turn()
        error = play.error()
        assert isinstance(error, SwapError)
        assert (error.code, error.reason) == ("move", ("signal", "SEGV"))
        play.nothing_has_happened()

    def test_when_the_old_one_dies_while_it_moves_that_is_why_whatever_the_new_one_says_of_the_pipe(self, play: Play) -> None:
        play.boot().begin().to("packed")
        FakeProcess.zombies.add(play.old["a"].pid or 0)
        play.prepared(error=SwapError("the pipe broke in the middle of a frame", code="move"))
        assert not play.is_answered
        play.runtime.crash("a")
        error = play.error()
        assert isinstance(error, SwapError)
        assert (error.code, error.reason) == ("old_ended", "killed")
        assert play.new().ended
        play.is_over()

    def test_a_new_one_that_does_not_start_says_why(self, play: Play) -> None:
        play.boot()
        play.runtime.launcher.script["a beside"] = ["fail"]
        play.begin()
        play.runtime.turn()
        error = play.error()
        assert isinstance(error, SwapError)
        assert error.code == "start"
        assert error.remote_traceback is not None
        assert "Traceback" in error.remote_traceback
        play.old["a"].fd_requests.clear()
        play.nothing_has_happened()

    def test_a_new_one_that_is_not_ready_in_time_is_killed(self, play: Play) -> None:
        play.boot(server("a", start_timeout=3.0))
        play.runtime.launcher.script["a beside"] = ["hang"]
        play.begin()
        play.runtime.advance(3.1)
        error = play.error()
        assert isinstance(error, SwapError)
        assert (error.code, error.reason) == ("start", ("limit", "start_timeout", 3.0))
        assert "a" in play.runtime.launcher.abandoned
        play.nothing_has_happened()

    def test_a_new_one_that_asks_to_be_left_out(self, play: Play) -> None:
        play.boot()
        play.runtime.launcher.script["a beside"] = ["ignore"]
        play.begin()
        play.runtime.turn()
        assert "asks to be left out" in play.error().message
        play.nothing_has_happened()

    def test_a_module_is_no_server(self, play: Play) -> None:
        play.boot()
        play.runtime.launcher.script["a beside"] = ["hang"]
        play.begin()
        play.new().kind = Kind.MODULE
        play.new().become_ready()
        play.runtime.turn()
        assert getattr(play.error(), "code", None) == "kind"
        play.nothing_has_happened()

    def test_the_late_snapshot_of_a_swap_that_was_given_up_is_let_go(self, play: Play) -> None:
        play.boot().begin()
        play.runtime.owner.ask("abort_swap", id="a")
        before = len(os.listdir("/proc/self/fd"))
        play.snapshot()
        assert len(os.listdir("/proc/self/fd")) == before
        assert not play.runtime.keeper.of("checkpoint")
        play.nothing_has_happened()

    @pytest.mark.parametrize(
        ("error", "said"), [(OSError(24, "Too many open files"), "Too many"), (AssertionError(), "AssertionError")]
    )
    def test_what_the_runtime_itself_cannot_do_holds_nobody_and_is_told(
        self, play: Play, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
    ) -> None:
        def none_left() -> Any:
            raise error

        play.boot().begin().to("held")
        monkeypatch.setattr(member, "pair", none_left)
        play.held()
        assert said in play.error().message
        play.nothing_has_happened()

    def test_the_kill_of_its_supervisor_goes_first(self, play: Play) -> None:
        group = {"id": "g", "backoff": "none", "supervisor": {"children": [server("a")]}}
        play.boot(group).begin("g/a").to("held", "g/a")
        play.runtime.connect().ask("exit", id="g", reason="kill")
        play.runtime.turn()
        assert getattr(play.error(), "code", None) == "old_ended"
        assert play.runtime.shown() == {"g": "READY", "g/a": "READY"}
        assert play.new("g/a").ended
        play.is_over()


class TestAfter:
    """The commit is the point of no return."""

    def test_the_crash_of_the_new_one_is_a_crash_of_the_new_version(self, play: Play) -> None:
        play.boot().begin(member={"spec": {"server": "pkg.mod:New"}, "version": "2"}).to("served")
        play.new().end(("signal", "SEGV"))
        play.runtime.turn()
        record = play.runtime.node.registry.get("a")
        assert record is not None
        assert (record.incarnation, record.restarts, record.version) == (2, 1, "2")
        assert record.process is not None
        assert record.process.launch.target == "pkg.mod:New"
        assert play.events("crash_report")

    def test_one_that_cannot_take_over_is_restarted_and_its_swap_an_error(self, play: Play) -> None:
        play.boot().begin().to("served")
        play.served(error=ValueError("boom"))
        play.runtime.turn()
        assert "its new version could not take over and is restarted: boom" in play.error().message
        assert play.runtime.shown() == {"a": "READY"}
        play.is_over()

    def test_the_old_one_is_killed_when_its_time_is_over(self, play: Play) -> None:
        play.boot(server("a", shutdown=4.0))
        play.runtime.launcher.stubborn.add("a")
        play.swap()
        assert not play.old["a"].ended
        play.runtime.advance(4.1)
        assert play.old["a"].ended
        assert play.runtime.shown() == {"a": "READY"}
        assert [event["reason"] for event in play.events("swapped_out")] == ["killed"]
        assert not play.events("crash_report")
        play.is_over()

    def test_brutal_kill_is_brutal(self, play: Play) -> None:
        play.boot(server("a", shutdown="brutal_kill")).swap()
        assert play.old["a"].left == []
        assert play.old["a"].ended

    def test_the_runtime_ends_when_the_old_one_has(self, play: Play) -> None:
        play.boot(server("a", shutdown=4.0))
        play.runtime.launcher.stubborn.add("a")
        play.swap()
        play.runtime.launcher.stubborn.clear()
        play.runtime.node.shutdown()
        play.runtime.turn()
        assert play.runtime.node.state == "stopping"
        play.runtime.advance(4.1)
        assert play.runtime.node.state == "stopped"

    def test_a_client_that_goes_after_the_commit_changes_nothing(self, play: Play) -> None:
        play.boot()
        client = play.runtime.connect()
        play.begin(client=client).to("served")
        client.close()
        play.runtime.turn()
        play.served()
        assert play.runtime.node.registry.resolve("a").process is play.new()
        play.is_over()

    def test_the_supervisor_of_its_supervisor_starts_the_new_version(self, play: Play) -> None:
        group = {"id": "g", "backoff": "none", "supervisor": {"max_restarts": 0, "children": [server("a")]}}
        play.boot(group, max_restarts=5).begin("g/a", member={"spec": {"server": "pkg.mod:New"}}).to("", "g/a")
        play.new("g/a").end()
        play.runtime.turn()
        process = play.runtime.node.registry.resolve("g/a").process
        assert process is not None
        assert process is not play.new("g/a")
        assert process.launch.target == "pkg.mod:New"

    def test_a_child_of_a_dynamic_supervisor(self, play: Play) -> None:
        play.boot({"id": "pool", "supervisor": {"dynamic": True, "extra_arguments": [1], "children": []}})
        play.runtime.owner.ask("start_child", supervisor="pool", spec=server("a", args=[2]))
        play.begin("pool/a", member={"spec": {"server": "pkg.mod:New"}}).to("", "pool/a")
        assert play.new("pool/a").launch.args == (1, 2)
        play.new("pool/a").end()
        play.runtime.turn()
        process = play.runtime.node.registry.resolve("pool/a").process
        assert process is not None
        assert (process.launch.target, process.launch.args) == ("pkg.mod:New", (1, 2))

    def test_a_child_alone_is_started_again_as_what_it_became(self, play: Play) -> None:
        play.boot()
        play.runtime.owner.begin("start", spec=server("b"))
        play.runtime.turn()
        play.runtime.owner.heard()
        play.begin("b", member={"spec": {"server": "pkg.mod:New"}}).to("", "b")
        for op in ("stop", "start"):
            play.runtime.owner.begin(op, **({"id": "b"} if op == "stop" else {"spec": {"id": "b"}}))
            play.runtime.turn()
        process = play.runtime.node.registry.resolve("b").process
        assert process is not None
        assert process.launch.target == "pkg.mod:New"


class TestSeveral:
    """All or none."""

    def test_callers_are_held_first_and_all_are_committed_at_once(self, play: Play) -> None:
        play.boot(server("a"), server("b")).begin("a", "b")
        for id in ("a", "b"):
            play.snapshot(id)
        play.rehearsed("b")
        assert "hold" not in play.old["a"].asked
        play.rehearsed("a")
        assert ("hold" in play.old["a"].asked, "hold" in play.old["b"].asked) == (True, False)
        play.held("a")
        play.held("b")
        for id in ("a", "b"):
            play.packed(id)
        play.prepared("a")
        assert play.runtime.node.registry.resolve("a").process is play.old["a"]
        play.prepared("b")
        for id in ("b", "a"):
            assert play.runtime.node.registry.resolve(id).process is play.new(id)
            play.served(id)
        assert [facts["id"] for facts in play.answer()["members"]] == ["a", "b"]

    @pytest.mark.parametrize("step", STEPS)
    def test_the_end_of_one_is_the_end_of_all(self, play: Play, step: str) -> None:
        play.boot(server("a"), server("b")).begin("a", "b")
        for name in STEPS:
            if name == step:
                break
            for id in ("a", "b"):
                getattr(play, name)(id)
        play.new("b").end()
        play.runtime.turn()
        assert play.error().id == "b"
        assert "all of them serve on as they were" in play.error().message
        play.nothing_has_happened("a", "b")


class TestRefusals:
    """What is no swap is not begun."""

    def test_one_at_a_time(self, play: Play) -> None:
        play.boot().begin()
        with pytest.raises(SwapError, match="'a' is being swapped already") as caught:
            play.runtime.connect().ask("swap", members=[{"id": "a"}], timeout=1.0)
        assert caught.value.code == "busy"

    def test_nobody_twice(self, play: Play) -> None:
        with pytest.raises(ConfigError, match="each member once"):
            play.boot().runtime.owner.ask("swap", members=[{"id": "a"}, {"id": "a"}], timeout=1.0)

    def test_nobody_at_all(self, play: Play) -> None:
        with pytest.raises(ConfigError, match="at least one member"):
            play.boot().runtime.owner.ask("swap", members=[], timeout=1.0)

    def test_a_supervisor_has_no_code(self, play: Play) -> None:
        play.boot({"id": "g", "supervisor": {"children": []}})
        with pytest.raises(SwapError, match="'g' is a supervisor") as caught:
            play.runtime.owner.ask("swap", members=[{"id": "g"}], timeout=1.0)
        assert caught.value.code == "supervisor"

    def test_only_what_serves(self, play: Play) -> None:
        play.boot()
        play.runtime.owner.begin("stop", id="a")
        play.runtime.turn()
        play.runtime.owner.heard()
        with pytest.raises(SwapError, match="'a' is STOPPED: only what serves can be swapped") as caught:
            play.runtime.owner.ask("swap", members=[{"id": "a"}], timeout=1.0)
        assert caught.value.code == "not_running"
        assert "rt.start('a')" in str(caught.value.hint)

    def test_what_restarts_is_waited_for_by_others(self, play: Play) -> None:
        play.boot()
        play.runtime.launcher.script["a"] = ["hang"]
        play.runtime.crash("a")
        with pytest.raises(SwapError, match="'a' is STARTING") as caught:
            play.runtime.owner.ask("swap", members=[{"id": "a"}], timeout=1.0)
        assert "rt.wait(['a'])" in str(caught.value.hint)

    def test_a_compile_and_a_swap_exclude_one_another(self, play: Play) -> None:
        play.boot({"id": "a", "module": "pkg.mod:Name", "backoff": "none"})
        play.runtime.node.compiles.add("a")
        with pytest.raises(SwapError, match="'a' is being compiled") as caught:
            play.runtime.owner.ask("swap", members=[{"id": "a"}], timeout=1.0)
        assert caught.value.code == "busy"
        play.runtime.node.compiles.clear()
        play.begin()
        with pytest.raises(BusyError, match="'a' is being swapped"):
            play.runtime.connect().ask("compile", id="a", job=b"")
