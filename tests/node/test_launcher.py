"""Processes for modules: servers from the zygote without dspy, modules from the one with it; exits carried to whom they belong."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from typing import Any, cast

import pytest

from dspex_runtime.errors import StartError
from dspex_runtime.node import launcher as launcher_module
from dspex_runtime.node.launcher import Launcher
from dspex_runtime.node.module_process import ModuleProcess
from dspex_runtime.node.nursery import REFILL_AFTER_S
from dspex_runtime.osproc.board import Board
from dspex_runtime.osproc.warmth import Warmth
from dspex_runtime.osproc.zygote_client import Zygote
from dspex_runtime.types import Kind
from dspex_runtime.wire.messages import Message
from helpers.fake_tree import ManualLoop
from helpers.fake_zygote import FakeZygote, Process, idle_child
from helpers.waiting import wait_gone

pytestmark = pytest.mark.process  # a zygote's pid is that of a real child, which does nothing but end with its socket


class Bench:
    """A launcher, its zygotes and what it told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, spares: int = 0, preload: tuple[str, ...] = ("json", "dspy")) -> None:
        self.loop = ManualLoop()
        self.board = Board.create()
        self.zygotes: list[FakeZygote] = []
        self.spawned: list[dict[str, Any]] = []
        self.failures: list[StartError] = []
        self.reports: list[tuple[str, dict[str, Any]]] = []
        self.processes: list[Process] = []
        monkeypatch.setattr(launcher_module.Zygote, "spawn", self._spawn)
        self.launcher = Launcher(
            self.loop,
            self.board,
            3,
            preload=preload,
            env={"KEY": "value"},
            path=["/first"],
            spares=spares,
            facts=lambda process: {"log": process.id},
            on_failed=self.failures.append,
            report=self._report,
        )

    def _report(self, type: str, **facts: Any) -> None:
        self.reports.append((type, facts))

    def _spawn(self, **options: Any) -> Zygote:
        self.spawned.append(options)
        self.zygotes.append(FakeZygote())
        return self.zygotes[-1].handle

    def open(self) -> list[FakeZygote]:
        """Open the launcher; its zygotes are ready."""
        self.launcher.open()
        for zygote in self.zygotes:
            zygote.ready()
        self.loop.turn()
        return self.zygotes

    def start(self, id: str, kind: Kind = Kind.SERVER, target: str | None = "pkg:X") -> Process:
        process = Process(id, kind, target)
        self.processes.append(process)
        self.launcher.start(cast(ModuleProcess, process))
        return process

    def says(self, zygote: FakeZygote, message: Message) -> None:
        zygote.say(message)
        self.loop.turn()

    def forks(self, zygote: FakeZygote, **fork: Any) -> int:
        pid = zygote.forked(**fork)
        self.loop.turn()
        return pid

    def asked(self) -> list[int]:
        """Return how many forks each zygote was asked for since the last look."""
        return [sum(message[1] for message in zygote.heard() if message[0] == "fork") for zygote in self.zygotes]

    def close(self) -> None:
        self.launcher.close()
        for process in self.processes:
            process.exited(0)
        for zygote in self.zygotes:
            zygote.close()
        self.loop.close()
        self.board.close()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    bench = Bench(monkeypatch)
    yield bench
    bench.close()


