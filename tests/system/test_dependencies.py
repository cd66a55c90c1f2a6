"""What becomes of those that depend on what is down: in real processes, killed as nobody would like it."""

from __future__ import annotations

import itertools
import os
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dspy
import pytest

import dspex_runtime as dx
from helpers.system import FOLDER, Start
from helpers.waiting import wait_until

pytestmark = pytest.mark.process

PROGRAMS = FOLDER / "programs_dependencies.py"
LM = {"class": "dspex_runtime.testing:DummyLM", "args": {"answers": {"degraded": {"answer": "less"}, "": {"answer": "more"}}}}
MODULES = FOLDER / "programs_degrading.py"


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Where starts are noted."""
    return tmp_path / "starts"


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """While it is there, what starts behind it does."""
    path = tmp_path / "gate"
    path.touch()
    return path


def server(id: str, needs: Any = None, name: str = "Server", **keys: Any) -> dict[str, Any]:
    return {"id": id, "server": f"{PROGRAMS}:{name}", "backoff": "none", **keys, **({} if needs is None else {"depends_on": needs})}


def module(id: str, needs: Any = None, name: str = "Plain", **keys: Any) -> dict[str, Any]:
    return {"id": id, "module": f"{MODULES}:{name}", "backoff": "none", **keys, **({} if needs is None else {"depends_on": needs})}


def apart(child: dict[str, Any]) -> dict[str, Any]:
    """Return a child under a supervisor of its own: while that waits for its start, the others' end is dealt with."""
    return {"id": "apart", "supervisor": {"max_restarts": 1000, "children": [child]}}


def behind(gate: Path, journal: Path | None = None) -> dict[str, Any]:
    """Return the arguments of one that starts once `gate` is there."""
    return {"gate": str(gate), **({} if journal is None else {"journal": str(journal)})}


def state(rt: dx.Runtime, id: str) -> str:
    return rt.info(id).state


def take_down(rt: dx.Runtime, id: str, gate: Path) -> None:
    """Kill a child that starts again once its gate is there."""
    gate.unlink()
    rt.kill(id)
    rt.wait([id], "starting")


def told(rt: dx.Runtime, *types: str) -> list[dict[str, Any]]:
    """Return what was told so far."""
    with rt.events(since=0, follow=False) as events:
        return [event for event in events if event["type"] in types]


def starts(journal: Path) -> list[str]:
    return journal.read_text().split()


def queued(rt: dx.Runtime, id: str) -> int:
    return int(rt.info(id).metrics["queued"])


class TestWait:
    """Calls park until what is needed is back, or their deadline."""

    def test_calls_and_casts_park_until_it_is_back_and_nothing_else_does(self, shared: Start, gate: Path) -> None:
        rt = shared(server("y", args=behind(gate)), server("x", ["y"]))
        x = rt.server("x")
        assert x.call(1) == ["x", 1]
        take_down(rt, "y", gate)
        rt.wait(["x"], "degraded")
        with ThreadPoolExecutor(1) as pool:
            x.cast("cast")
            answer = pool.submit(x.call, 2)
            wait_until(lambda: queued(rt, "x") == 2)
            assert x.get_state() == []  # what is asked of it as a system message is answered
            assert rt.info("x").waiting_for == ["y"]
            gate.touch()
            assert answer.result(20) == ["x", 2]
        assert x.get_state() == ["cast"]
        rt.wait(["x"], "ready")
        assert rt.info("x").incarnation == 1

    def test_a_call_gives_up_at_its_deadline(self, shared: Start, gate: Path) -> None:
        rt = shared(server("y", args=behind(gate)), server("x", ["y"]))
        take_down(rt, "y", gate)
        rt.wait(["x"], "degraded")
        with pytest.raises(dx.CallTimeoutError):
            rt.server("x").call(1, timeout=0.05)
        gate.touch()
        rt.wait(["x"], "ready")
        assert rt.server("x").call(2) == ["x", 2]

    def test_what_runs_goes_on(self, shared: Start, gate: Path, tmp_path: Path) -> None:
        rt = shared(server("y", args=behind(gate)), server("x", ["y"]))
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(rt.server("x").call, ["wait", str(tmp_path / "go")])
            wait_until((tmp_path / "go.begun").exists)
            take_down(rt, "y", gate)
            rt.wait(["x"], "degraded")
            (tmp_path / "go").touch()
            assert answer.result(20)[0] == "x"
        gate.touch()

    def test_a_full_mailbox_refuses_as_ever(self, shared: Start, gate: Path) -> None:
        rt = shared(server("y", args=behind(gate)), server("x", ["y"], limits={"mailbox": 1}))
        take_down(rt, "y", gate)
        rt.wait(["x"], "degraded")
        x = rt.server("x")
        x.cast("first")
        wait_until(lambda: queued(rt, "x") == 1)
        with pytest.raises(dx.OverloadedError):
            x.call(1)
        gate.touch()

    def test_a_stop_while_it_waits_gives_calls_back(self, shared: Start, gate: Path) -> None:
        rt = shared(apart(server("y", args=behind(gate))), server("x", ["y"]))
        take_down(rt, "y", gate)
        rt.wait(["x"], "degraded")
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(rt.server("x").call, 1)
            wait_until(lambda: queued(rt, "x") == 1)
            rt.stop("x")
            with pytest.raises(dx.NoProcessError):
                answer.result(20)
        gate.touch()


