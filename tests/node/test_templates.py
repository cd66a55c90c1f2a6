"""What is built alike has one template: when it is made, made again, and ends. With real processes: system/test_templates.py."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any, cast

import pytest

from dspex_runtime.core.child_spec import LaunchSpec, Limits
from dspex_runtime.errors import StartError
from dspex_runtime.node import launcher as launcher_module
from dspex_runtime.node import templates as subject
from dspex_runtime.node.launcher import Launcher
from dspex_runtime.node.module_process import ModuleProcess
from dspex_runtime.node.template import BUILD_S
from dspex_runtime.node.templates import AGAIN_S, IDLE_S, RETRY_S, key_of
from dspex_runtime.osproc.board import Board
from dspex_runtime.types import Durability, Kind
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.framing import FrameReader, frame
from dspex_runtime.wire.messages import Message
from helpers.fake_tree import ManualLoop
from helpers.fake_zygote import FakeZygote, Process

MODULE = LaunchSpec(Kind.MODULE, target="pkg:M")
SERVER = LaunchSpec(Kind.SERVER, target="pkg:S")
BUILT_OF: dict[str, Any] = {
    "kind": Kind.SERVER, "target": "pkg:Other", "pickled": b"x", "sys_path": ("/x",), "env": {"A": "1"}, "lm": {"model": "m"},
    "dspy": {"track_usage": True}, "load": "/x.json", "sources": {"/x.py": b"1"}, "inline": {"part": {}},
}  # fmt: skip
ARGUMENTS: dict[str, Any] = {"args": (1,), "kwargs": {"k": 1}, "pickled_args": b"x"}
AFTER: dict[str, Any] = {
    "label": "pkg:M", "concurrency": 4, "trap_exit": False, "limits": Limits(nice=3), "liveness": None, "readiness": None,
    "params": {"k": 1}, "durability": Durability.MEMORY, "checkpoint": None, "shared": True,
}  # fmt: skip


@pytest.mark.parametrize("name", [*BUILT_OF, *ARGUMENTS])
def test_it_depends_on_what_a_module_is_built_of(name: str) -> None:
    assert key_of(replace(MODULE, **{name: {**BUILT_OF, **ARGUMENTS}[name]})) != key_of(MODULE)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_servers_arguments_are_its_inits_which_runs_later(name: str) -> None:
    assert key_of(replace(SERVER, **{name: ARGUMENTS[name]})) == key_of(SERVER)


@pytest.mark.parametrize("name", AFTER)
def test_it_does_not_depend_on_what_comes_after_the_fork(name: str) -> None:
    assert key_of(replace(MODULE, **{name: AFTER[name]})) == key_of(MODULE)


def test_every_field_is_one_or_the_other() -> None:
    assert {field.name for field in fields(LaunchSpec)} == BUILT_OF.keys() | ARGUMENTS.keys() | AFTER.keys()


def test_the_order_of_keys_is_nothing_and_the_type_of_a_value_is() -> None:
    one, other = replace(MODULE, kwargs={"a": 1, "b": 2}), replace(MODULE, kwargs={"b": 2, "a": 1})
    assert key_of(one) == key_of(other)
    assert key_of(replace(MODULE, args=(1,))) != key_of(replace(MODULE, args=(True,))) != key_of(replace(MODULE, args=(1.0,)))


class Played:
    """A template's end of its pipe, played by the test."""

    def __init__(self, bench: Bench, pid: int) -> None:
        self.bench = bench
        self.pid = pid
        self.sock = bench.zygote.modules[pid]
        self._reader = FrameReader()

    def says(self, message: Message, *fds: int) -> None:
        socket.send_fds(self.sock, [frame(Codec().pack(message))], fds)
        self.bench.loop.turn()

    def heard(self) -> list[Message]:
        self.sock.setblocking(False)
        try:
            self._reader.feed(self.sock.recv(2**20))
        except BlockingIOError:
            pass
        messages: list[Message] = []
        while (body := self._reader.next()) is not None:
            messages.append(Codec().unpack(body))
        return messages

    def ready(self) -> None:
        self.says(["ready", {"pid": self.pid, "files": 1}])
        self.bench.loop.turn()

    def forks(self, pid: int) -> None:
        ours, self.bench.zygote.modules[pid] = socket.socketpair()
        self.says(["forked", pid, 0], ours.fileno())
        ours.close()

    def exits(self, status: int = 9) -> None:
        self.sock.close()
        self.bench.says(["exited", self.pid, status])