@pytest.fixture
def single(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A bench without dspy among the preloaded."""
    bench = Bench(monkeypatch, preload=("json",))
    yield bench
    bench.close()


class TestZygotes:
    """Two where dspy is preloaded, the one for servers without it; else one."""

    def test_get_what_the_configuration_says(self, bench: Bench) -> None:
        bench.open()
        lean, full = bench.spawned
        assert (lean["preload"], full["preload"]) == (("json",), ("json", "dspy", "numpy"))
        for options in bench.spawned:
            assert (options["env"]["KEY"], options["lifeline_fd"], options["board_fd"]) == ("value", 3, bench.board.fd)
            assert "/first" in options["path"]
        servers, modules = bench.zygotes
        assert bench.launcher.zygote_pids == {"servers": servers.handle.pid, "modules": modules.handle.pid}

    def test_are_one_when_dspy_is_not_preloaded(self, single: Bench) -> None:
        (zygote,) = single.open()
        assert single.launcher.zygote_pids == {"all": zygote.handle.pid}
        server, module = single.start("a"), single.start("b", Kind.MODULE)
        pids = [single.forks(zygote) for _ in range(2)]
        assert [server.pid, module.pid] == pids

    def test_have_spares_each(self, monkeypatch: pytest.MonkeyPatch) -> None:
        bench = Bench(monkeypatch, spares=2)
        servers, modules = bench.open()
        bench.loop.advance(REFILL_AFTER_S)
        assert servers.heard() == [["fork", 2, Warmth.SERVER]]
        assert modules.heard() == [["fork", 2, Warmth.MODULE]]
        bench.close()

    def test_that_one_is_still_importing_holds_up_only_who_needs_it(self, bench: Bench) -> None:
        bench.launcher.open()
        servers, modules = bench.zygotes
        servers.ready()
        bench.loop.turn()
        server, module = bench.start("a"), bench.start("b", Kind.MODULE)
        bench.forks(servers)
        assert (server.pid is None, module.pid) == (False, None)
        modules.ready()
        bench.loop.turn()
        bench.forks(modules)
        assert module.pid is not None


class TestWhichZygote:
    """By the kind that the spec says, then by what a target turned out to be."""

    def came_from(self, bench: Bench, id: str, kind: Kind, target: str | None = "pkg:X") -> str:
        process = bench.start(id, kind, target)
        (name,) = [name for name, n in zip(("servers", "modules"), bench.asked(), strict=True) if n]
        bench.forks(bench.zygotes[("servers", "modules").index(name)])
        assert process.pid is not None
        return name

    def test_servers_and_modules_have_their_own(self, bench: Bench) -> None:
        bench.open()
        assert self.came_from(bench, "a", Kind.SERVER, "pkg:Server") == "servers"
        assert self.came_from(bench, "b", Kind.MODULE, "pkg:Module") == "modules"

    def test_a_name_that_turned_out_to_be_a_servers_comes_from_the_servers_next_time(self, bench: Bench) -> None:
        bench.open()
        assert self.came_from(bench, "a", Kind.MODULE) == "modules"
        bench.processes[-1].started(Kind.SERVER)
        assert self.came_from(bench, "b", Kind.MODULE) == "servers"
        bench.processes[-1].started(Kind.SERVER)
        assert self.came_from(bench, "c", Kind.MODULE, "pkg:Other") == "modules"

    def test_a_server_that_imports_dspy_comes_from_where_it_is_imported_next_time(self, bench: Bench) -> None:
        bench.open()
        assert self.came_from(bench, "a", Kind.SERVER) == "servers"
        bench.processes[-1].started(Kind.SERVER, outgrew=True)
        for _ in range(2):  # there it imports nothing: that is no news
            assert self.came_from(bench, "b", Kind.SERVER) == "modules"
            bench.processes[-1].started(Kind.SERVER)

    def test_what_came_pickled_is_known_by_its_id_alone(self, bench: Bench) -> None:
        bench.open()
        self.came_from(bench, "a", Kind.SERVER, None)
        bench.processes[-1].started(Kind.SERVER, outgrew=True)
        assert self.came_from(bench, "a", Kind.SERVER, None) == "modules"
        assert self.came_from(bench, "b", Kind.SERVER, None) == "servers"


class TestAnnouncedStarts:
    """Forks are made ahead where the latest start came from."""

    def test_are_made_ahead_and_surplus_is_let_go(self, bench: Bench) -> None:
        _, modules = bench.open()
        bench.launcher.expect(3)
        bench.asked()
        bench.launcher.expect(-1)
        bench.start("a", Kind.MODULE)
        assert bench.asked() == [0, 3]
        pids = [bench.forks(modules) for _ in range(3)]
        bench.launcher.expect(-2)  # they will not come
        assert [modules.modules[pid].recv(1) for pid in pids[1:]] == [b"", b""]

    def test_before_the_first_start_servers_are_expected(self, bench: Bench) -> None:
        bench.open()
        bench.launcher.expect(2)
        assert bench.asked() == [2, 0]


@pytest.fixture
def spared(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A bench with one zygote and two spares of it wanted."""
    bench = Bench(monkeypatch, spares=2, preload=("json",))
    yield bench
    bench.close()


def test_spares_are_not_made_before_the_last_swap_has_ended(spared: Bench) -> None:
    (zygote,) = spared.open()
    spared.loop.advance(REFILL_AFTER_S)
    assert spared.asked() == [2]
    for _ in range(2):
        spared.forks(zygote, warmth=Warmth.SERVER)
    spared.start("a")
    for swap in ("one", "other"):
        spared.launcher.calm(swap, is_calm=True)
    spared.launcher.calm("one", is_calm=False)
    spared.launcher.calm("one", is_calm=False)
    spared.loop.advance(2 * REFILL_AFTER_S)
    assert spared.asked() == [0]
    spared.launcher.calm("other", is_calm=False)
    spared.loop.advance(REFILL_AFTER_S)
    assert spared.asked() == [1]


def test_a_start_that_nobody_wants_any_more_ends_unborn(bench: Bench) -> None:
    bench.open()
    process = bench.start("a")
    for _ in range(2):
        bench.launcher.abandon(cast(ModuleProcess, process))
    assert process.unborn == ["stopped before it had a process"]


class TestExits:
    """An exit is handled, then acknowledged: until then the pid is nobody else's."""

    def test_are_told_to_whom_they_belong_and_free_the_slot(self, bench: Bench) -> None:
        servers, modules = bench.open()
        process, other = bench.start("a"), bench.start("b", Kind.MODULE)
        pid, _ = bench.forks(servers), bench.forks(modules)
        assert (process.facts, process.slot, other.slot) == ({"log": "a"}, 1, 2)
        servers.heard()
        bench.says(servers, ["exited", pid, 9])
        assert (process.statuses, other.statuses) == ([9], [])
        assert servers.heard() == [["reap", pid]]
        assert bench.board.allocate() == process.slot

    def test_of_somebody_unknown_are_acknowledged(self, bench: Bench) -> None:
        servers, _ = bench.open()
        bench.says(servers, ["exited", 4999, 0])
        assert servers.heard() == [["reap", 4999]]

    @pytest.mark.parametrize("kind", [Kind.SERVER, Kind.MODULE])
    def test_of_a_dead_zygotes_modules_are_reaped_here(self, bench: Bench, kind: Kind) -> None:
        bench.open()
        zygote = bench.zygotes[kind is Kind.MODULE]
        process = bench.start("a", kind)
        ours, theirs = socket.socketpair()
        pid = idle_child(theirs.fileno())
        bench.forks(zygote, pid=pid)
        zygote.die()
        bench.loop.turn()
        assert process.statuses == []
        assert len(bench.zygotes) == 3
        os.kill(pid, signal.SIGKILL)
        wait_gone([pid])
        bench.launcher.reap()
        bench.launcher.reap()
        assert process.statuses == [9]
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        ours.close()
        theirs.close()


WHY: Message = ["failed", {"message": "preload 'nowhere': no such module", "traceback": None}]


class TestPreloadFailure:
    """It is the boot's trouble when a start waits for that zygote, else the trouble of whoever needs it later."""

    def test_of_the_one_that_is_waited_for_is_told(self, bench: Bench) -> None:
        bench.launcher.open()
        bench.start("a", Kind.MODULE)
        bench.says(bench.zygotes[1], WHY)
        assert [str(error) for error in bench.failures] == ["preload 'nowhere': no such module"]

    def test_of_the_other_is_reported_and_servers_go_on(self, bench: Bench) -> None:
        bench.launcher.open()
        servers, modules = bench.zygotes
        server = bench.start("a")
        bench.says(modules, WHY)
        assert bench.failures == []
        assert bench.reports == [("zygote_failed", {"serves": "modules", "message": WHY[1]["message"]})]
        servers.ready()
        bench.loop.turn()
        bench.forks(servers)
        assert server.pid is not None
        late = bench.start("b", Kind.MODULE)
        bench.loop.turn()
        assert late.unborn == [WHY[1]["message"]]


def test_close_ends_every_zygote(bench: Bench) -> None:
    pids = [zygote.handle.pid for zygote in bench.open()]
    process = bench.start("a", Kind.MODULE)
    bench.launcher.close()
    bench.launcher.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert process.unborn == ["the runtime is stopping"]
