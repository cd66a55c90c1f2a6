"""Groups in a runtime: who may be called, who is told so, and one thing after the other."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.errors import NoProcessError
from dspex_runtime.wire.faults import from_fault
from dspex_runtime.wire.messages import BEGUN, CHANNEL, EVENT, FAULT
from helpers.fake_node import Client, FakeNode, server


def heard(client: Client, kind: int) -> list[Any]:
    return [message for message in client.heard() if message[0] == kind]


def pipe(client: Client, id: str, deadline: float | None = None, number: int = 500) -> list[Any]:
    """Ask for a pipe; return what was answered."""
    client.send([CHANNEL, number, id, 0, deadline])
    return client.heard()


def members(facts: dict[str, Any]) -> list[tuple[str, int]]:
    return [(id, incarnation) for id, incarnation, _ in facts["members"]]


@pytest.fixture
def node(runtime: FakeNode) -> FakeNode:
    return runtime.boot(server("qa", replicas=2), server("other"), max_restarts=100)


class TestPipes:
    """A pipe to a group is one to any of its replicas."""

    def test_its_answer_says_who_they_are(self, node: FakeNode) -> None:
        ((kind, _, info),) = pipe(node.connect(), "qa")
        assert kind == CHANNEL
        assert info["id"] in ("qa#0", "qa#1")
        assert members(info["group"]) == [("qa#0", 1), ("qa#1", 1)]

    def test_one_to_a_replica_is_one_to_a_child(self, node: FakeNode) -> None:
        ((_, _, info),) = pipe(node.connect(), "qa#1")
        assert info["id"] == "qa#1"
        assert "group" not in info

    def test_it_waits_while_none_serves_and_one_is_coming(self, node: FakeNode) -> None:
        client = node.connect()
        node.launcher.script["qa#0"] = ["hang"]
        for id in ("qa#0", "qa#1"):  # their supervisor restarts one after the other
            node.crash(id)
        assert pipe(client, "qa") == [[BEGUN, 500, False]]
        node.process("qa#0").become_ready()
        ((_, number, info),) = heard(client, CHANNEL)
        assert (number, info["id"], members(info["group"])) == (500, "qa#0", [("qa#0", 2)])

    def test_it_is_refused_when_none_is_coming(self, node: FakeNode) -> None:
        client = node.connect()
        node.owner.ask("stop", id="qa#0")
        node.owner.begin("stop", id="qa#1")
        ((_, _, fault),) = pipe(client, "qa")
        error = from_fault(fault)
        assert isinstance(error, NoProcessError)
        assert (error.id, error.hint) == ("qa", "`dspex start qa` brings them back")

    def test_a_request_that_is_not_to_wait_is_refused(self, node: FakeNode) -> None:
        node.launcher.script["qa#0"] = ["hang"]
        node.crash("qa#0")
        ((kind, _, _),) = pipe(node.connect(), "qa#0", deadline=0.0)
        assert kind == FAULT


class TestTelling:
    """Who has asked for a pipe is told when others may be called."""

    def test_of_one_that_ends_and_of_one_that_comes_back(self, node: FakeNode) -> None:
        client = node.connect()
        pipe(client, "qa")
        node.launcher.script["qa#0"] = ["hang"]
        node.crash("qa#0")
        told = [message[2] for message in heard(client, EVENT)]
        assert members(told[-1]) == [("qa#1", 1)]
        node.process("qa#0").become_ready()
        node.turn()
        told = [message[2] for message in heard(client, EVENT)]
        assert members(told[-1]) == [("qa#0", 2), ("qa#1", 1)]

    def test_nobody_else_is_told(self, node: FakeNode) -> None:
        client = node.connect()
        node.crash("qa#0")
        assert client.heard() == []

    def test_nothing_is_told_twice(self, node: FakeNode) -> None:
        client = node.connect()
        pipe(client, "qa")
        node.crash("other")
        assert client.heard() == []

    def test_of_its_end(self, node: FakeNode) -> None:
        client = node.connect()
        ((_, _, info),) = pipe(client, "qa")
        node.owner.begin("delete", id="qa")
        node.turn()
        told = [message[2] for message in heard(client, EVENT)]
        assert (told[-1]["type"], told[-1]["id"], told[-1]["members"]) == ("group", "qa", None)
        assert told[-1]["seq"] > info["group"]["seq"]

    def test_in_an_order_that_its_numbers_say(self, node: FakeNode) -> None:
        client = node.connect()
        ((_, _, info),) = pipe(client, "qa")
        ((_, _, same),) = pipe(client, "qa", number=501)
        assert same["group"] == info["group"]
        node.launcher.script["qa#0"] = ["hang"]
        node.crash("qa#0")
        node.process("qa#0").become_ready()
        node.turn()
        told = [message[2]["seq"] for message in heard(client, EVENT)]
        assert [info["group"]["seq"], *told] == sorted({info["group"]["seq"], *told})
        ((_, _, last),) = pipe(client, "qa", number=502)
        assert last["group"]["seq"] == told[-1]


class TestOneAfterTheOther:
    """What is done to a group."""

    def test_a_restart_waits_for_each(self, node: FakeNode) -> None:
        node.launcher.script["qa#0"] = ["hang"]
        node.owner.begin("restart", id="qa")
        node.turn()
        assert node.launcher.log[-1] == "start qa#0"
        assert "stop qa#1" not in node.launcher.log
        node.process("qa#0").become_ready()
        node.turn()
        node.turn()
        assert node.launcher.log[-2:] == ["stop qa#1", "start qa#1"]

    def test_a_second_request_waits_for_the_first(self, node: FakeNode) -> None:
        node.launcher.script["qa#2"] = ["hang"]
        node.owner.begin("scale", id="qa", n=3)
        node.owner.begin("scale", id="qa", n=1)
        node.turn()
        assert node.shown()["qa#2"] == "STARTING"
        node.process("qa#2").become_ready()
        for _ in range(5):
            node.turn()
        assert [id for id in node.shown() if id.startswith("qa#")] == ["qa#0"]
