"""Start, stop, restart, kill, delete: answered when it is so, refused when it cannot be."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from dspex_runtime.errors import ConfigError, NoProcessError, StartError, SupervisorError
from dspex_runtime.wire.faults import from_fault
from dspex_runtime.wire.messages import FAULT, REPLY
from helpers.fake_node import Client, FakeNode, server

GROUP: dict[str, Any] = {"id": "g", "supervisor": {"children": [server("a")]}}


def late(client: Client, op: str, /, **args: Any) -> Any:
    """Ask for something that takes a turn of the world; return its value or raise its fault."""
    client.heard()
    number = client.begin(op, **args)
    (answer,) = [message for message in client.heard() if message[0] in (REPLY, FAULT) and message[1] == number]
    if answer[0] == FAULT:
        raise from_fault(answer[2])
    return answer[2]


class TestStart:
    """A new child, alone or under a supervisor; or one that is down."""

    @pytest.mark.parametrize(("supervisor", "full_id", "owner"), [(None, "x", "@x"), ("root", "x", ""), ("g", "g/x", "g")])
    def test_answers_with_who_it_is(self, runtime: FakeNode, supervisor: str | None, full_id: str, owner: str) -> None:
        runtime.boot(GROUP)
        answer = late(runtime.owner, "start", spec=server("x"), supervisor=supervisor)
        assert answer == {"id": full_id, "incarnation": 1, "kind": "server"}
        assert runtime.node.supervision is not None
        node = runtime.node.supervision.owner(full_id)
        assert node is not None
        assert node.key == owner

    def test_that_ignores_is_undefined(self, runtime: FakeNode) -> None:
        runtime.boot().launcher.script["x"] = ["ignore"]
        assert late(runtime.owner, "start", spec=server("x")) == "undefined"

    @pytest.mark.parametrize("supervisor", [None, "root"])
    def test_that_fails_says_why(self, runtime: FakeNode, supervisor: str | None) -> None:
        runtime.boot().launcher.script["x"] = ["fail"]
        with pytest.raises(StartError, match="'x' did not start: ValueError: no") as caught:
            late(runtime.owner, "start", spec=server("x"), supervisor=supervisor)
        assert caught.value.id == "x"

    def test_with_a_wrong_spec_names_all_that_is_wrong(self, runtime: FakeNode) -> None:
        with pytest.raises(ConfigError) as caught:
            runtime.boot().owner.ask("start", spec={"id": "x", "server": "pkg:X", "restrat": 1, "concurrency": 0})
        assert len(caught.value.problems) == 2

    def test_under_nobody_is_refused(self, runtime: FakeNode) -> None:
        runtime.boot(server("a"))
        for supervisor, error in (("nobody", NoProcessError), ("a", SupervisorError)):
            with pytest.raises(error):
                runtime.owner.ask("start", spec=server("x"), supervisor=supervisor)

    @pytest.mark.parametrize(("supervisor", "full_id"), [(None, "a"), ("root", "a"), ("g", "g/a")])
    def test_of_what_runs_is_refused(self, runtime: FakeNode, supervisor: str | None, full_id: str) -> None:
        runtime.boot(server("a"), GROUP)
        with pytest.raises(SupervisorError, match=f"'{full_id}' exists already and is READY") as caught:
            runtime.owner.ask("start", spec=server("a"), supervisor=supervisor)
        assert (caught.value.code, caught.value.hint) == ("already_started", None)

    def test_of_what_is_down_is_refused_with_what_to_do(self, runtime: FakeNode) -> None:
        late(runtime.boot(server("a")).owner, "stop", id="a")
        for get_if_exists in (False, True):
            with pytest.raises(SupervisorError, match="exists already and is STOPPED") as caught:
                runtime.owner.ask("start", spec=server("a"), get_if_exists=get_if_exists)
            assert caught.value.code == "already_present"
            assert caught.value.hint == "`rt.start('a')` starts it again, `rt.delete('a')` forgets it"

    def test_gets_what_exists_when_that_is_ready(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a")).connect()
        existing = {"id": "a", "incarnation": 1, "kind": "server"}
        assert client.ask("start", spec=server("a"), get_if_exists=True) == existing
        runtime.launcher.script["a"] = ["hang"]
        runtime.crash("a")
        number = client.begin("start", spec=server("a"), get_if_exists=True)
        assert client.heard() == []
        runtime.process("a").become_ready()
        assert client.heard() == [[REPLY, number, {**existing, "incarnation": 2}]]

    @pytest.mark.parametrize("id", ["a", "g/a"])
    def test_with_an_id_alone_brings_back_what_was_stopped(self, runtime: FakeNode, id: str) -> None:
        late(runtime.boot(GROUP).owner, "stop", id=id)
        assert late(runtime.owner, "start", spec={"id": id}) == {"id": "g/a", "incarnation": 2, "kind": "server"}

    def test_with_the_id_of_a_failed_one_brings_back_what_failed_above_it(self, runtime: FakeNode) -> None:
        group = {"id": "g", "restart": "transient", "supervisor": {"max_restarts": 0, "children": [server("a")]}}
        runtime.boot(group)
        runtime.crash("g/a")
        assert runtime.shown() == {"g": "FAILED", "g/a": "FAILED"}
        assert late(runtime.owner, "start", spec={"id": "a"}) == {"id": "g/a", "incarnation": 2, "kind": "server"}

    def test_with_the_id_of_what_runs_is_refused(self, runtime: FakeNode) -> None:
        with pytest.raises(SupervisorError, match="is running"):
            runtime.boot(server("a")).owner.ask("start", spec={"id": "a"})


class TestStop:
    """Answered when it is reaped."""

    def test_leaves_it_down(self, runtime: FakeNode) -> None:
        assert late(runtime.boot(server("a")).owner, "stop", id="a") is None
        assert runtime.shown() == {"a": "STOPPED"}

    def test_of_what_is_down_is_no_error(self, runtime: FakeNode) -> None:
        for _ in range(2):
            assert late(runtime.boot(server("a")).owner if not runtime.shown() else runtime.owner, "stop", id="a") is None


class TestRestart:
    """In order, and not counted."""

    def test_of_what_runs_is_a_new_incarnation(self, runtime: FakeNode) -> None:
        answer = late(runtime.boot(server("a"), max_restarts=0).owner, "restart", id="a")
        assert answer == {"id": "a", "incarnation": 2, "kind": "server"}
        assert runtime.node.registry.resolve("a").restarts == 0

    def test_of_what_is_down_starts_it(self, runtime: FakeNode) -> None:
        late(runtime.boot(server("a")).owner, "stop", id="a")
        assert late(runtime.owner, "restart", id="a")["incarnation"] == 2

    def test_that_fails_says_why(self, runtime: FakeNode) -> None:
        runtime.boot(server("a")).launcher.script["a"] = ["fail"]
        with pytest.raises(StartError, match="'a' did not start"):
            late(runtime.owner, "restart", id="a")


class TestKill:
    """A signal to the process, by number or by any of its names."""

    @pytest.mark.parametrize(
        ("name", "signo"),
        [
            ("KILL", signal.SIGKILL), ("SIGTERM", signal.SIGTERM), ("hup", signal.SIGHUP), ("sigint", signal.SIGINT),
            (10, signal.SIGUSR1),
        ],
    )  # fmt: skip
    def test_sends_it_and_says_so(self, runtime: FakeNode, name: str | int, signo: int) -> None:
        assert runtime.boot(server("a")).owner.ask("kill", id="a", signal=name) is None
        assert runtime.process("a").signals == [signo]
        event = runtime.node.reports.events[-1]
        assert (event["type"], event["id"], event["signal"]) == ("signalled", "a", signal.Signals(signo).name[3:])

    def test_is_sigkill_unless_told_otherwise(self, runtime: FakeNode) -> None:
        runtime.boot(server("a")).owner.ask("kill", id="a")
        assert runtime.process("a").signals == [signal.SIGKILL]

    @pytest.mark.parametrize("name", ["NONE", "", 0, 999, None])
    def test_of_an_unknown_name_is_refused(self, runtime: FakeNode, name: Any) -> None:
        with pytest.raises(ConfigError, match=f"unknown signal {name!r}"):
            runtime.boot(server("a")).owner.ask("kill", id="a", signal=name)

    @pytest.mark.parametrize(("id", "said"), [("a", "has no process: it is STOPPED"), ("g", "is a supervisor: it has no process")])
    def test_needs_a_process(self, runtime: FakeNode, id: str, said: str) -> None:
        late(runtime.boot(server("a"), GROUP | {"supervisor": {"children": []}}).owner, "stop", id="a")
        with pytest.raises(NoProcessError, match=f"'{id}' {said}"):
            runtime.owner.ask("kill", id=id)


class TestDelete:
    """Stopped if need be, then forgotten."""

    @pytest.mark.parametrize("stopped", [False, True])
    def test_leaves_nothing(self, runtime: FakeNode, stopped: bool) -> None:
        runtime.boot(server("a"), server("b"))
        if stopped:
            late(runtime.owner, "stop", id="a")
        assert late(runtime.owner, "delete", id="a") is None
        assert runtime.shown() == {"b": "READY"}
        assert late(runtime.owner, "start", spec=server("a"))["incarnation"] == 2
