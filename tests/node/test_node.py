"""One runtime from its boot to its end, and what it owes its clients on the way."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dspex_runtime.config import normalize
from dspex_runtime.errors import ConfigError, DspexError, StartError
from dspex_runtime.node.front_door import ACCEPT_PAUSE_S
from dspex_runtime.node.peer import PLAIN
from dspex_runtime.osproc import folder_lock, rendezvous
from dspex_runtime.osproc.channel import Channel
from dspex_runtime.types import Kind
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.faults import from_fault
from dspex_runtime.wire.messages import CONTROL, EVENT, FAULT, HELLO, PROTOCOL, REPLY
from helpers.fake_node import Client, FakeNode, server
from helpers.waiting import PATIENCE_S


def failure(client: Client) -> BaseException:
    (error,) = [from_fault(message[2]) for message in client.heard() if message[0] == FAULT]
    return error


class TestBoot:
    """The owner brings the configuration and hears of the progress, then of the result."""

    def test_progress_comes_first_and_the_answer_when_all_is_ready(self, runtime: FakeNode) -> None:
        runtime.launcher.script["b"] = ["hang"]
        runtime.owner.greet("owner")
        number = runtime.send_boot(config=runtime.config(server("a"), server("b")))
        progress = runtime.owner.heard()
        assert {message[0] for message in progress} == {EVENT}
        assert ["a", "READY"] in [[m[2]["id"], m[2].get("state")] for m in progress]
        runtime.process("b").become_ready()
        answer = runtime.owner.heard()[-1]
        assert answer[:2] == [REPLY, number]
        assert answer[2] == {
            "name": "t",
            "socket": rendezvous.socket_path("t"),
            "pid": os.getpid(),
            "state_dir": str(runtime.folder / "state"),
        }
        runtime.crash("a")
        assert runtime.owner.heard() == []  # progress ends with the answer

    def test_the_launcher_gets_what_the_configuration_says(self, runtime: FakeNode) -> None:
        runtime.owner.greet("owner")
        runtime.send_boot(config=runtime.config(server("a")), sys_path=["/of/the/client"])
        assert runtime.options["preload"] == ()
        assert runtime.options["path"] == [str(runtime.folder), "/of/the/client"]

    def test_a_process_is_told_where_it_runs(self, runtime: FakeNode) -> None:
        runtime.boot(server("a"))
        facts = runtime.options["facts"](runtime.process("a"))
        assert (facts["runtime"], facts["socket"]) == ("t", runtime.node.socket_path)
        assert facts["log"] == str(runtime.folder / "state" / "logs" / "a.log")

    def test_a_child_that_does_not_start_is_why_the_boot_failed(self, runtime: FakeNode) -> None:
        runtime.launcher.script["a"] = ["fail"]
        runtime.owner.greet("owner")
        runtime.send_boot(config=runtime.config(server("a")))
        error = failure(runtime.owner)
        assert isinstance(error, StartError)
        assert (error.id, runtime.node.state) == ("a", "failed")

    def test_a_zygote_that_does_not_start_is_why_the_boot_failed(self, runtime: FakeNode) -> None:
        runtime.launcher.script["a"] = ["hang"]
        runtime.owner.greet("owner")
        runtime.send_boot(config=runtime.config(server("a")))
        runtime.owner.heard()
        runtime.options["on_failed"](StartError("preload 'nowhere' failed"))
        assert str(failure(runtime.owner)) == "preload 'nowhere' failed"

    def test_a_name_that_is_taken_is_refused(self, runtime: FakeNode) -> None:
        held = rendezvous.claim("t")
        runtime.owner.greet("owner")
        runtime.send_boot(config=runtime.config(server("a")))
        assert "a runtime named 't' is already running" in str(failure(runtime.owner))
        held.release()

    def test_a_process_is_told_of_what_is_kept_and_gets_it(self, runtime: FakeNode) -> None:
        runtime.keeper.answers["open"] = {"ids": {"a": {"metrics": {"calls": 7}}}, "kept": ["a"]}
        runtime.keeper.answers["give"] = {"table": False}
        (runtime.folder / "state" / "journals" / "a").mkdir(parents=True)
        runtime.boot(server("a"), server("b"))
        runtime.turn()
        a, b = runtime.process("a"), runtime.process("b")
        assert (a.facts["kept"], a.facts["base"]) == (True, {"calls": 7})
        assert (b.facts["kept"], b.facts["base"]) == (False, {})
        assert b.facts["journal"] == str(runtime.folder / "state" / "journals" / "b")
        assert (a.kept, b.kept) == ([({"table": False}, 0)], [])

    def test_the_tree_waits_for_the_store_only_where_something_is_kept(self, runtime: FakeNode) -> None:
        del runtime.keeper.answers["open"]
        runtime.owner.greet("owner")
        (runtime.folder / "state" / "journals" / "a").mkdir(parents=True)
        runtime.send_boot(config=runtime.config(server("a")))
        assert runtime.launcher.did() == []
        runtime.keeper.answer(runtime.keeper.question("open"), {"ids": {}, "kept": []})
        runtime.turn()
        assert runtime.launcher.did() == ["start a"]

    def test_an_empty_directory_holds_nothing_up(self, runtime: FakeNode) -> None:
        del runtime.keeper.answers["open"]
        runtime.boot(server("a"))
        assert runtime.launcher.did() == ["start a"]

    @pytest.mark.parametrize("fresh", [True, False])
    def test_the_store_is_told_whether_to_begin_anew_and_what_is_shared(self, runtime: FakeNode, fresh: bool) -> None:
        runtime.owner.greet("owner")
        config = {**runtime.config(), "shared": {"k": {"type": "int", "default": 3}}}
        runtime.send_boot(config=config, fresh=fresh)
        (told,) = runtime.keeper.of("open")
        assert told == {"state_dir": str(runtime.folder / "state"), "fresh": fresh, "shared": config["shared"]}

    def test_a_store_that_cannot_be_read_is_why_the_boot_failed(self, runtime: FakeNode) -> None:
        del runtime.keeper.answers["open"]
        runtime.owner.greet("owner")
        (runtime.folder / "state" / "journals" / "a").mkdir(parents=True)
        runtime.send_boot(config=runtime.config(server("a")))
        for _ in range(3):
            runtime.keeper.die()
            runtime.advance(0.0)
            runtime.advance(10.0)
        assert "ended 3 times before it had read what is there" in str(failure(runtime.owner))

    def test_a_state_directory_of_another_runtime_is_refused(self, runtime: FakeNode) -> None:
        (runtime.folder / "state").mkdir()
        held = folder_lock.take(runtime.folder / "state", "test")
        runtime.owner.greet("owner")
        runtime.send_boot(config=runtime.config())
        assert "is in use by another runtime" in str(failure(runtime.owner))
        os.close(held)

    def test_a_state_directory_that_cannot_be_written_is_refused(self, runtime: FakeNode) -> None:
        (runtime.folder / "state").write_text("a file")
        runtime.owner.greet("owner")
        runtime.send_boot(config=runtime.config())
        error = failure(runtime.owner)
        assert isinstance(error, ConfigError)
        assert str(error).startswith("runtime.state_dir: cannot write to ")

    def test_a_socket_that_cannot_be_made_is_refused(self, runtime: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(_: object) -> socket.socket:
            raise OSError("no space left")

        monkeypatch.setattr(rendezvous, "listen", refuse)
        runtime.owner.greet("owner")
        runtime.send_boot(config=runtime.config())
        assert str(failure(runtime.owner)) == "the runtime could not start: no space left"

    def test_happens_once(self, runtime: FakeNode) -> None:
        runtime.boot()
        with pytest.raises(DspexError, match="has booted already"):
            runtime.owner.ask("boot", config={})

    def test_is_for_the_owner_alone(self, runtime: FakeNode) -> None:
        with pytest.raises(DspexError, match="unknown operation 'boot'"):
            runtime.boot().connect().ask("boot", config={})

    def test_before_it_nothing_else_is_served(self, runtime: FakeNode) -> None:
        with pytest.raises(DspexError, match="the runtime is not up yet"):
            runtime.owner.greet("owner").ask("status")

    def test_a_temporary_state_directory_goes_with_the_runtime(self, runtime: FakeNode) -> None:
        config = runtime.config(server("a"))
        del config["runtime"]["state_dir"]
        runtime.owner.greet("owner")
        runtime.send_boot(config=config)
        assert (runtime.node.state_dir / "logs").is_dir()
        runtime.owner.begin("shutdown")
        assert not runtime.node.state_dir.exists()


class TestEnd:
    """The tree first, in order; then the name; then the answer."""

    def test_shutdown_is_answered_when_the_tree_is_down_and_the_name_free(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a"), server("b")).connect()
        runtime.launcher.did()
        runtime.launcher.stubborn.add("b")
        number = client.begin("shutdown")
        assert (client.heard(), runtime.node.state) == ([], "stopping")
        runtime.process("b").end("shutdown")
        runtime.turn()
        assert (client.heard(), runtime.node.state) == ([[REPLY, number, None]], "stopped")
        assert runtime.launcher.did() == ["stop b", "stop a"]
        assert runtime.launcher.closed
        assert rendezvous.list_running() == []

    def test_asked_again_at_the_last_moment_it_is_answered(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a")).connect()
        client.begin("shutdown")
        client.heard()
        assert client.ask("shutdown") is None

    def test_all_who_asked_for_it_are_answered(self, runtime: FakeNode) -> None:
        one, other = runtime.boot(server("a")).connect(), runtime.connect()
        runtime.launcher.stubborn.add("a")
        one.begin("shutdown")
        other.begin("shutdown")
        runtime.process("a").end("shutdown")
        runtime.turn()
        assert [[m[0] for m in client.heard()] for client in (one, other)] == [[REPLY], [REPLY]]

    @pytest.mark.parametrize(("detach", "state"), [(False, "stopped"), (True, "running")])
    def test_an_owner_that_goes_takes_the_tree_along_unless_it_was_detached(
        self, runtime: FakeNode, detach: bool, state: str
    ) -> None:
        runtime.owner.greet("owner")
        runtime.send_boot(config=runtime.config(server("a")), detach=detach)
        runtime.owner.close()
        assert runtime.node.state == state

    def test_a_client_that_goes_takes_nothing_along(self, runtime: FakeNode) -> None:
        runtime.boot(server("a")).connect().close()
        assert runtime.node.state == "running"

    def test_an_owner_that_goes_before_the_boot_ends_it(self, runtime: FakeNode) -> None:
        runtime.owner.close()
        assert runtime.node.state == "stopped"

    def test_stopped_while_it_starts_is_a_start_that_failed(self, runtime: FakeNode) -> None:
        runtime.launcher.script["a"] = ["hang"]
        runtime.owner.greet("owner")
        runtime.send_boot(config=runtime.config(server("a")))
        runtime.owner.heard()
        runtime.connect().begin("shutdown")
        assert str(failure(runtime.owner)) == "stopped while it was starting"
        assert runtime.node.state == "stopped"

    def test_a_root_that_gives_up_does_not_end_the_runtime(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a"), max_restarts=0).connect()
        runtime.crash("a")
        assert client.ask("tree")["state"] == "FAILED"
        client.begin("start", spec={"id": "a"})
        assert runtime.shown() == {"a": "READY"}


class TestClients:
    """Found by the name, served side by side."""

    def test_without_a_descriptor_left_they_wait_and_the_loop_does_not_spin(
        self, runtime: FakeNode, caplog: pytest.LogCaptureFixture
    ) -> None:
        runtime.boot()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(runtime.node.socket_path)
            limits = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, limits[1]))
            held: list[int] = []
            try:
                while True:
                    held.append(os.dup(sock.fileno()))
            except OSError:
                runtime.loop.turn()
                runtime.loop.turn()
            finally:
                for fd in held:
                    os.close(fd)
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            assert caplog.text.count("cannot accept a client") == 1
            assert len(runtime.node.sessions) == 1
            runtime.advance(ACCEPT_PAUSE_S)
            runtime.turn()
            assert len(runtime.node.sessions) == 2

    def test_one_that_talks_nonsense_is_logged(self, runtime: FakeNode, caplog: pytest.LogCaptureFixture) -> None:
        client = runtime.boot().connect()
        client.send(["what"])
        assert "client connection closed: illegal message from a client: ['what']" in caplog.text

    def test_a_name_in_a_path_is_one_log_file(self, runtime: FakeNode) -> None:
        assert runtime.node.log_path("group/sub/qa").name == "group+sub+qa.log"

    def test_info_has_figures_while_there_is_a_process(self, runtime: FakeNode) -> None:
        runtime.boot(server("a"))
        process = runtime.process("a")
        assert runtime.node.board is not None
        process.slot, process.boot_s = runtime.node.board.allocate(), 0.5
        record = runtime.node.registry.resolve("a")
        figures = runtime.node.info(record)["metrics"]
        assert (figures["calls"], figures["boot_ms"]) == (0, 500.0)
        runtime.owner.begin("stop", id="a")
        assert runtime.node.info(record)["metrics"] == {}

    def test_the_watchdog_looks_at_the_processes_there_are(self, runtime: FakeNode) -> None:
        runtime.boot(server("a"), {"id": "g", "supervisor": {"children": [server("b")]}})
        runtime.owner.begin("stop", id="a")
        assert [process.id for process in runtime.node._processes()] == ["g/b"]
        assert runtime.node.registry.resolve("g").kind in (None, Kind.SUPERVISOR)


@pytest.mark.process
class TestProcess:
    """`python -m dspex_runtime.node`, as the client starts it."""

    @pytest.fixture
    def boot(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        monkeypatch.setenv("DSPEX_RUNTIME_DIR", str(tmp_path / "run"))
        tree = {"strategy": "one_for_one", "children": []}
        runtime = {"state_dir": str(tmp_path / "state"), "spares": 0, "preload": []}
        return normalize({"version": 1, "name": "real", "runtime": runtime, "tree": tree}, base_dir=tmp_path)

    def spawn(self) -> tuple[subprocess.Popen[bytes], Channel]:
        ours, theirs = socket.socketpair()
        with theirs:
            argv = [sys.executable, "-m", "dspex_runtime.node", "--boot", str(theirs.fileno())]
            process = subprocess.Popen(argv, pass_fds=[theirs.fileno()], start_new_session=True)
        channel = Channel(ours, Codec())
        channel.send([HELLO, 0, {"protocol": list(PROTOCOL), "role": "owner", "version": "0", "pid": os.getpid()}])
        assert channel.recv(None)[0] == HELLO
        return process, channel

    def answer(self, channel: Channel) -> list[Any]:
        while (message := channel.recv(None))[0] == EVENT:
            pass
        return message

    @pytest.mark.parametrize("how", ["asked", "owner gone", "terminated"])
    def test_comes_up_and_ends_well(self, boot: dict[str, Any], how: str) -> None:
        process, channel = self.spawn()
        channel.send([CONTROL, 1, "boot", {"config": boot}])
        kind, _, facts = self.answer(channel)
        assert (kind, facts["name"], facts["pid"]) == (REPLY, "real", process.pid)
        assert [name for name, _ in rendezvous.list_running()] == ["real"]
        if how == "asked":
            channel.send([CONTROL, 2, "shutdown", {}])
            assert self.answer(channel)[:2] == [REPLY, 2]
        elif how == "terminated":
            process.terminate()
        else:
            channel.close()
        assert process.wait(PATIENCE_S) == 0
        channel.close()
        assert rendezvous.list_running() == []

    def test_that_cannot_come_up_says_why_and_fails(self, boot: dict[str, Any]) -> None:
        held = rendezvous.claim("real")
        process, channel = self.spawn()
        channel.send([CONTROL, 1, "boot", {"config": boot}])
        kind, _, fault = self.answer(channel)
        assert kind == FAULT
        assert isinstance(from_fault(fault), ConfigError)
        assert process.wait(PATIENCE_S) == 1
        channel.close()
        held.release()


class TestKeeper:
    """What its keeper tells, and what of a child is kept over the end of the runtime."""

    def tell(self, runtime: FakeNode, **facts: Any) -> None:
        runtime.keeper.send([0, "event", facts])
        runtime.turn()

    def events(self, runtime: FakeNode, type: str) -> list[dict[str, Any]]:
        return [event for event in runtime.node.reports.events if event["type"] == type]

    def test_trouble_with_the_store_is_an_alarm_until_it_is_over(self, runtime: FakeNode) -> None:
        client = runtime.boot().owner
        self.tell(runtime, type="alarm_set", alarm="state_store", description="disk full")
        assert [(alarm["id"], alarm["description"]) for alarm in client.ask("alarms")] == [("state_store", "disk full")]
        self.tell(runtime, type="alarm_cleared", alarm="state_store")
        self.tell(runtime, type="alarm_cleared", alarm="state_store")
        assert client.ask("alarms") == []
        assert [len(self.events(runtime, type)) for type in ("alarm_set", "alarm_cleared")] == [1, 1]

    def test_what_was_lived_with_is_an_event(self, runtime: FakeNode) -> None:
        runtime.boot(server("a"))
        self.tell(runtime, type="report", text="checkpoint 3 is corrupt", id="a")
        (event,) = self.events(runtime, "state_report")
        assert (event["id"], event["message"]) == ("a", "checkpoint 3 is corrupt")

    def test_what_is_no_event_is_logged(self, runtime: FakeNode, caplog: pytest.LogCaptureFixture) -> None:
        runtime.boot()
        self.tell(runtime, type="weather")
        assert "illegal event of the keeper" in caplog.text

    def test_restarts_and_the_last_exit_are_kept_and_shown_on_top_of_those_before(self, runtime: FakeNode) -> None:
        runtime.keeper.answers["open"] = {"ids": {"a": {"restarts": 4, "last_exit": ("signal", "SEGV")}}, "kept": []}
        (runtime.folder / "state" / "journals" / "x").mkdir(parents=True)
        client = runtime.boot(server("a"), max_restarts=10).owner
        assert [client.ask("info", id="a")[key] for key in ("restarts", "last_exit")] == [4, ("signal", "SEGV")]
        runtime.crash("a")
        client.heard()
        assert [client.ask("info", id="a")[key] for key in ("restarts", "last_exit")] == [5, "killed"]
        assert runtime.keeper.of("ended")[0]["facts"]["last_exit"] == "killed"
        assert runtime.keeper.of("note")[-1] == {"id": "a", "facts": {"restarts": 5}}

    def test_calls_of_all_incarnations_are_shown_also_of_one_that_is_stopped(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a")).owner
        runtime.node.keeping.note("a", {"metrics": {"calls": 7, "failures": 0, "busy_ns": 1}})
        client.begin("stop", id="a")
        client.heard()
        assert client.ask("info", id="a")["metrics"] == {"calls": 7}

    def test_of_a_deleted_child_nothing_is_kept(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a")).owner
        client.begin("delete", id="a")
        runtime.turn()
        assert runtime.keeper.of("drop") == [{"id": "a"}]

    def test_events_are_kept_in_batches(self, runtime: FakeNode) -> None:
        runtime.boot(server("a"))
        runtime.advance(1.0)
        (told,) = runtime.keeper.of("events")
        types = [PLAIN.unpack(body)[0]["type"] for body in told["records"]]
        assert "state" in types

    def test_one_that_dies_is_replaced_and_no_module_notices(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a")).owner
        runtime.keeper.die()
        runtime.turn()
        runtime.advance(0.0)
        assert runtime.keeper.spawns == 2
        assert client.ask("info", id="a")["state"] == "READY"
        assert len(self.events(runtime, "keeper_lost")) == 1
