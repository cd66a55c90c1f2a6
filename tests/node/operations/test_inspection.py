"""What clients may look at; nothing they ask here changes the tree."""

from __future__ import annotations

import os
from typing import Any

import pytest

from dspex_runtime.errors import ConfigError, DspexError, NoProcessError
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.faults import from_fault, to_fault
from dspex_runtime.wire.messages import DOWN, FAULT, REPLY
from helpers.fake_node import FakeNode, server


class TestInfo:
    """One child, or all that have what is asked for."""

    def test_of_one_child_is_found_by_its_own_id(self, runtime: FakeNode) -> None:
        runtime.boot({"id": "g", "supervisor": {"children": [server("a", version="2")]}})
        found = runtime.owner.ask("info", id="a")
        assert (found["id"], found["state"], found["version"]) == ("g/a", "READY", "2")
        assert (found["pid"], found["incarnation"]) == (runtime.process("g/a").pid, 1)

    def test_of_nobody_is_refused(self, runtime: FakeNode) -> None:
        with pytest.raises(NoProcessError):
            runtime.boot().owner.ask("info", id="nobody")

    def test_of_several_is_refused_with_all(self, runtime: FakeNode) -> None:
        group = {"supervisor": {"children": [server("a")]}}
        with pytest.raises(ConfigError, match="g/a, h/a"):
            runtime.boot({"id": "g", **group}, {"id": "h", **group}).owner.ask("info", id="a")

    @pytest.mark.parametrize(
        ("wanted", "found"),
        [
            ({}, ["a", "b", "c"]),
            ({"team": "x"}, ["a", "b"]),
            ({"team": "x", "tier": 1}, ["b"]),
            ({"team": None}, []),
            ({"tier": None}, ["c"]),
        ],
    )
    def test_of_all_is_narrowed_by_metadata(self, runtime: FakeNode, wanted: dict[str, Any], found: list[str]) -> None:
        runtime.boot(
            server("a", metadata={"team": "x"}),
            server("b", metadata={"team": "x", "tier": 1}),
            server("c", metadata={"tier": None}),
        )
        assert [info["id"] for info in runtime.owner.ask("modules", metadata=wanted)] == found

    def test_of_the_tree_is_nested(self, runtime: FakeNode) -> None:
        runtime.boot({"id": "g", "supervisor": {"children": [server("a")]}})
        tree = runtime.owner.ask("tree")
        (group,) = tree["children"]
        (child,) = group["children"]
        assert (tree["name"], group["kind"], child["id"], child["pid"]) == ("t", "supervisor", "g/a", runtime.process("g/a").pid)

    def test_of_the_runtime_counts_what_is_ready(self, runtime: FakeNode) -> None:
        runtime.boot(server("a"), server("b"), {"id": "g", "supervisor": {"children": []}})
        runtime.owner.begin("stop", id="a")
        runtime.owner.heard()
        status = runtime.owner.ask("status")
        assert (status["modules"], status["ready"], status["state"], status["pid"]) == (2, 1, "running", os.getpid())
        assert (status["socket"], status["zygote_pid"]) == (runtime.node.socket_path, 42)

    def test_of_the_log_is_where_it_is(self, runtime: FakeNode) -> None:
        runtime.boot({"id": "g", "supervisor": {"children": [server("a")]}})
        assert runtime.owner.ask("log_path", id="a") == str(runtime.folder / "state" / "logs" / "g+a.log")


