"""What clients may look at; nothing they ask here changes the tree."""

from __future__ import annotations

import os
from typing import Any

import pytest

from dspex_runtime.errors import ConfigError, DspexError, NoProcessError
from dspex_runtime.node import registry
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.faults import from_fault, to_fault
from dspex_runtime.wire.messages import FAULT, REPLY
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

    def test_of_a_supervisor_says_how_it_supervises(self, runtime: FakeNode) -> None:
        runtime.boot({"id": "g", "supervisor": {"children": [server("a")], "max_restarts": 9}}, server("b"))
        runtime.crash("g/a")
        about = runtime.owner.ask("info", id="g")["supervisor"]
        assert (about["strategy"], about["restarts_used"], about["max_restarts"], about["children"]) == ("one_for_one", 1, 9, 1)
        assert runtime.owner.ask("info", id="b")["supervisor"] is None
        assert runtime.owner.ask("tree")["children"][0]["supervisor"] == about

    def test_of_the_root_is_that_of_a_supervisor(self, runtime: FakeNode) -> None:
        about = runtime.boot(server("a"), max_restarts=7).owner.ask("info", id="root")
        assert (about["id"], about["kind"], about["state"], about["pid"]) == ("root", "supervisor", "READY", os.getpid())
        assert about["supervisor"]["max_restarts"] == runtime.owner.ask("tree")["supervisor"]["max_restarts"] == 7

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
        assert status["zygote_pids"] == {"servers": 42, "modules": 43}

    def test_of_the_log_is_there_a_while_longer_than_its_child(self, runtime: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(registry, "KEPT_DEPARTED", 1)
        runtime.boot(server("a", restart="temporary"), server("b", restart="temporary"))
        folder = runtime.folder / "state" / "logs"
        logs = [folder / name for name in ("a.log", "a.log.1", "a.log.3", "b.log")]
        for log in logs:
            log.touch()
        runtime.crash("a")
        assert runtime.owner.ask("log_path", id="a") == str(logs[0])
        runtime.crash("b")
        assert [log.exists() for log in logs] == [False, False, False, True]
        with pytest.raises(NoProcessError):
            runtime.owner.ask("log_path", id="a")

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
        with pytest.raises(DspexError, match="unknown module operation 'assign'; there are debug, executions"):
            runtime.boot(server("a")).owner.ask("module_op", id="a", op="assign")

    def test_needs_a_process(self, runtime: FakeNode) -> None:
        runtime.boot(server("a"))
        runtime.owner.begin("stop", id="a")
        runtime.owner.heard()
        with pytest.raises(NoProcessError, match="'a' is STOPPED: it has no process to ask") as caught:
            runtime.owner.ask("module_op", id="a", op="statistics")
        assert caught.value.reason == "shutdown"

    def test_about_one_incarnation_goes_to_it_or_to_nobody(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a"), max_restarts=10).connect()
        client.begin("module_op", id="a", op="reply", incarnation=1)
        assert runtime.process("a").requests[0][0] == "reply"
        runtime.crash("a")
        client.heard()
        with pytest.raises(NoProcessError):
            client.ask("module_op", id="a", op="reply", incarnation=1)

    def test_that_is_for_now_does_not_wait_for_an_incarnation_that_is_on_its_way(self, runtime: FakeNode) -> None:
        backoff = {"initial": 20}
        client = runtime.boot(server("a", backoff=backoff), max_restarts=10).connect()
        for _ in range(2):
            runtime.crash("a")
        client.heard()
        with pytest.raises(NoProcessError, match="it has no process to ask"):
            client.ask("module_op", id="a", op="terminate", now=True)
        client.begin("module_op", id="a", op="get_state")
        assert client.heard() == []


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