class Bench:
    """A launcher with one zygote."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loop, self.board, self.zygote = ManualLoop(), Board.create(), FakeZygote()
        self.reports: list[tuple[str, dict[str, Any]]] = []
        self.processes: list[Process] = []
        monkeypatch.setattr(launcher_module.Zygote, "spawn", lambda **_: self.zygote.handle)
        monkeypatch.setattr("dspex_runtime.node.template_life.os.kill", lambda *_: None)  # nobody has these pids
        surroundings = {"cwd": "/", "runtime": "r", "socket": "s", "log": "x"}
        self.launcher = Launcher(
            self.loop, self.board, 3, preload=(), env={}, path=[], spares=0, facts=lambda _: surroundings,
            on_failed=self._failed, report=self._report,
        )  # fmt: skip
        self.launcher.open()
        self.zygote.ready()
        self.loop.turn()

    def _failed(self, error: StartError) -> None:
        raise error

    def _report(self, type: str, id: str | None = None, /, **facts: Any) -> None:
        self.reports.append((type, facts))

    def says(self, message: Message) -> None:
        self.zygote.say(message)
        self.loop.turn()

    def forks(self) -> int:
        pid = self.zygote.forked()
        self.loop.turn()
        return pid

    def wait(self, id: str, target: str = "pkg:X") -> Process:
        process = Process(id, Kind.SERVER, target, template=True)
        self.processes.append(process)
        self.launcher.start(cast(ModuleProcess, process))
        return process

    def start(self, id: str, target: str = "pkg:X") -> Process:
        """Start one that comes from the zygote."""
        process = self.wait(id, target)
        self.forks()
        process.started(Kind.SERVER)
        return process

    def template(self) -> Played:
        """Return the one that is being made."""
        pid = self.forks()
        assert ["template", pid] in self.zygote.heard()
        return Played(self, pid)

    def told(self, type: str) -> list[dict[str, Any]]:
        return [facts for each, facts in self.reports if each == type]

    def asked(self) -> int:
        """Return how many forks the zygote was asked for since the last look."""
        return sum(message[1] for message in self.zygote.heard() if message[0] == "fork")

    def close(self) -> None:
        self.launcher.close()
        for process in self.processes:
            process.exited(0)
        self.zygote.close()
        self.loop.close()
        self.board.close()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    bench = Bench(monkeypatch)
    yield bench
    bench.close()


@pytest.mark.process  # the zygote's pid is that of a real child, which does nothing but end with its socket
class TestTemplate:
    """Its life, on the loop's clock."""

    def test_is_made_when_the_first_process_is_there(self, bench: Bench) -> None:
        process = bench.wait("a")
        assert bench.asked() == 1
        bench.forks()
        assert bench.asked() == 0
        process.started(Kind.SERVER)
        assert bench.asked() == 1
        template = bench.template()
        ((_, _, word, spec),) = template.heard()
        assert (word, spec["cwd"], spec["launch"]["target"], "log" in spec) == ("template", "/", "pkg:X", False)
        assert bench.launcher.zygote_pids == {"all": bench.zygote.handle.pid}
        template.ready()
        assert bench.launcher.zygote_pids["template of a"] == template.pid
        assert bench.told("template_ready") == [{"pid": template.pid, "files": 1}]

    def test_makes_what_is_started_once_it_is_ready(self, bench: Bench) -> None:
        bench.start("a")
        template = bench.template()
        template.heard()
        early = bench.wait("b")
        assert bench.asked() == 1  # nobody waits for it
        template.ready()
        late = bench.wait("c")
        assert sum(message[1] for message in template.heard() if message[0] == "fork") == 2
        template.forks(71)
        template.forks(72)
        assert (early.pid, late.pid) == (71, 72)  # what still waited for the zygote has it from the template, too

    def test_that_cannot_be_built_says_why_once_and_is_tried_again_later(self, bench: Bench) -> None:
        bench.start("a")
        for again in range(2):
            template = bench.template()
            template.says(["failed", {"message": "a thread", "traceback": ""}])
            template.exits(1)
            assert ["adopt", template.pid, []] in bench.zygote.heard()
            bench.start("b").exited(0)
            assert bench.asked() == 1
            if not again:
                bench.loop.advance(RETRY_S)
                bench.start("c")
        assert bench.told("template_failed") == [{"message": "a thread"}]

    def test_that_is_not_built_in_time_is_given_up(self, bench: Bench) -> None:
        bench.start("a")
        template = bench.template()
        bench.loop.advance(BUILD_S)
        template.exits(9)
        assert bench.told("template_failed") == [{"message": f"it was not built within {BUILD_S:g} s"}]

    def test_that_dies_is_made_again_soon_and_what_waited_for_it_starts_without(self, bench: Bench) -> None:
        bench.start("a")
        template = bench.template()
        template.ready()
        living, waiting = bench.wait("b"), bench.wait("c")
        template.forks(71)
        bench.zygote.heard()
        template.exits()
        heard = bench.zygote.heard()
        assert [message for message in heard if message[0] != "reap"] == [["adopt", template.pid, [71]], ["fork", 1, 0]]
        bench.forks()
        assert waiting.pid is not None
        bench.says(["exited", 71, 11])
        assert living.statuses == [11]
        bench.loop.advance(AGAIN_S)
        assert bench.template().pid != template.pid
        assert bench.told("template_lost") == [{"pid": template.pid, "modules": 1}]

    def test_that_is_too_old_is_replaced_and_ends_with_the_last_it_has_forked(self, bench: Bench) -> None:
        bench.start("a")
        template = bench.template()
        template.ready()
        process = bench.wait("b")
        template.forks(71)
        process.stale = True
        process.started(Kind.SERVER)
        assert bench.asked() == 1
        assert ["quit"] not in template.heard()
        template.says(["exited", 71, 0])
        assert template.heard()[-1] == ["quit"]

    def test_ends_a_while_after_the_last_process(self, bench: Bench) -> None:
        process = bench.start("a")
        template = bench.template()
        template.ready()
        assert process.pid is not None
        bench.says(["exited", process.pid, 0])
        bench.loop.advance(IDLE_S / 2)
        other = bench.wait("b")
        template.forks(71)
        bench.loop.advance(IDLE_S / 2)
        assert ["quit"] not in template.heard()
        template.says(["exited", 71, 0])
        assert other.statuses == [0]
        bench.loop.advance(IDLE_S)
        assert ["quit"] in template.heard()

    def test_there_are_so_many_at_most(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(subject, "MOST", 1)
        bench.start("a")
        bench.template().ready()
        bench.start("b", "pkg:Y")
        assert bench.asked() == 1  # for the process
