"""What the parts of a runtime are told when something is down that others depend on; what follows is the machine's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from dspex_runtime.core import events as ev
from dspex_runtime.core.child_spec import Backoff, Dependency, Replica
from dspex_runtime.errors import ConfigError
from dspex_runtime.types import OnDown
from helpers.fake_tree import FakeTree, group, needing, worker

SLOWLY = Backoff(initial_s=5.0, factor=1.0, max_s=5.0, jitter=0.0)


def told(tree: FakeTree, *types: str) -> list[tuple[Any, ...]]:
    return [(event["type"], event["id"], event.get("dependency")) for event in tree.reports.events if event["type"] in types]


def shown(tree: FakeTree) -> dict[str, str]:
    return {record.id: record.shown.value for record in tree.registry}


def test_a_process_is_told_how_things_are_whenever_that_changes(tree: FakeTree) -> None:
    tree.boot(worker("y", backoff=SLOWLY), worker("z"), needing(worker("x"), y="fail", z="degrade"))
    assert tree.supervision.dependencies.table("x") == {
        "y": {"on_down": "fail", "fallback": None, "down": None},
        "z": {"on_down": "degrade", "fallback": None, "down": None},
    }
    tree.ask(tree.supervision.terminate, tree.record("y"))
    assert tree.process("x").depends_on["y"]["down"] == "shutdown"
    assert shown(tree) == {"y": "STOPPED", "z": "READY", "x": "DEGRADED"}
    assert tree.record("x").state.value == "READY"  # to those who only want its pipe
    tree.ask(tree.supervision.reviving.start, tree.record("y"))
    assert tree.process("x").depends_on["y"]["down"] is None
    assert shown(tree)["x"] == "READY"
    assert told(tree, "degraded", "recovered") == [("degraded", "x", "y"), ("recovered", "x", "y")]
    states = [event["state"] for event in tree.reports.events if event["type"] == "state" and event["id"] == "x"]
    assert states == ["STARTING", "READY", "DEGRADED", "READY"]


def test_a_telling_is_open_until_the_process_goes_by_it(tree: FakeTree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.boot(worker("y"), needing(worker("x"), y="fail"))
    heard: list[Callable[[], None]] = []
    monkeypatch.setattr(tree.process("x"), "depend", lambda _table, done: heard.append(done))
    tree.ask(tree.supervision.terminate, tree.record("y"))
    done: list[str] = []
    tree.supervision.dependencies.tellings.when_heard(["y"], lambda: done.append("x"))
    tree.supervision.dependencies.tellings.when_heard(["x2"], lambda: done.append("nobody"))
    assert (done, shown(tree)["x"]) == (["nobody"], "READY")
    heard[0]()
    assert (done, shown(tree)["x"]) == (["nobody", "x"], "DEGRADED")


def test_one_that_starts_without_it_is_shown_as_degraded_from_its_beginning(tree: FakeTree) -> None:
    tree.boot(worker("y"), needing(worker("x"), y="degrade"))
    for id in ("y", "x"):
        tree.ask(tree.supervision.terminate, tree.record(id))
    tree.ask(tree.supervision.reviving.start, tree.record("x"))
    assert shown(tree)["x"] == "DEGRADED"
    assert tree.supervision.dependencies.shown(tree.record("x")) == {
        "depends_on": {"y": {"on_down": "degrade", "fallback": None, "state": "STOPPED"}}, "waiting_for": ["y"], "needed_by": [],
    }  # fmt: skip
    assert tree.supervision.dependencies.shown(tree.record("y"))["needed_by"] == ["x"]


def test_a_cascade_goes_through_the_supervisors(tree: FakeTree) -> None:
    tree.boot(worker("y"), needing(worker("x"), y="restart"), needing(worker("z"), x="restart"), needing(worker("w"), y="stop"))
    tree.crash("y")
    assert tree.launcher.did()[4:] == ["stop w", "start y", "stop x", "start x", "stop z", "start z"]
    assert shown(tree) == {"y": "READY", "x": "READY", "z": "READY", "w": "STOPPED"}
    assert [(event["id"], event["action"]) for event in tree.reports.events if event["type"] == "cascade"] == [
        ("w", "stop"), ("x", "restart"), ("z", "restart"),
    ]  # fmt: skip


def test_a_restart_waits_until_it_is_up_again(tree: FakeTree) -> None:
    tree.boot(worker("y", backoff=SLOWLY), needing(worker("x"), y="wait"))
    tree.crash("y")
    tree.crash("y")
    tree.crash("x")
    assert shown(tree) == {"y": "BACKOFF", "x": "PENDING"}
    tree.advance(5.0)
    assert shown(tree) == {"y": "READY", "x": "READY"}


@pytest.mark.parametrize("dep", ["g", "g/y"])
@pytest.mark.parametrize("on_down", ["wait", "restart", "stop"])
def test_one_whose_dependency_came_up_before_its_first_start_is_restarted(tree: FakeTree, dep: str, on_down: str) -> None:
    tree.boot(group("g", worker("y")), needing(worker("x"), **{dep: on_down}))
    tree.crash("x")
    assert shown(tree) == {"g": "READY", "g/y": "READY", "x": "READY"}


def test_a_supervisor_is_down_while_it_restarts(tree: FakeTree) -> None:
    tree.boot(group("g", worker("y"), max_restarts=0), needing(worker("x"), g="fail"))
    tree.crash("g/y")
    assert told(tree, "degraded", "recovered") == [("degraded", "x", "g"), ("recovered", "x", "g")]
    assert shown(tree) == {"g": "READY", "g/y": "READY", "x": "READY"}


def test_a_group_is_up_while_one_of_its_replicas_is(tree: FakeTree) -> None:
    replicas = [worker(f"y#{number}", replica=Replica("y", number)) for number in (0, 1)]
    x = replace(needing(worker("x"), y="restart"), after=frozenset(each.id for each in replicas))
    tree.boot(*replicas, x)
    tree.ask(tree.supervision.terminate, tree.record("y#0"))
    assert shown(tree)["x"] == "READY"
    assert tree.supervision.dependencies.state_of("y") == "DEGRADED"
    tree.ask(tree.supervision.terminate, tree.record("y#1"))
    assert shown(tree)["x"] == "DEGRADED"
    tree.ask(tree.supervision.reviving.start, tree.record("y#0"))
    assert (tree.record("x").incarnation, shown(tree)["x"]) == (2, "READY")


def test_another_spec_is_told_at_once(tree: FakeTree) -> None:
    tree.boot(worker("y"), worker("x"))
    tree.ask(tree.supervision.terminate, tree.record("y"))
    tree.registry.ensure("x", needing(worker("x"), y="fail"))
    assert tree.process("x").depends_on["y"]["on_down"] == "fail"
    assert shown(tree)["x"] == "DEGRADED"
    tree.registry.ensure("x", worker("x"))
    assert tree.process("x").depends_on == {}
    assert shown(tree)["x"] == "READY"


def test_parts_are_depended_on_beside_what_the_spec_says(tree: FakeTree) -> None:
    tree.boot(worker("y"), needing(worker("x"), y="fail"))
    tree.supervision.dependencies.owns("x", {"x/p": Dependency(OnDown.DEGRADE)})
    assert tree.process("x").depends_on["x/p"]["down"] == "noproc"
    tree.supervision.dependencies.owns("x", {})
    assert list(tree.process("x").depends_on) == ["y"]


def test_what_would_lead_back_to_itself_is_refused_with_the_path(tree: FakeTree) -> None:
    tree.boot(worker("y"), needing(worker("x"), y="wait"))
    with pytest.raises(ConfigError, match="y -> x -> y is a cycle"):
        tree.supervision.dependencies.check("y", needing(worker("y"), x="fail"))


def test_the_end_of_all_cascades_nowhere(tree: FakeTree) -> None:
    tree.boot(worker("y"), needing(worker("x"), y="restart"))
    tree.ask(tree.supervision.start_alone, needing(worker("alone"), y="stop"))
    tree.supervision.shutdown(lambda: None)
    tree.settle()
    assert [line for line in tree.launcher.did() if line.startswith("start")] == ["start y", "start x", "start alone"]


def test_one_that_becomes_a_group_is_down_for_nobody(tree: FakeTree) -> None:
    tree.boot(worker("y"), needing(worker("x"), y="restart"))
    root = tree.supervision.node_of("")
    assert root is not None
    replica = worker("y#0", replica=Replica("y", 0))
    tree.ask(lambda answer: tree.supervision.ask("", lambda number: ev.StartChildAsked(number, replica), answer))
    tree.ask(tree.supervision.delete, tree.record("y"))
    assert shown(tree) == {"x": "READY", "y#0": "READY"}
    assert told(tree, "degraded", "cascade") == []
    assert tree.supervision.dependencies.shown(tree.record("y#0"))["needed_by"] == ["x"]
    tree.crash("y#0")
    assert (tree.record("x").incarnation, shown(tree)["x"]) == (2, "READY")
