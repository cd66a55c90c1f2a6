"""Monitors, links and exit signals as clients and modules ask for them (otp-semantics §2.7), over fake processes."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.errors import ConfigError
from dspex_runtime.types import Down, Exit
from dspex_runtime.wire.faults import from_fault
from dspex_runtime.wire.messages import BYE, DOWN, FAULT, REPLY
from helpers.fake_node import FakeNode, server

MORTAL = {"trap_exit": False, "restart": "temporary"}


def module(id: str, **fields: Any) -> dict[str, Any]:
    return {"id": id, "module": "pkg.mod:Name", "backoff": "none", **fields}


def ask(runtime: FakeNode, who: str, op: str, /, **args: Any) -> Any:
    """Ask as a module."""
    ((kind, _, value),) = runtime.process(who).ask(op, **args)
    if kind == FAULT:
        raise from_fault(value)
    return value


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

    def test_of_what_is_down_says_noproc_before_its_answer(self, runtime: FakeNode) -> None:
        backoff = {"initial": 20}
        group = {"id": "g", "backoff": backoff, "supervisor": {"max_restarts": 0, "children": [server("x")]}}
        client = runtime.boot(server("a"), server("b", backoff=backoff), group, max_restarts=10).connect()
        client.begin("stop", id="a")
        for id in ("b", "b", "g/x", "g/x"):
            runtime.crash(id)
        assert (runtime.shown()["b"], runtime.shown()["g"]) == ("BACKOFF", "BACKOFF")
        client.heard()
        for id in ("a", "b", "g", "nobody"):
            number = client.begin("monitor", id=id)
            down, answer = client.heard()
            assert answer[:2] == [REPLY, number]
            assert down == [DOWN, answer[2]["ref"], id, answer[2]["incarnation"], "noproc"]

    def test_of_an_ambiguous_id_is_refused(self, runtime: FakeNode) -> None:
        groups = [{"id": id, "supervisor": {"children": [server("x")]}} for id in "gh"]
        with pytest.raises(ConfigError):
            runtime.boot(*groups).owner.ask("monitor", id="x")

    def test_that_is_ended_tells_nothing_and_says_whether_it_was_active(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a")).connect()
        ref = client.ask("monitor", id="a")["ref"]
        assert runtime.connect().ask("demonitor", ref=ref) is False
        assert client.ask("demonitor", ref=ref) is True
        assert client.ask("demonitor", ref=ref) is False
        runtime.crash("a")
        assert client.heard() == []

    def test_of_a_module_comes_into_its_mailbox(self, runtime: FakeNode) -> None:
        runtime.boot(server("a"), server("b"))
        refs = [ask(runtime, "a", "monitor", id=id)["ref"] for id in ("b", "b", "nobody")]
        assert len(set(refs)) == 3
        assert ask(runtime, "a", "demonitor", ref=refs[1]) is True
        runtime.crash("b")
        assert runtime.process("a").mail == [Down("nobody", 0, "noproc", refs[2]), Down("b", 1, "killed", refs[0])]

    def test_of_a_module_that_ended_is_gone(self, runtime: FakeNode) -> None:
        runtime.boot(server("a"), server("b"))
        watcher = runtime.process("a")
        ask(runtime, "a", "monitor", id="b")
        runtime.crash("a")
        runtime.crash("b")
        assert watcher.mail == runtime.process("a").mail == []


class TestLink:
    """One per pair, whoever made it."""

    def test_of_two_modules_by_a_client(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a"), server("b")).owner
        client.ask("link", **{"id": "a", "with": "b"})
        ask(runtime, "b", "link", id="a")
        runtime.crash("a")
        assert runtime.process("b").mail == [Exit("a", 1, "killed")]
        assert runtime.shown()["b"] == "READY"

    def test_of_a_client_tells_it_the_reason_once_for_each_of_its_numbers(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a", restart="transient")).connect()
        first, second = (client.ask("link", id="a")["ref"] for _ in range(2))
        runtime.process("a").end("normal")
        assert client.heard() == [[DOWN, first, "a", 1, "normal"], [DOWN, second, "a", 1, "normal"]]

    def test_with_what_is_not_there_is_noproc(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a"), server("b", **MORTAL)).connect()
        ask(runtime, "a", "link", id="nobody")
        assert runtime.process("a").mail == [Exit("nobody", 0, "noproc")]
        client.begin("link", id="nobody")
        down, answer = client.heard()
        assert down == [DOWN, answer[2]["ref"], "nobody", 0, "noproc"]
        client.ask("link", **{"id": "nobody", "with": "a"})
        assert len(runtime.process("a").mail) == 2
        ask(runtime, "b", "link", id="nobody")
        runtime.turn()
        assert client.ask("exit_of", id="b", incarnation=1) == "noproc"

    def test_of_the_dead_with_the_dead_is_nothing(self, runtime: FakeNode) -> None:
        client = runtime.boot().owner
        client.ask("link", **{"id": "x", "with": "y"})
        assert len(runtime.node.relations.linking) == 0

    def test_that_was_removed_signals_nobody(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a"), server("b")).connect()
        ask(runtime, "a", "link", id="b")
        client.ask("link", id="a")
        assert [ask(runtime, "b", "unlink", id="a")["linked"] for _ in range(2)] == [True, False]
        assert [client.ask("unlink", id="a")["linked"] for _ in range(2)] == [True, False]
        runtime.crash("a")
        assert (runtime.process("b").mail, client.heard()) == ([], [])

    def test_of_a_client_ends_with_the_last_of_its_numbers(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a")).connect()
        first, second = (client.ask("link", id="a")["ref"] for _ in range(2))
        assert client.ask("demonitor", ref=first) is True
        assert len(runtime.node.relations.linking) == 1
        assert client.ask("demonitor", ref=second) is True
        assert client.ask("demonitor", ref=second) is False
        assert len(runtime.node.relations.linking) == 0

    @pytest.mark.parametrize("says_goodbye", [True, False])
    def test_of_a_client_that_ends_tells_how(self, runtime: FakeNode, says_goodbye: bool) -> None:
        client = runtime.boot(server("a"), server("b", **MORTAL)).connect()
        client.ask("link", id="a")
        client.ask("link", id="b")
        if says_goodbye:
            client.send([BYE, 0, "normal"])
        client.close()
        (signal,) = runtime.process("a").mail
        assert signal.id.startswith("client#")
        assert signal.reason == ("normal" if says_goodbye else ("error", "ClientLost", "its connection ended", ""))
        assert ("b" in runtime.shown()) is says_goodbye

    def test_of_a_chain_ends_all_of_it_and_a_cycle_ends(self, runtime: FakeNode) -> None:
        client = runtime.boot(*(server(id, **MORTAL) for id in "abcd")).owner
        for one, other in ("ab", "bc", "ca"):
            client.ask("link", **{"id": one, "with": other})
        runtime.process("b").end(("exit_status", 3))
        runtime.turn()
        assert list(runtime.shown()) == ["d"]
        assert [client.ask("exit_of", id=id, incarnation=1) for id in "abc"] == [("exit_status", 3)] * 3

    def test_counts_for_the_supervisor_as_the_exit_it_is(self, runtime: FakeNode) -> None:
        children = [server(id, trap_exit=False, restart="transient") for id in ("normal", "crash")]
        client = runtime.boot(*children, server("a", restart="temporary"), server("b", restart="temporary")).owner
        client.ask("link", **{"id": "normal", "with": "a"})
        client.ask("link", **{"id": "crash", "with": "b"})
        runtime.process("a").end("shutdown")
        runtime.process("b").end(("error", "ValueError", "boom", ""))
        runtime.turn()
        assert runtime.shown() == {"normal": "EXITED", "crash": "READY"}
        assert [client.ask("info", id=id)["last_exit"] for id in ("normal", "crash")] == [
            "shutdown", ("error", "ValueError", "boom", ""),
        ]  # fmt: skip

    def test_of_a_dspy_module_ends_it_in_order_and_by_force_when_its_time_is_over(self, runtime: FakeNode) -> None:
        shutdown = {"drain": 1, "timeout": 5}
        modules = [module("m", shutdown=shutdown), module("n", shutdown=shutdown), module("k", shutdown="brutal_kill")]
        runtime.boot(server("a"), *modules)
        runtime.launcher.stubborn = {"n"}
        for id in "mnk":
            ask(runtime, id, "link", id="a")
        runtime.launcher.did()
        runtime.crash("a")
        assert [line for line in runtime.launcher.did() if not line.startswith("start")] == ["stop m", "stop n", "kill k"]
        assert [runtime.node.info(record)["last_exit"] for record in runtime.node.registry if record.id in "mk"] == ["killed"] * 2
        runtime.advance(5.0)
        assert "kill n" in runtime.launcher.did()


class TestRoot:
    """The root supervisor is watched and linked with as any other; it is not to be killed."""

    @pytest.mark.parametrize("op", ["monitor", "link"])
    def test_its_end_is_told(self, runtime: FakeNode, op: str) -> None:
        client = runtime.boot(server("a", restart="permanent"), max_restarts=0).connect()
        ref = client.ask(op, id="root")["ref"]
        runtime.crash("a")
        assert [message for message in client.heard() if message[0] == DOWN] == [[DOWN, ref, "root", 1, "shutdown"]]

    @pytest.mark.parametrize("op", ["monitor", "link"])
    def test_one_that_has_ended_is_no_process_and_one_started_again_another(self, runtime: FakeNode, op: str) -> None:
        client = runtime.boot(server("a"), max_restarts=0).connect()
        runtime.crash("a")
        client.begin(op, id="root")
        assert [message[4] for message in client.heard() if message[0] == DOWN] == ["noproc"]
        client.begin("start", spec={"id": "root"})
        client.heard()
        assert client.ask(op, id="root")["incarnation"] == 2
        assert client.ask("info", id="root")["incarnation"] == 2

    def test_it_is_not_to_be_killed(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a")).connect()
        with pytest.raises(ConfigError, match="not to be killed") as caught:
            client.ask("exit", id="root", reason="kill")
        assert "rt.shutdown()" in (caught.value.hint or "")
        client.ask("exit", id="root", reason="shutdown")  # dropped, as by any supervisor
        assert runtime.shown() == {"a": "READY"}


class TestExit:
    """exit(id, reason): by who sends and who gets it."""

    def test_to_who_traps_exits_is_a_message_with_its_sender(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a"), server("b")).connect()
        ask(runtime, "b", "exit", id="a", reason="normal")
        client.ask("exit", id="a", reason=("shutdown", 1))
        from_b, from_client = runtime.process("a").mail
        assert from_b == Exit("b", 1, "normal")
        assert (from_client.incarnation, from_client.reason) == (0, ("shutdown", 1))

    def test_kill_is_not_trapped(self, runtime: FakeNode) -> None:
        runtime.boot(server("a")).owner.ask("exit", id="a", reason="kill")
        runtime.turn()
        record = runtime.node.registry.get("a")
        assert record is not None
        assert (record.last_exit, record.incarnation) == ("killed", 2)

    def test_shows_who_ended_what_in_the_events(self, runtime: FakeNode) -> None:
        runtime.boot(server("a"), server("b"))
        ask(runtime, "b", "exit", id="a", reason="kill")
        (event,) = [event for event in runtime.node.reports.events if event["type"] == "exit_signal"]
        assert (event["id"], event["reason"], event["sender"]) == ("a", "killed", "b")

    def test_from_oneself_with_normal_ends_who_does_not_trap_it(self, runtime: FakeNode) -> None:
        runtime.boot(server("a", **MORTAL), server("b"))
        ask(runtime, "a", "exit", id="b", reason="normal")
        ask(runtime, "a", "exit", id="a", reason="normal")
        runtime.turn()
        assert list(runtime.shown()) == ["b"]

    def test_to_nobody_is_nothing(self, runtime: FakeNode) -> None:
        assert runtime.boot().owner.ask("exit", id="nobody", reason="kill") is None

    @pytest.mark.parametrize("reason", ["because", 5, None, ("error", "x"), ["shutdown", 1]])
    def test_with_what_is_no_reason_is_refused(self, runtime: FakeNode, reason: Any) -> None:
        with pytest.raises(ConfigError, match="is no exit reason"):
            runtime.boot(server("a")).owner.ask("exit", id="a", reason=reason)

    @pytest.mark.parametrize("reason", ["shutdown", "normal", "killed"])
    def test_to_a_supervisor_is_ignored(self, runtime: FakeNode, reason: str) -> None:
        client = runtime.boot({"id": "g", "supervisor": {"children": [server("x")]}}).owner
        client.ask("exit", id="g", reason=reason)
        runtime.turn()
        assert runtime.node.info(runtime.node.registry.resolve("g"))["incarnation"] == 1

    def test_kill_to_a_supervisor_ends_all_that_is_below_and_its_supervisor_decides(self, runtime: FakeNode) -> None:
        inner = {"id": "h", "supervisor": {"children": [server("y")]}}
        client = runtime.boot({"id": "g", "supervisor": {"children": [server("x"), inner]}}, server("a")).owner
        for id in ("g", "g/x"):
            ask(runtime, "a", "link", id=id)
        runtime.launcher.undying = {"g/x"}
        client.ask("exit", id="g", reason="kill")
        client.ask("exit", id="g", reason="kill")  # it is dying already
        assert runtime.process("a").mail == []
        runtime.process("g/x").end("killed")
        runtime.turn()
        assert runtime.process("a").mail == [Exit("g/x", 1, "killed"), Exit("g", 1, "killed")]
        assert runtime.shown() == dict.fromkeys(["g", "g/x", "g/h", "g/h/y", "a"], "READY")
        assert runtime.node.info(runtime.node.registry.resolve("g"))["incarnation"] == 2

    def test_kill_to_a_supervisor_that_is_starting_is_a_failed_start(self, runtime: FakeNode) -> None:
        runtime.boot().launcher.script["g/x"] = ["hang"]
        number = runtime.owner.begin("start_child", supervisor="root", spec={"id": "g", "supervisor": {"children": [server("x")]}})
        runtime.owner.heard()
        runtime.owner.begin("exit", id="g", reason="kill")
        ((kind, request, fault),) = [message for message in runtime.owner.heard() if message[1] == number]
        assert (kind, request) == (FAULT, number)
        assert from_fault(fault).reason == "killed"  # type: ignore[attr-defined]
