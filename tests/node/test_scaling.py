"""Groups made larger and smaller, with fake processes."""

from __future__ import annotations

import pytest

from dspex_runtime.errors import ConfigError, NoProcessError, StartError, SupervisorError
from dspex_runtime.wire.faults import from_fault
from dspex_runtime.wire.messages import FAULT, REPLY, SUBSCRIBE
from helpers.fake_node import FakeNode, server


@pytest.fixture
def node(runtime: FakeNode) -> FakeNode:
    return runtime.boot(server("a"), server("qa", replicas=2), server("z"), max_restarts=100)


def scaled(node: FakeNode, id: str, n: int) -> list[str]:
    """Scale, to the end; return the replicas, or raise what was answered."""
    number = node.owner.begin("scale", id=id, n=n)
    for _ in range(20):
        node.turn()
    ((kind, _, value),) = [message for message in node.owner.heard() if message[1] == number]
    if kind == FAULT:
        raise from_fault(value)
    assert kind == REPLY
    replicas: list[str] = value["replicas"]
    return replicas


def test_the_next_numbers_are_started_in_order(node: FakeNode) -> None:
    assert scaled(node, "qa", 4) == ["qa#0", "qa#1", "qa#2", "qa#3"]
    assert node.launcher.log[-2:] == ["start qa#2", "start qa#3"]


def test_the_highest_are_stopped_and_forgotten(node: FakeNode) -> None:
    follower = node.connect()
    follower.send([SUBSCRIBE, 1, "events", {}])
    assert scaled(node, "qa", 1) == ["qa#0"]
    told = [message[2] for message in follower.heard() if message[2].get("type") == "scaled"]
    assert [(event["id"], event["replicas"]) for event in told] == [("qa", ["qa#0"])]
    assert "qa#1" not in node.shown()
    assert node.launcher.log[-1] == "stop qa#1"


def test_as_many_as_there_are_is_nothing_to_do(node: FakeNode) -> None:
    before = list(node.launcher.log)
    assert scaled(node, "qa", 2) == ["qa#0", "qa#1"]
    assert node.launcher.log == before


def test_none_is_a_group_that_is_kept_until_it_is_deleted(node: FakeNode) -> None:
    assert scaled(node, "qa", 0) == []
    assert node.owner.ask("info", id="qa")["replicas"] == []
    node.owner.ask("delete", id="qa")
    with pytest.raises(NoProcessError):
        node.owner.ask("info", id="qa")


def test_a_child_that_could_not_become_a_group_is_up_for_those_that_depend_on_it(runtime: FakeNode) -> None:
    runtime.boot(server("y"), server("x", depends_on={"y": "fail"}), max_restarts=100)
    runtime.launcher.script["y#1"] = ["fail"]
    with pytest.raises(StartError):
        scaled(runtime, "y", 2)
    assert runtime.shown() == {"y": "READY", "x": "READY"}
    assert runtime.node.supervision is not None
    dependencies = runtime.node.supervision.dependencies
    assert dependencies.machine.down("x") == {}
    dependencies.machine.validate()
    assert [event["id"] for event in runtime.node.reports.events if event["type"] == "degraded"] == []
    runtime.owner.begin("stop", id="y")
    for _ in range(5):
        runtime.turn()
    assert list(dependencies.machine.down("x")) == ["y"]


def test_one_that_does_not_start_is_told_and_those_before_it_stay(node: FakeNode) -> None:
    node.launcher.script["qa#3"] = ["fail"]
    with pytest.raises(Exception, match="qa#3"):
        scaled(node, "qa", 5)
    assert node.owner.ask("info", id="qa")["replicas"] == ["qa#0", "qa#1", "qa#2"]


def test_a_supervisor_that_starts_anew_begins_with_as_many_where_they_were(runtime: FakeNode) -> None:
    inner = {"id": "sup", "supervisor": {"children": [server("a"), server("qa", replicas=1), server("z")]}}
    runtime.boot(inner, max_restarts=100)
    assert len(scaled(runtime, "qa", 3)) == 3
    del runtime.launcher.log[:]
    runtime.owner.begin("restart", id="sup")
    for _ in range(20):
        runtime.turn()
    starts = [line for line in runtime.launcher.log if line.startswith("start")]
    assert starts == ["start sup/a", "start sup/qa#0", "start sup/qa#1", "start sup/qa#2", "start sup/z"]


def test_a_group_of_its_own_comes_back_from_none(runtime: FakeNode) -> None:
    runtime.boot(max_restarts=100)
    runtime.owner.begin("start", spec=server("qa", replicas=2))
    for _ in range(10):
        runtime.turn()
    runtime.owner.heard()
    assert scaled(runtime, "qa", 0) == []
    assert scaled(runtime, "qa", 1) == ["qa#0"]
    assert runtime.node.supervision is not None
    assert runtime.node.supervision.node_of("@qa") is not None


@pytest.mark.parametrize("n", [-1, 1001])
def test_a_group_has_a_bounded_number_of_replicas(node: FakeNode, n: int) -> None:
    with pytest.raises(ConfigError):
        scaled(node, "qa", n)


def test_a_child_that_is_alone_does_not_become_none(node: FakeNode) -> None:
    with pytest.raises(SupervisorError) as refused:
        scaled(node, "a", 0)
    assert refused.value.code == "no_replicas"
    assert node.shown()["a"] == "READY"