class TestFail:
    """Calls fail at once and say why."""

    def test_new_calls_and_queued_ones_fail_with_the_reason(self, shared: Start, gate: Path, tmp_path: Path) -> None:
        rt = shared(server("y", args=behind(gate)), server("x", {"y": "fail"}))
        x = rt.server("x")
        with ThreadPoolExecutor(2) as pool:
            running = pool.submit(x.call, ["wait", str(tmp_path / "go")])
            wait_until((tmp_path / "go.begun").exists)
            waiting = pool.submit(x.call, 2)
            wait_until(lambda: queued(rt, "x") == 1)
            take_down(rt, "y", gate)
            with pytest.raises(dx.DependencyDownError) as failed:
                waiting.result(20)
            (tmp_path / "go").touch()
            assert running.result(20)[0] == "x"
        assert (failed.value.id, failed.value.dependency, failed.value.reason) == ("x", "y", "killed")
        assert failed.value.retryable
        with pytest.raises(dx.ProcessDownError, match="'x' takes no calls while 'y'"):
            x.call(3)
        gate.touch()
        rt.wait(["x"], "ready")
        assert x.call(4) == ["x", 4]

    def test_a_module_fails_for_its_callers_by_proxy_too(self, shared: Start, gate: Path) -> None:
        rt = shared(server("y", args=behind(gate)), module("x", {"y": "fail"}))
        x = rt.module("x")
        assert x(question="a").answer == "x: a"
        take_down(rt, "y", gate)
        rt.wait(["x"], "degraded")
        with pytest.raises(dx.DependencyDownError):
            x(question="b")
        gate.touch()


