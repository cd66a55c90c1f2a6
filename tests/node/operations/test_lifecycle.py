"""Start, stop, restart, kill, delete: answered when it is so, refused when it cannot be."""

from __future__ import annotations

import signal
from typing import Any, ClassVar

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


@pytest.mark.parametrize("id", ["g/a", "g"])
def test_the_log_of_a_deleted_child_goes_with_it(runtime: FakeNode, id: str) -> None:
    runtime.boot(GROUP)
    log = runtime.node.log_path("g/a")
    log.touch()
    late(runtime.owner, "delete", id=id)
    assert not log.exists()
    with pytest.raises(NoProcessError):
        runtime.owner.ask("log_path", id="g/a")


def test_the_log_of_one_that_ended_is_kept(runtime: FakeNode) -> None:
    runtime.boot(server("a", restart="temporary"))
    log = runtime.node.log_path("a")
    log.touch()
    runtime.crash("a")
    assert runtime.owner.ask("log_path", id="a") == str(log)
    assert log.exists()


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


POOL: dict[str, Any] = {"id": "pool", "supervisor": {"dynamic": True, "max_restarts": 1}}


def add(runtime: FakeNode, id: str = "w", **keys: Any) -> str:
    """Start a child of the dynamic supervisor; return its full id."""
    full_id: str = late(runtime.owner, "start", spec=server(id, **keys), supervisor="pool")["id"]
    return full_id


class TestDynamic:
    """A dynamic supervisor's children: started without an id, gone when they end (otp-semantics §1.11)."""

    def test_start_makes_an_id_where_there_is_none_or_it_is_taken(self, runtime: FakeNode) -> None:
        runtime.boot(POOL)
        assert [add(runtime) for _ in range(2)] == ["pool/w", "pool/w#1"]
        answer = late(runtime.owner, "start", spec=server("made-up"), supervisor="pool", unnamed=True)
        assert answer["id"] == "pool/name#1"

    def test_start_gets_what_exists_when_it_is_asked_to(self, runtime: FakeNode) -> None:
        runtime.boot(POOL)
        add(runtime)
        answer = late(runtime.owner, "start", spec=server("w"), supervisor="pool", get_if_exists=True)
        assert (answer["id"], answer["incarnation"]) == ("pool/w", 1)
        assert late(runtime.owner, "start", spec=server("x"), supervisor="pool", get_if_exists=True)["id"] == "pool/x"

    def test_start_over_the_limit_is_refused(self, runtime: FakeNode) -> None:
        runtime.boot({"id": "pool", "supervisor": {"dynamic": True, "max_children": 1}})
        add(runtime)
        with pytest.raises(SupervisorError, match="max_children is 1") as caught:
            add(runtime)
        assert caught.value.code == "max_children"

    @pytest.mark.parametrize("op", ["stop", "delete"])
    def test_what_is_stopped_is_forgotten_and_its_id_is_free(self, runtime: FakeNode, op: str) -> None:
        runtime.boot(POOL)
        assert late(runtime.owner, op, id=add(runtime)) is None
        assert runtime.shown() == {"pool": "READY"}
        with pytest.raises(NoProcessError):
            runtime.owner.ask("start", spec={"id": "pool/w"})
        assert add(runtime) == "pool/w"
        assert runtime.node.registry.resolve("w").incarnation == 2

    def test_restart_keeps_it(self, runtime: FakeNode) -> None:
        runtime.boot(POOL)
        answer = late(runtime.owner, "restart", id=add(runtime))
        assert answer == {"id": "pool/w", "incarnation": 2, "kind": "server"}

    def test_kill_is_a_crash(self, runtime: FakeNode) -> None:
        runtime.boot(POOL)
        runtime.owner.ask("kill", id=add(runtime))
        assert runtime.process("pool/w").signals == [signal.SIGKILL]
        runtime.crash("pool/w")
        assert runtime.node.registry.resolve("w").restarts == 1

    @pytest.mark.parametrize("op", ["restart", "stop"])
    def test_1_5_a_dynamic_supervisor_that_starts_anew_has_lost_its_children(self, runtime: FakeNode, op: str) -> None:
        runtime.boot(POOL)
        add(runtime)
        late(runtime.owner, op, id="pool")
        assert runtime.shown() == {"pool": "READY" if op == "restart" else "STOPPED"}
        assert runtime.owner.ask("exit_of", id="pool/w", incarnation=1) == "shutdown"

    def test_1_5_one_that_gave_up_shows_what_it_stopped_until_it_starts_anew(self, runtime: FakeNode) -> None:
        runtime.boot(POOL | {"restart": "transient"})
        add(runtime)
        add(runtime, "v")
        for _ in range(2):
            runtime.crash("pool/w")
        assert runtime.shown() == {"pool": "FAILED", "pool/w": "FAILED", "pool/v": "FAILED"}
        with pytest.raises(NoProcessError, match="'pool/v' was added to its supervisor while that ran and is forgotten"):
            late(runtime.owner, "start", spec={"id": "v"})
        assert runtime.shown() == {"pool": "READY"}

    def test_1_5_a_permanent_one_is_restarted_empty(self, runtime: FakeNode) -> None:
        runtime.boot(POOL)
        add(runtime)
        for _ in range(2):
            runtime.crash("pool/w")
        assert runtime.shown() == {"pool": "READY"}
        assert runtime.node.registry.resolve("pool").incarnation == 2


