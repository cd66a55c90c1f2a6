"""Reload with real processes: who depends on whom, and how many replicas there are, becomes what the file says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import dspex_runtime as dx
from helpers import reloading
from helpers.reloading import Up, Write, counter, done

pytestmark = pytest.mark.process
write, up = reloading.write, reloading.up

CODE = """
import dspex_runtime as dx

class Counter(dx.GenServer):
    limit = dx.Parameter(int, default=1)
    def init(self): return 0
    def handle_call(self, request, from_, state): return dx.Reply(state, state + 1)
"""


def pids(rt: dx.Runtime) -> dict[str, int | None]:
    return {info.id: info.pid for info in rt.modules()}


def needs(rt: dx.Runtime, id: str) -> dict[str, Any]:
    return {target: edge["on_down"] for target, edge in rt.info(id).depends_on.items()}


def test_what_a_child_depends_on_is_changed_live(up: Up, write: Write) -> None:
    rt = up(counter("a"), counter("b", "depends_on: [a]"))
    before = pids(rt)
    assert needs(rt, "b") == {"a": "wait"}
    write(counter("a"), counter("b", "depends_on: {a: fail}"))
    assert done(rt.reload()) == ["done live b"]
    assert (pids(rt), needs(rt, "b")) == (before, {"a": "fail"})
    rt.stop("a")
    rt.wait(["b"], "degraded")
    with pytest.raises(dx.DependencyDownError, match="'a'"):
        rt.server("b").call("count")
    write(counter("a"), counter("b"))
    assert done(rt.reload()) == ["done live b"]
    rt.wait(["b"], "ready")
    assert rt.server("b").call("count") == 0
    assert rt.info("a").state == "STOPPED"


def test_what_one_was_to_stop_with_can_go_when_he_no_more_is(up: Up, write: Write) -> None:
    rt = up(counter("a"), counter("b", "depends_on: {a: stop}"))
    before = rt.info("b").pid
    write(counter("b"))
    assert done(rt.reload()) == ["done live b", "done remove a"]
    assert (rt.info("b").state, rt.info("b").pid) == ("READY", before)


def test_a_child_that_is_added_may_be_depended_on_at_once(up: Up, write: Write) -> None:
    rt = up(counter("b"))
    before = rt.info("b").pid
    write(counter("b", "depends_on: {a: fail}"), counter("a"))
    assert done(rt.reload()) == ["done add a", "done live b"]
    assert (rt.info("b").state, rt.info("b").pid, needs(rt, "b")) == ("READY", before, {"a": "fail"})
    rt.restart("b")
    assert needs(rt, "b") == {"a": "fail"}


def test_edges_may_turn_round(up: Up, write: Write) -> None:
    rt = up(counter("a"), counter("b", "depends_on: [a]"), counter("c", "depends_on: [b]"))
    write(counter("a", "depends_on: [b]"), counter("b", "depends_on: [c]"), counter("c"))
    assert {step.state for step in rt.reload().steps} == {"done"}
    assert [needs(rt, id) for id in "abc"] == [{"b": "wait"}, {"c": "wait"}, {}]


def test_replicas_come_and_go_and_those_that_stay_are_the_same(up: Up, write: Write) -> None:
    rt = up(counter("q", "replicas: 2"), counter("a"))
    before = pids(rt)
    write(counter("q", "replicas: 3"), counter("a"))
    assert done(rt.reload()) == ["done add q#2"]
    assert {id: pid for id, pid in pids(rt).items() if id != "q#2"} == before
    write(counter("q", "replicas: 1"), counter("a"))
    assert done(rt.reload()) == ["done remove q#2", "done remove q#1"]
    assert pids(rt) == {id: before[id] for id in ("q#0", "a")}
    assert rt.info("q").replicas == ["q#0"]
    assert rt.server("q").call("count") == 0


def test_replicas_that_were_scaled_are_as_many_as_the_file_says(up: Up, write: Write) -> None:
    rt = up(counter("q", "replicas: 2"))
    rt.scale("q", 3)
    write(counter("q", "replicas: 2"), counter("a"))
    assert done(rt.reload()) == ["done remove q#2", "done add a"]
    rt.scale("q", 1)
    assert done(rt.reload()) == ["done add q#1"]
    assert done(rt.reload()) == []


def test_scale_makes_a_group_of_a_child_and_then_there_is_nothing_to_do(up: Up, write: Write) -> None:
    rt = up(counter("q"))
    rt.server("q").params["limit"] = 7
    write(counter("q", "replicas: 2"))
    (first, *_) = rt.reload(plan=True).steps
    assert (first.action, first.note) == (
        "remove",
        "it becomes q#0 ...: `dspex scale q=2` first, and these have what it has learnt",
    )
    rt.scale("q", 2)
    assert done(rt.reload()) == []
    assert rt.info("q").replicas == ["q#0", "q#1"]
    assert [rt.server(f"q#{number}").params["limit"] for number in range(2)] == [7, 7]


def test_whose_parameters_replicas_have_is_changed_live(up: Up, write: Write) -> None:
    rt = up(counter("q", "replicas: 2"))
    before = pids(rt)
    rt.server("q").params["limit"] = 2
    write(counter("q", "replicas: {count: 2, params: own}"))
    assert done(rt.reload()) == ["done live q#0", "done live q#1"]
    assert (pids(rt), rt.info("q").params) == (before, "own")
    with pytest.raises(dx.DspexError, match="q#0"):
        rt.server("q").params["limit"] = 3
    rt.server("q#1").params["limit"] = 3
    assert [rt.server(f"q#{number}").params["limit"] for number in range(2)] == [2, 3]


def test_children_that_are_started_are_checked_as_a_file_is(up: Up) -> None:
    rt = up(counter("retriever"), 'id: g, supervisor: {children: [{id: x, server: "code.py:Counter"}]}')
    target = f"{Path(rt.status()['file']).parent}/code.py:Counter"
    with pytest.raises(dx.ConfigError, match="no such id: 'retreiver'; did you mean retriever"):
        rt.start(target, id="a", depends_on=["retreiver"])
    with pytest.raises(dx.ConfigError, match="'g/a' cannot depend on 'g'"):
        rt.start_child("g", {"id": "a", "server": target, "depends_on": ["g"]})
    with pytest.raises(dx.ConfigError, match="allowed: with on_down: degrade"):
        rt.start(target, id="a", depends_on={"x": {"fallback": "retriever"}})
    assert [info.id for info in rt.modules()] == ["retriever", "g", "g/x"]
    rt.start(target, id="a", depends_on={"x": "fail"})
    assert needs(rt, "a") == {"g/x": "fail"}
    with pytest.raises(dx.ConfigError, match="g -> a -> g, by g/b -> a, a -> g/x is a cycle"):
        rt.start_child("g", {"id": "b", "server": target, "depends_on": ["a"]})
    rt.start_child("g", {"id": "b", "server": target, "depends_on": {"retriever": "fail", "x": None}})
    assert needs(rt, "g/b") == {"retriever": "fail", "g/x": "wait"}
    assert rt.get_childspec("g", "b")["depends_on"] == {"retriever": {"on_down": "fail"}, "g/x": {"on_down": "wait"}}