class TestDegrade:
    """An answer without what is down."""

    def test_forward_degraded_answers_and_is_recorded_as_such(self, shared: Start, gate: Path) -> None:
        rt = shared(server("y", args=behind(gate)), module("x", {"y": "degrade"}, "Degrading"))
        x = rt.module("x")
        assert x(question="a").answer == "x: a"
        take_down(rt, "y", gate)
        rt.wait(["x"], "degraded")
        said = x(question="b")
        assert (said.answer, said.called) == ("degraded: b", 2)  # the same object: what it counts goes on
        assert x.dx.call(question="c").answer == "degraded: c"
        assert x.dx.call("count") == 3  # other methods are run as ever
        gate.touch()
        rt.wait(["x"], "ready")
        assert x(question="d").answer == "x: d"
        assert [(call["method"], call.get("degraded", False)) for call in reversed(x.dx.executions())] == [
            ("__call__", False), ("__call__", True), ("__call__", True), ("count", False), ("__call__", False),
        ]  # fmt: skip

    def test_whoever_has_stopped_or_started_what_it_depends_on_finds_it_so_at_once(self, shared: Start) -> None:
        rt = shared(server("y"), module("x", {"y": "degrade"}, "Degrading"))
        x = rt.module("x")
        for turn in range(20):
            rt.stop("y")
            assert x(question=str(turn)).answer == f"degraded: {turn}"
            rt.start("y")
            assert x(question=str(turn)).answer == f"x: {turn}"

    def test_it_leaves_trace_and_history_as_forward_does(self, shared: Start, gate: Path) -> None:
        rt = shared(server("y", args=behind(gate)), module("x", {"y": "degrade"}, "DegradingPredicts", lm=LM))
        x = rt.module("x")
        assert x(question="a").answer == "more"
        take_down(rt, "y", gate)
        rt.wait(["x"], "degraded")
        with dspy.context(trace=[]):
            assert x(question="b").answer == "less"
            ((predictor, inputs, _outputs),) = dspy.settings.trace
        assert predictor is x.answer
        assert inputs == {"question": "degraded b"}
        assert len(x.answer.history) == 2
        gate.touch()

    def test_an_async_one_is_awaited(self, shared: Start, gate: Path) -> None:
        rt = shared(server("y", args=behind(gate)), module("x", {"y": "degrade"}, "DegradingAsync", lm=LM, params={"level": 7}))
        x = rt.module("x")
        assert x(question="a").answer == "more"
        take_down(rt, "y", gate)
        rt.wait(["x"], "degraded")
        said = x(question="b")
        assert (said.answer, said.level) == ("less", 7)
        gate.touch()

    def test_a_copy_of_the_proxy_degrades_too(self, shared: Start, gate: Path) -> None:
        rt = shared(server("y", args=behind(gate)), module("x", {"y": "degrade"}, "DegradingPredicts", lm=LM))
        copy = rt.module("x").deepcopy()
        copy.answer.demos = [dspy.Example(question="q", answer="a")]
        assert copy(question="a").answer == "more"
        take_down(rt, "y", gate)
        rt.wait(["x"], "degraded")
        assert copy(question="b").answer == "less"
        gate.touch()

    def test_another_module_answers_where_the_class_cannot(self, shared: Start, gate: Path) -> None:
        rt = shared(
            apart(server("y", args=behind(gate))),
            module("spare"),
            module("x", {"y": {"on_down": "degrade", "fallback": "spare"}}),
        )
        x = rt.module("x")
        assert x(question="a").answer == "x: a"
        take_down(rt, "y", gate)
        rt.wait(["x"], "degraded")
        assert x(question="b").answer == "spare: b"
        assert x.dx.call(question="c").answer == "spare: c"
        assert [call["degraded"] for call in x.dx.executions(2)] == [True, True]
        rt.kill("spare")
        wait_until(lambda: rt.info("spare").incarnation == 2, what="it starts again")
        rt.wait(["spare"], "ready")
        assert x(question="d").answer == "spare: d"  # the same address leads to it
        gate.touch()

    def test_another_server_answers_and_its_failure_is_not_the_end_of_the_first(self, shared: Start, gate: Path) -> None:
        rt = shared(
            apart(server("y", args=behind(gate))),
            server("spare"),
            server("x", {"y": {"on_down": "degrade", "fallback": "spare"}}),
        )
        x = rt.server("x")
        take_down(rt, "y", gate)
        rt.wait(["x"], "degraded")
        assert x.call(1) == ["spare", 1]
        x.cast("cast")  # is its own business
        assert x.get_state() == ["cast"]
        rt.stop("spare")
        with pytest.raises(dx.NoProcessError):
            x.call(2)
        gate.touch()
        rt.wait(["x"], "ready")
        assert x.call(3) == ["x", 3]
        assert rt.info("x").incarnation == 1

    def test_with_nothing_to_degrade_to_it_does_not_start(self, shared: Start) -> None:
        rt = shared(server("y"))
        with pytest.raises(dx.StartError, match="expected forward_degraded"):
            rt.start(f"{MODULES}:Plain", id="x", depends_on={"y": "degrade"})