class TestAutoShutdown:
    """A supervisor that ends because significant children did has EXITED, not FAILED (otp-semantics §1.9)."""

    GROUP: ClassVar[dict[str, Any]] = {
        "id": "g",
        "restart": "transient",
        "supervisor": {
            "auto_shutdown": "any_significant",
            "children": [server("a", restart="transient", significant=True), server("b")],
        },
    }

    def end(self, runtime: FakeNode, id: str, reason: Any = "normal") -> None:
        runtime.process(id).end(reason)
        runtime.turn()

    def events(self, runtime: FakeNode, type: str) -> list[Any]:
        return [event["id"] for event in runtime.node.reports.events if event["type"] == type]

    def test_1_9_a_supervisor_that_shut_itself_down_is_shown_as_exited(self, runtime: FakeNode) -> None:
        runtime.boot(self.GROUP, server("c"))
        self.end(runtime, "g/a")
        assert runtime.shown() == {"g": "EXITED", "g/a": "EXITED", "g/b": "STOPPED", "c": "READY"}
        assert runtime.node.registry.resolve("g").last_exit == "shutdown"
        assert (self.events(runtime, "auto_shutdown"), self.events(runtime, "gave_up")) == (["g"], [])

    def test_1_9_a_crash_of_a_significant_transient_child_is_a_restart(self, runtime: FakeNode) -> None:
        runtime.boot(self.GROUP)
        self.end(runtime, "g/a", "killed")
        assert runtime.shown() == {"g": "READY", "g/a": "READY", "g/b": "READY"}

    def test_it_is_started_again_like_everything_that_is_down(self, runtime: FakeNode) -> None:
        runtime.boot(self.GROUP)
        self.end(runtime, "g/a")
        assert late(runtime.owner, "start", spec={"id": "b"})["id"] == "g/b"
        assert runtime.shown() == {"g": "READY", "g/a": "READY", "g/b": "READY"}

    def test_1_9_a_permanent_supervisor_is_restarted(self, runtime: FakeNode) -> None:
        runtime.boot(self.GROUP | {"restart": "permanent"})
        self.end(runtime, "g/a")
        assert runtime.shown() == {"g": "READY", "g/a": "READY", "g/b": "READY"}
        assert runtime.node.registry.resolve("g").restarts == 1

    def test_1_9_it_propagates_upward_through_significant_supervisors_to_the_root(self, runtime: FakeNode) -> None:
        runtime.boot(self.GROUP | {"significant": True}, server("c"), auto_shutdown="all_significant")
        self.end(runtime, "g/a")
        assert runtime.shown() == {"g": "EXITED", "g/a": "EXITED", "g/b": "STOPPED", "c": "STOPPED"}
        assert self.events(runtime, "auto_shutdown") == ["g", "root"]
        assert runtime.owner.ask("tree")["state"] == "EXITED"
        assert runtime.node.state == "running"  # it stays, to be looked at

    @pytest.mark.parametrize("id", ["root", "c", "g/b"])
    def test_a_root_that_shut_itself_down_can_be_started_again(self, runtime: FakeNode, id: str) -> None:
        runtime.boot(self.GROUP | {"significant": True}, server("c"), auto_shutdown="all_significant")
        self.end(runtime, "g/a")
        assert late(runtime.owner, "start", spec={"id": id})["id"] == id
        assert runtime.shown() == {"g": "READY", "g/a": "READY", "g/b": "READY", "c": "READY"}
        assert runtime.owner.ask("tree")["state"] == "READY"


class TestRoot:
    """The root supervisor is brought back by its name, or with any of its children."""

    def test_one_that_runs_is_not_started(self, runtime: FakeNode) -> None:
        with pytest.raises(SupervisorError, match="the root supervisor is running") as caught:
            runtime.boot().owner.ask("start", spec={"id": "root"})
        assert caught.value.code == "already_started"

    def test_1_5_one_that_gave_up_comes_back_without_the_children_added_to_it(self, runtime: FakeNode) -> None:
        runtime.boot(server("a"), max_restarts=0)
        late(runtime.owner, "start", spec=server("alone"))
        late(runtime.owner, "start", spec=server("added"), supervisor="root")
        late(runtime.owner, "start", spec={"id": "group", "supervisor": {"children": [server("b")]}}, supervisor="root")
        runtime.crash("a")
        assert runtime.shown() == {"a": "FAILED", "alone": "READY", "added": "FAILED", "group": "FAILED", "group/b": "FAILED"}
        answer = late(runtime.owner, "start", spec={"id": "root"})
        assert answer == {"id": "root", "incarnation": 0, "kind": "supervisor"}
        assert runtime.shown() == {"a": "READY", "alone": "READY"}