class TestExitOf:
    """Why an incarnation ended, told as soon as it is known."""

    def test_is_known_after_the_end(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a")).connect()
        number = client.begin("exit_of", id="a", incarnation=1)
        assert client.heard() == []
        runtime.process("a").end(("signal", "SEGV"))
        runtime.turn()
        assert client.heard() == [[REPLY, number, ("signal", "SEGV")]]
        assert client.ask("exit_of", id="a", incarnation=1) == ("signal", "SEGV")

    def test_of_one_long_gone_is_nothing(self, runtime: FakeNode) -> None:
        runtime.boot(server("a"), max_restarts=100)
        for _ in range(17):
            runtime.crash("a")
        assert runtime.owner.ask("exit_of", id="a", incarnation=1) is None


class TestMonitor:
    """One notice for each monitor; at once where nothing runs."""

    def test_tells_the_end_of_the_incarnation_that_was_there(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a")).connect()
        answer = client.ask("monitor", id="a")
        assert (answer["id"], answer["incarnation"]) == ("a", 1)
        runtime.crash("a")
        runtime.crash("a")
        assert client.heard() == [[DOWN, answer["ref"], "a", 1, "killed"]]

    def test_of_a_supervisor_tells_its_end(self, runtime: FakeNode) -> None:
        client = runtime.boot({"id": "g", "supervisor": {"children": []}}).connect()
        ref = client.ask("monitor", id="g")["ref"]
        client.begin("stop", id="g")
        assert [DOWN, ref, "g", 1, "shutdown"] in client.heard()

    def test_of_what_is_down_says_so_after_its_answer(self, runtime: FakeNode) -> None:
        backoff = {"initial": 20}
        group = {"id": "g", "backoff": backoff, "supervisor": {"max_restarts": 0, "children": [server("x")]}}
        client = runtime.boot(server("a"), server("b", backoff=backoff), group, max_restarts=10).connect()
        client.begin("stop", id="a")
        for id in ("b", "b", "g/x", "g/x"):
            runtime.crash(id)
        assert (runtime.shown()["b"], runtime.shown()["g"]) == ("BACKOFF", "BACKOFF")
        client.heard()
        for id in ("a", "b", "g"):
            number = client.begin("monitor", id=id)
            answer, down = client.heard()
            assert answer[:2] == [REPLY, number]
            assert down == [DOWN, answer[2]["ref"], id, answer[2]["incarnation"], "noproc"]

    def test_that_is_ended_tells_nothing(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a")).connect()
        ref = client.ask("monitor", id="a")["ref"]
        assert runtime.connect().ask("demonitor", ref=ref) is False
        assert client.ask("demonitor", ref=ref) is True
        assert client.ask("demonitor", ref=ref) is False
        runtime.crash("a")
        assert client.heard() == []


class TestModuleOp:
    """A question to the module itself goes to its control thread."""

    def test_brings_what_the_module_answers(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a")).connect()
        number = client.begin("module_op", id="a", op="get_state", args={"timeout": 1})
        ((op, args, timeout_s, answer),) = runtime.process("a").requests
        assert (op, args, timeout_s) == ("get_state", {"timeout": 1}, 5.0)
        answer({"n": 3}, None)
        assert client.heard() == [[REPLY, number, {"n": 3}]]

    def test_brings_the_modules_own_error(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a")).connect()
        number = client.begin("module_op", id="a", op="replace_state", timeout=None)
        _, args, timeout_s, answer = runtime.process("a").requests[0]
        assert (args, timeout_s) == ({}, None)
        answer(None, to_fault(KeyError("n"), id="a", incarnation=1, codec=Codec()))
        ((kind, answered, fault),) = client.heard()
        assert (kind, answered) == (FAULT, number)
        assert isinstance(from_fault(fault), KeyError)

    def test_that_there_is_not_is_refused_with_those_there_are(self, runtime: FakeNode) -> None:
        with pytest.raises(DspexError, match="unknown module operation 'assign'; there are executions, get_state"):
            runtime.boot(server("a")).owner.ask("module_op", id="a", op="assign")

    def test_needs_a_process(self, runtime: FakeNode) -> None:
        runtime.boot(server("a"))
        runtime.owner.begin("stop", id="a")
        runtime.owner.heard()
        with pytest.raises(NoProcessError, match="'a' is STOPPED: it has no process to ask") as caught:
            runtime.owner.ask("module_op", id="a", op="metrics")
        assert caught.value.reason == "shutdown"


class TestUnanswered:
    """A hint to the watchdog, about the incarnation that did not answer."""

    @pytest.mark.parametrize(("incarnation", "pings"), [(1, 1), (2, 0), (None, 0)])
    def test_has_that_incarnation_looked_at(self, runtime: FakeNode, incarnation: int | None, pings: int) -> None:
        runtime.boot(server("a"))
        process = runtime.process("a")
        assert runtime.node.board is not None
        process.slot = runtime.node.board.allocate()
        assert runtime.owner.ask("unanswered", id="a", incarnation=incarnation) is None
        assert [op for op, _, _, _ in process.requests] == ["ping"] * pings

    def test_of_what_is_down_is_nothing(self, runtime: FakeNode) -> None:
        runtime.boot(server("a"))
        runtime.owner.begin("stop", id="a")
        runtime.owner.heard()
        assert runtime.owner.ask("unanswered", id="a", incarnation=1) is None