class TestCascades:
    """Once, in order, however many fail at the same time."""

    def test_a_restart_follows_each_dependency_once_and_in_order(self, runtime: Start, journal: Path) -> None:
        keys: dict[str, Any] = {"args": {"journal": str(journal)}}
        rt = runtime(
            server("a", **keys),
            server("b", {"a": "restart"}, **keys),
            server("c", {"b": "restart", "a": "restart"}, **keys),
            server("d", {"c": "restart", "a": "restart"}, **keys),
            server("e", **keys),
        )
        before = len(starts(journal))
        rt.kill("a")
        wait_until(lambda: len(starts(journal)) == before + 4)
        rt.wait(["a", "b", "c", "d"], "ready")
        assert starts(journal)[before:] == ["a", "b", "c", "d"]
        assert {id: rt.info(id).incarnation for id in "abcde"} == {"a": 2, "b": 2, "c": 2, "d": 2, "e": 1}
        assert [(event["id"], event["action"]) for event in told(rt, "cascade")] == [(id, "restart") for id in "bcd"]

    def test_those_that_die_together_come_back_once_each(self, runtime: Start, journal: Path) -> None:
        keys: dict[str, Any] = {"args": {"journal": str(journal)}}
        layers = [["a", "b"], ["c", "d", "e"], ["f", "g"], ["h"]]
        children = []
        for depth, ids in enumerate(layers):
            needs = dict.fromkeys(layers[depth - 1] if depth else [], "restart")
            children += [server(id, needs or None, **keys) for id in ids]
        rt = runtime(*children)
        everyone = [id for ids in layers for id in ids]
        before = starts(journal)
        pids = [rt.info(id).pid for id in everyone]
        os.kill(rt.pid, signal.SIGSTOP)  # which hears of all of them in one moment
        try:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
        finally:
            os.kill(rt.pid, signal.SIGCONT)
        wait_until(lambda: len(starts(journal)) >= len(before) + len(everyone))
        rt.wait(everyone, "ready")
        again = starts(journal)[len(before) :]
        assert Counter(again) == Counter(everyone)
        places = {id: place for place, id in enumerate(again)}
        for upper, lower in itertools.pairwise(layers):
            assert max(places[id] for id in upper) < min(places[id] for id in lower)

    def test_a_restart_is_not_counted(self, runtime: Start) -> None:
        rt = runtime(server("y"), server("x", {"y": "restart"}), tree={"max_restarts": 3, "max_seconds": 600})
        for round_ in range(3):
            rt.kill("y")
            wait_until(lambda: rt.info("x").incarnation == round_ + 2)  # noqa: B023
            rt.wait(["x", "y"], "ready")
        assert rt.info("root").supervisor["restarts_used"] == 3

    def test_stop_stops_it_and_a_start_brings_it_back(self, shared: Start) -> None:
        rt = shared(server("y"), server("x", {"y": "stop"}))
        rt.kill("y")
        rt.wait(["x"], "stopped")
        rt.wait(["y"], "ready")
        assert state(rt, "x") == "STOPPED"
        rt.start("x")
        assert rt.server("x").call(1) == ["x", 1]

    def test_a_killed_one_waits_for_its_dependency(self, shared: Start, gate: Path, journal: Path) -> None:
        rt = shared(apart(server("y", args=behind(gate, journal))), server("x", ["y"], args={"journal": str(journal)}))
        take_down(rt, "y", gate)
        rt.kill("x")
        rt.wait(["x"], "pending")
        gate.touch()
        rt.wait(["x", "y"], "ready")
        assert starts(journal) == ["apart/y", "x", "apart/y", "x"]

    def test_one_that_degrades_is_restarted_without_it(self, shared: Start, gate: Path) -> None:
        rt = shared(apart(server("y", args=behind(gate))), module("x", {"y": "degrade"}, "Degrading"))
        take_down(rt, "y", gate)
        rt.kill("x")
        wait_until(lambda: rt.info("x").incarnation == 2)
        rt.wait(["x"], "degraded")
        assert rt.module("x")(question="a").answer == "degraded: a"
        gate.touch()
        rt.wait(["x"], "ready")

    def test_the_end_of_the_tree_cascades_nowhere(self, runtime: Start) -> None:
        rt = runtime(server("y"), server("x", {"y": "stop"}), server("z", {"y": "restart"}))
        with rt.events() as events:
            rt.close()
            assert [event for event in events if event["type"] == "cascade"] == []


