"""Parts live as long as their owner's id: who asks for them, what is kept, what is started and stopped, and when."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.errors import StartError
from dspex_runtime.wire.messages import FAULT, REPLY
from helpers.fake_node import FakeNode, server
from helpers.fake_tree import FakeProcess

SUPERVISION = {"strategy": "one_for_one", "max_restarts": 3, "max_seconds": 5.0}


def owner(id: str = "qa", **keys: Any) -> dict[str, Any]:
    return {"id": id, "module": "pkg.mod:Owner", "backoff": "none", **keys}


def part(name: str, **keys: Any) -> dict[str, Any]:
    return {"name": name, "spec": {"module": "pkg.mod:Part", "backoff": "none", **keys}}


def settle(runtime: FakeNode) -> None:
    """Let all that follows happen: one after the other is stopped, and each says so in a turn of its own."""
    for _ in range(5):
        runtime.turn()


def attach(runtime: FakeNode, process: FakeProcess, *parts: dict[str, Any], **how: Any) -> list[Any] | dict[str, Any]:
    """Have a process ask for parts; return what it is answered when all has settled."""
    before = len(process.peer.sent)
    process.ask("attach_parts", parts=list(parts), **{**SUPERVISION, **how})
    settle(runtime)
    (answer,) = [message for message in process.peer.sent[before:] if message[0] in (REPLY, FAULT)]
    return answer[2]  # type: ignore[no-any-return]


def names(answer: Any) -> list[tuple[str, str, bool]]:
    return [(each["name"], each["id"], each["new"]) for each in answer]


@pytest.fixture
def started(runtime: FakeNode) -> FakeNode:
    """An owner that is just being built."""
    runtime.launcher.script["qa"] = ["hang"]
    runtime.boot(server("other"))
    runtime.owner.begin("start", spec=owner(), supervisor="root")
    return runtime


def up(runtime: FakeNode, *parts: dict[str, Any], **how: Any) -> None:
    """The owner attaches these and becomes ready."""
    attach(runtime, runtime.process("qa"), *parts, **how)
    runtime.process("qa").become_ready()
    settle(runtime)


def test_parts_are_started_side_by_side_and_answered_when_all_are_ready(started: FakeNode) -> None:
    started.launcher.script["qa/a"] = ["hang"]
    process = started.process("qa")
    process.ask("attach_parts", parts=[part("a"), part("b")], **SUPERVISION)
    settle(started)
    assert started.launcher.log[-2:] == ["start qa/a", "start qa/b"]
    assert process.peer.sent == []
    started.process("qa/a").become_ready()
    settle(started)
    assert names(process.peer.sent[-1][2]) == [("a", "qa/a", True), ("b", "qa/b", True)]
    assert [record.id for record in started.node.parts.below("qa")] == ["qa/a", "qa/b"]


def test_below_has_the_parts_of_parts(started: FakeNode) -> None:
    started.launcher.script["qa/a"] = ["hang"]
    process = started.process("qa")
    process.ask("attach_parts", parts=[part("a"), part("b")], **SUPERVISION)
    settle(started)
    attach(started, started.process("qa/a"), part("deep"))
    started.process("qa/a").become_ready()
    settle(started)
    assert [record.id for record in started.node.parts.below("qa")] == ["qa/a", "qa/a/deep", "qa/b"]
    assert started.node.parts.below("other") == []


def test_a_restarted_owner_finds_them_as_they_are(started: FakeNode) -> None:
    up(started, part("a"))
    started.launcher.script["qa"] = ["hang"]
    started.crash("qa")
    assert names(attach(started, started.process("qa"), part("a"))) == [("a", "qa/a", False)]
    assert started.launcher.log.count("start qa/a") == 1


def test_one_that_is_declared_otherwise_is_replaced_and_one_that_is_not_goes(started: FakeNode) -> None:
    up(started, part("a"), part("b"), part("c"))
    started.launcher.script["qa"] = ["hang"]
    started.crash("qa")
    started.launcher.log.clear()
    attach(started, started.process("qa"), part("a"), part("b", args={"k": 1}), part("d"))
    assert started.launcher.log == ["stop qa/c", "stop qa/b", "start qa/b", "start qa/d"]
    assert started.process("qa/b").launch.kwargs == {"k": 1}
    assert [record.id for record in started.node.parts.below("qa")] == ["qa/a", "qa/b", "qa/d"]
    assert "qa/c" not in started.shown()


def test_one_that_does_not_start_is_what_the_owner_is_told(started: FakeNode) -> None:
    started.launcher.script["qa/a"] = ["fail"]
    fault = attach(started, started.process("qa"), part("a"))
    assert isinstance(fault, dict)
    assert "'qa/a' did not start: ValueError: no" in fault["message"]
    assert fault["type"].endswith(StartError.__qualname__)


def test_they_go_after_an_owner_that_is_stopped(started: FakeNode) -> None:
    up(started, part("a"), part("b"))
    started.launcher.log.clear()
    client = started.connect()
    number = client.begin("stop", id="qa")
    settle(started)
    assert started.launcher.log == ["stop qa", "stop qa/b", "stop qa/a"]
    assert (REPLY, number) in [(message[0], message[1]) for message in client.heard()]
    assert {id: state for id, state in started.shown().items() if id != "other"} == dict.fromkeys(("qa", "qa/a", "qa/b"), "STOPPED")


def test_a_stop_is_answered_when_the_last_part_is_gone(started: FakeNode) -> None:
    up(started, part("a"))
    started.launcher.stubborn.add("qa/a")
    client = started.connect()
    number = client.begin("stop", id="qa")
    settle(started)
    assert number not in [message[1] for message in client.heard()]
    started.process("qa/a").end("shutdown")
    settle(started)
    assert number in [message[1] for message in client.heard()]


def test_an_owner_that_comes_back_waits_for_those_that_are_still_going(started: FakeNode) -> None:
    up(started, part("a"))
    started.launcher.stubborn.add("qa/a")
    started.connect().begin("stop", id="qa")
    settle(started)
    started.launcher.script["qa"] = ["hang"]
    started.connect().begin("start", spec={"id": "qa"})
    settle(started)
    process = started.process("qa")
    process.ask("attach_parts", parts=[part("a")], **SUPERVISION)
    settle(started)
    old = started.process("qa/a")
    started.launcher.stubborn.clear()
    old.end("shutdown")
    settle(started)
    assert started.process("qa/a") is not old
    assert names(process.peer.sent[-1][2])[0][:2] == ("a", "qa/a")


def test_a_deleted_owner_is_forgotten_with_them(started: FakeNode) -> None:
    up(started, part("a"))
    client = started.connect()
    client.begin("delete", id="qa")
    settle(started)
    assert started.shown() == {"other": "READY"}
    assert started.node.parts.below("qa") == []


def test_the_end_of_the_runtime_takes_owners_first(started: FakeNode) -> None:
    up(started, part("a"))
    started.launcher.log.clear()
    started.node.shutdown()
    settle(started)
    assert started.launcher.log == ["stop qa", "stop other", "stop qa/a"]
    assert started.node.state == "stopped"


def test_a_child_of_a_group_that_starts_anew_without_it_takes_them_along(runtime: FakeNode) -> None:
    runtime.boot({"id": "group", "supervisor": {"max_restarts": 0, "children": [server("x")]}}, max_restarts=5)
    runtime.launcher.script["group/qa"] = ["hang"]
    runtime.owner.begin("start", spec=owner(), supervisor="group")
    attach(runtime, runtime.process("group/qa"), part("a"))
    runtime.process("group/qa").become_ready()
    runtime.launcher.stubborn.add("group/qa/a")
    settle(runtime)
    runtime.crash("group/x")  # the group gives up, and is started again: what was added to it is lost
    assert "group/qa" not in runtime.shown()
    runtime.process("group/qa/a").end("shutdown")
    settle(runtime)
    assert runtime.shown() == {"group": "READY", "group/x": "READY"}


def test_what_gave_up_is_brought_back_by_name(started: FakeNode) -> None:
    up(started, part("a"), part("b"), max_restarts=0)
    started.crash("qa/a")
    assert (started.shown()["qa"], started.shown()["qa/a"], started.shown()["qa/b"]) == ("READY", "FAILED", "FAILED")
    started.connect().begin("start", spec={"id": "qa/a"})
    settle(started)
    assert (started.shown()["qa/a"], started.shown()["qa/b"]) == ("READY", "READY")


def test_an_owner_is_told_apart_from_the_supervisor_of_its_parts(started: FakeNode) -> None:
    up(started, part("a"), max_restarts=0)
    started.crash("qa/a")
    record = started.node.registry.get("qa")
    assert record is not None
    assert (record.last_exit, record.gave_up, record.incarnation) == (None, False, 1)
    assert started.node.supervision is not None
    assert started.node.supervision.node_of("qa") is None


def test_the_tree_shows_them_under_their_owner(started: FakeNode) -> None:
    up(started, part("a"), part("b"))
    tree = started.connect().ask("tree")
    (qa,) = [child for child in tree["children"] if child["id"] == "qa"]
    assert [child["id"] for child in qa["children"]] == ["qa/a", "qa/b"]
    assert set(qa["depends_on"]) == {"qa/a", "qa/b"}


def test_only_a_module_has_parts(started: FakeNode) -> None:
    with pytest.raises(Exception, match=r"parts are declared by a module's class"):
        started.connect().ask("attach_parts", parts=[], **SUPERVISION)
