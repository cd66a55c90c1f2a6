"""Operations under the id of a group."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.errors import ConfigError, NoProcessError, SupervisorError
from dspex_runtime.wire.faults import from_fault
from dspex_runtime.wire.messages import FAULT
from helpers.fake_node import FakeNode, server


@pytest.fixture
def node(runtime: FakeNode) -> FakeNode:
    return runtime.boot(server("qa", replicas=2), max_restarts=100)


def answered(node: FakeNode, op: str, /, **args: Any) -> Any:
    """Ask, let all happen, and return the answer."""
    number = node.owner.begin(op, **args)
    for _ in range(10):
        node.turn()
    ((kind, _, value),) = [message for message in node.owner.heard() if message[1] == number]
    if kind == FAULT:
        raise from_fault(value)
    return value


def test_stop_and_start_are_of_all(node: FakeNode) -> None:
    answered(node, "stop", id="qa")
    assert node.shown() == {"qa#0": "STOPPED", "qa#1": "STOPPED"}
    assert answered(node, "start", spec={"id": "qa"}) == {"id": "qa", "incarnation": 0, "kind": "server"}
    assert node.shown() == {"qa#0": "READY", "qa#1": "READY"}


def test_start_brings_back_those_that_are_down(node: FakeNode) -> None:
    answered(node, "stop", id="qa#1")
    del node.launcher.log[:]
    answered(node, "start", spec={"id": "qa"})
    assert node.launcher.log == ["start qa#1"]


def test_start_of_what_runs_is_refused(node: FakeNode) -> None:
    with pytest.raises(SupervisorError):
        answered(node, "start", spec={"id": "qa"})


def test_its_id_is_taken(node: FakeNode) -> None:
    with pytest.raises(SupervisorError) as taken:
        answered(node, "start", spec=server("qa"))
    assert taken.value.code == "already_started"
    with pytest.raises(SupervisorError):
        answered(node, "start_child", supervisor="root", spec=server("qa"))
    assert answered(node, "start", spec=server("qa"), get_if_exists=True)["id"] == "qa"


def test_a_childs_id_is_taken_for_a_group(node: FakeNode) -> None:
    answered(node, "start_child", supervisor="root", spec=server("alone"))
    for op, where in (("start", {}), ("start_child", {"supervisor": "root"})):
        with pytest.raises(SupervisorError) as taken:
            answered(node, op, spec=server("alone", replicas=2), **where)
        assert taken.value.code == "already_started"
    assert node.owner.ask("info", id="alone")["replicas"] is None


def test_a_new_group_is_all_of_it_or_none(node: FakeNode) -> None:
    node.launcher.script["new#1"] = ["fail"]
    with pytest.raises(Exception, match="new#1"):
        answered(node, "start_child", supervisor="root", spec=server("new", replicas=3))
    assert [id for id in node.shown() if id.startswith("new")] == []
    assert answered(node, "start_child", supervisor="root", spec=server("new", replicas=3))["id"] == "new"
    assert [id for id in node.shown() if id.startswith("new")] == ["new#0", "new#1", "new#2"]


@pytest.mark.parametrize("replicas", ["three", 0, {"count": 2, "params": "mine"}, {"counts": 2}])
def test_replicas_are_checked(node: FakeNode, replicas: Any) -> None:
    with pytest.raises(ConfigError):
        answered(node, "start", spec=server("new", replicas=replicas))


def test_waiting_is_for_all(node: FakeNode) -> None:
    node.launcher.script["qa#0"] = ["hang"]
    node.crash("qa#0")
    number = node.owner.begin("wait", ids=["qa"], state="ready", timeout=None)
    assert [message for message in node.owner.heard() if message[1] == number] == []
    node.process("qa#0").become_ready()
    node.turn()
    ((_, _, states),) = [message for message in node.owner.heard() if message[1] == number]
    assert states == {"qa": "READY"}


def test_what_is_only_of_one_process_names_them(node: FakeNode) -> None:
    for op, args in (("kill", {}), ("module_op", {"op": "get_state"}), ("monitor", {}), ("log_path", {})):
        with pytest.raises(ConfigError) as refused:
            answered(node, op, id="qa", **args)
        assert "qa#0, qa#1" in str(refused.value.hint), op


def test_figures_are_added_up(node: FakeNode) -> None:
    number = node.owner.begin("module_op", id="qa", op="metrics")
    for id, calls in (("qa#0", 3), ("qa#1", 4)):
        node.process(id).answered("metrics", {"count": calls, "busy_s": 0.5})
    ((_, _, figures),) = [message for message in node.owner.heard() if message[1] == number]
    assert figures == {"count": 7, "busy_s": 1.0}


def test_the_latest_records_of_any_come_first(node: FakeNode) -> None:
    number = node.owner.begin("module_op", id="qa", op="executions", args={"n": 3})
    for id, times in (("qa#0", (5.0, 1.0)), ("qa#1", (4.0, 3.0))):
        node.process(id).answered("executions", [{"started_at": time} for time in times])
    node.turn()
    found = [message for message in node.owner.heard() if message[1] == number]
    assert [record["started_at"] for record in found[0][2]] == [5.0, 4.0, 3.0]


def test_a_delete_forgets_group_and_replicas(node: FakeNode) -> None:
    answered(node, "delete", id="qa")
    assert node.shown() == {}
    with pytest.raises(NoProcessError):
        answered(node, "info", id="qa")


def test_a_spread_of_what_is_no_replica_is_refused(node: FakeNode) -> None:
    for leader in ("qa", "other"):
        with pytest.raises(NoProcessError):
            answered(node, "spread", **{"id": "qa", "names": ["k"], "with": leader, "incarnation": 1})