class TestOrder:
    """Starts in the order of dependencies, side by side where that says nothing."""

    def test_boot_waits_for_readiness_and_not_for_more(self, runtime: Start, journal: Path) -> None:
        keys: dict[str, Any] = {"args": {"journal": str(journal)}}
        ready = {"call": "count", "timeout": "20s"}
        rt = runtime(
            server("x", ["y", "z"], **keys),
            module("y", readiness=ready, **keys),
            server("z", ["deep/w"], **keys),
            {"id": "deep", "supervisor": {"children": [server("w", **keys)]}},
        )
        order = starts(journal)
        assert order.index("y") < order.index("x")
        assert order.index("deep/w") < order.index("z") < order.index("x")
        first = {event["id"]: event["seq"] for event in told(rt, "state") if event["state"] == "STARTING"}
        ready_at = {event["id"]: event["seq"] for event in told(rt, "state") if event["state"] == "READY"}
        assert first["x"] > max(ready_at["y"], ready_at["z"])
        assert first["z"] > ready_at["deep"]
        assert first["deep/w"] < ready_at["y"]  # side by side

    def test_a_start_waits_for_what_is_coming(self, shared: Start, gate: Path) -> None:
        rt = shared(server("y", args=behind(gate)), server("x", ["y"]))
        rt.stop("x")
        take_down(rt, "y", gate)
        with ThreadPoolExecutor(2) as pool:
            again = pool.submit(rt.start, "x")
            new = pool.submit(rt.start, f"{PROGRAMS}:Server", id="n", depends_on=["y"])
            assert rt.info("y").state == "STARTING"
            gate.touch()
            assert again.result(20).call(1) == ["x", 1]
            assert new.result(20).call(1) == ["n", 1]

    def test_a_start_gives_up_after_its_own_time(self, shared: Start, gate: Path) -> None:
        rt = shared(server("y", args=behind(gate)))
        take_down(rt, "y", gate)
        with pytest.raises(dx.StartError, match=r"depends on 'y' \(STARTING\), and still waits for that after 0.1 s"):
            rt.start(f"{PROGRAMS}:Server", id="x", depends_on=["y"], start_timeout="100ms")
        gate.touch()
        rt.wait(["y"], "ready")
        assert [info.id for info in rt.modules()] == ["y"]

    def test_a_start_is_refused_where_nothing_is_coming(self, shared: Start) -> None:
        rt = shared(server("y"), server("x", ["y"]))
        rt.stop("x")
        rt.stop("y")
        with pytest.raises(dx.StartError, match=r"'y'.*is STOPPED") as refused:
            rt.start("x")
        assert "dspex start y" in str(refused.value.hint)
        rt.start("y")
        rt.start("x")

    def test_what_would_wait_for_itself_is_refused_with_the_path(self, shared: Start) -> None:
        rt = shared(server("y"), server("x", ["y"]), {"id": "sup", "supervisor": {"children": [server("w", ["x"])]}})
        rt.delete("y")
        with pytest.raises(dx.ConfigError, match=r"y -> sup/w -> x -> y"):
            rt.start_child("root", server("y", ["sup/w"]))
        assert [info.id for info in rt.modules()] == ["x", "sup", "sup/w"]


class TestByHand:
    """A dependency that failed for good, brought back by somebody; and changes that are no end at all."""

    def test_one_that_failed_is_started_again_and_calls_go_on(self, runtime: Start) -> None:
        rt = runtime(server("y"), tree={"max_restarts": 0})
        x = rt.start(f"{PROGRAMS}:Server", id="x", depends_on=["y"])
        rt.kill("y")
        rt.wait(["y"], "failed")
        rt.wait(["x"], "degraded")
        assert rt.info("x").depends_on["y"]["state"] == "FAILED"
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(x.call, 1)
            wait_until(lambda: queued(rt, "x") == 1)
            rt.start("y")
            assert answer.result(20) == ["x", 1]
        rt.wait(["x"], "ready")

    def test_a_swap_is_no_down(self, runtime: Start) -> None:
        rt = runtime(server("y"), server("x", {"y": "restart"}), server("z", {"y": "fail"}))
        rt.swap("y")
        assert [rt.info(id).state for id in "xyz"] == ["READY"] * 3
        assert told(rt, "degraded", "cascade") == []
        rt.swap("x")
        rt.kill("y")
        wait_until(lambda: rt.info("x").incarnation == 2)
        rt.wait(["x", "z"], "ready")

    def test_one_that_is_swapped_while_its_dependency_is_down_goes_on_waiting(self, shared: Start, gate: Path) -> None:
        rt = shared(server("y", args=behind(gate)), server("x", ["y"]))
        take_down(rt, "y", gate)
        rt.wait(["x"], "degraded")
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(rt.server("x").call, 1)
            wait_until(lambda: queued(rt, "x") == 1)
            rt.swap("x")
            assert rt.info("x").state == "DEGRADED"
            assert not answer.done()
            gate.touch()
            assert answer.result(20) == ["x", 1]

    def test_a_restart_of_it_by_hand_is_a_down(self, shared: Start) -> None:
        rt = shared(server("y"), server("x", {"y": "restart"}))
        rt.restart("y")
        wait_until(lambda: rt.info("x").incarnation == 2)
        rt.wait(["x"], "ready")

    def test_a_group_is_up_while_one_replica_is(self, shared: Start) -> None:
        rt = shared(server("y", replicas=2), server("x", {"y": "fail"}))
        rt.stop("y#0")
        assert rt.server("x").call(1) == ["x", 1]
        rt.stop("y#1")
        rt.wait(["x"], "degraded")
        with pytest.raises(dx.DependencyDownError):
            rt.server("x").call(2)
        rt.start("y#1")
        rt.wait(["x"], "ready")

    def test_a_supervisor_is_up_when_its_children_are(self, runtime: Start) -> None:
        group = {"id": "sup", "supervisor": {"max_restarts": 0, "children": [server("y")]}}
        rt = runtime(group, server("x", {"sup": "fail"}))
        rt.stop("sup")
        rt.wait(["x"], "degraded")
        rt.start("sup")
        rt.wait(["x"], "ready")


class TestShown:
    """What is down for whom, wherever one looks."""

    def test_info_tree_and_events(self, runtime: Start, gate: Path) -> None:
        rt = runtime(server("y", args=behind(gate)), server("x", {"y": "fail"}), server("z", ["y"]))
        assert rt.info("x").depends_on == {"y": {"on_down": "fail", "fallback": None, "state": "READY"}}
        assert rt.info("y").needed_by == ["x", "z"]
        take_down(rt, "y", gate)
        rt.wait(["x", "z"], "degraded")
        assert {child["id"]: child["waiting_for"] for child in rt.tree()["children"]} == {"y": [], "x": ["y"], "z": ["y"]}
        assert rt.status()["ready"] == 0
        gate.touch()
        rt.wait(["x", "y", "z"], "ready")
        found = [(event["type"], event["id"], event["dependency"], event["on_down"]) for event in told(rt, "degraded", "recovered")]
        assert found == [
            ("degraded", "x", "y", "fail"), ("degraded", "z", "y", "wait"),
            ("recovered", "x", "y", "fail"), ("recovered", "z", "y", "wait"),
        ]  # fmt: skip
        states = [event["state"] for event in told(rt, "state") if event["id"] == "x"]
        assert states == ["STARTING", "READY", "DEGRADED", "READY"]

    def test_the_chain_of_a_start(self, runtime: Start) -> None:
        rt = runtime(server("x", ["y"]), server("y"), server("z", ["x"]))
        found = rt.analyze()
        assert [(each["id"], each["waited_for"], each["why"]) for each in found["chain"]] == [
            ("y", None, None), ("x", "y", "dependency"), ("z", "x", "dependency"),
        ]  # fmt: skip
        assert found["seconds"] == found["chain"][-1]["ready"]

    def test_what_it_depends_on_is_changed_while_it_runs(self, runtime: Start) -> None:
        y, x = server("y"), server("x")
        rt = runtime(y, x)
        config: dict[str, Any] = {"version": 1, "name": "t0", "runtime": {"spares": 1, "preload": []}}
        tree: dict[str, Any] = {"strategy": "one_for_one", "max_restarts": 1000}
        pid = rt.info("x").pid
        rt.stop("y")
        rt.reload({**config, "tree": {**tree, "children": [y, server("x", {"y": "fail"})]}})
        rt.wait(["x"], "degraded")
        with pytest.raises(dx.DependencyDownError):
            rt.server("x").call(1)
        rt.reload({**config, "tree": {**tree, "children": [y, x]}})
        rt.wait(["x"], "ready")
        assert rt.info("x").pid == pid
        assert rt.server("x").call(1) == ["x", 1]
