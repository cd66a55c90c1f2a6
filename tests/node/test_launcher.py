"""Processes for modules: spares first, forks next; exits carried to whom they belong; a lost zygote replaced."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Iterator
from typing import Any, cast

import pytest

from dspex_runtime.core.child_spec import ChildSpec, LaunchSpec
from dspex_runtime.errors import StartError
from dspex_runtime.node import launcher as launcher_module
from dspex_runtime.node.launcher import MAX_FORKS_AHEAD, REFILL_AFTER_S, RESPAWN_DELAYS_S, Launcher
from dspex_runtime.node.module_process import ModuleProcess
from dspex_runtime.osproc.board import Board
from dspex_runtime.osproc.warmth import Warmth
from dspex_runtime.osproc.zygote_client import Zygote
from dspex_runtime.types import ChildId, Kind
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.framing import FrameReader, frame
from dspex_runtime.wire.messages import Message
from helpers.fake_tree import ManualLoop
from helpers.waiting import wait_gone

pytestmark = pytest.mark.process  # the zygote's pid is that of a real child, which does nothing but end with its socket


def idle_child(fd: int) -> int:
    """Return the pid of a child that does nothing but end with the socket `fd`, the only descriptor it has."""
    closed_fd, open_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.closerange(3, fd)
        os.closerange(fd + 1, 4096)
        poller = select.poll()
        poller.register(fd, 0)  # only its end
        poller.poll()
        os._exit(0)
    os.close(open_fd)
    os.read(closed_fd, 1)  # its end says that the child has let go of everything it inherited
    os.close(closed_fd)
    return pid


class FakeZygote:
    """The zygote's end of the socket, played by the test. `modules` are the other ends of the control pipes it gave away."""

    def __init__(self) -> None:
        ours, self.sock = socket.socketpair()
        self.modules: dict[int, socket.socket] = {}
        self._reader = FrameReader()
        self._pids = 5000
        self.handle = Zygote(idle_child(self.sock.fileno()), ours)

    def say(self, message: Message, *fds: int) -> None:
        socket.send_fds(self.sock, [frame(Codec().pack(message))], fds)

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

    def forked(self, *, warmth: Warmth = Warmth.COLD, pid: int | None = None) -> int:
        """Announce one fork; return its pid."""
        self._pids += 1
        pid = pid if pid is not None else self._pids
        parent_end, self.modules[pid] = socket.socketpair()
        self.say(["forked", pid, int(warmth)], parent_end.fileno())
        parent_end.close()
        return pid

    def die(self) -> None:
        os.kill(self.handle.pid, signal.SIGKILL)
        wait_gone([self.handle.pid])
        self.sock.close()

    def close(self) -> None:
        for sock in (self.sock, *self.modules.values()):
            sock.close()


class Process:
    """A ModuleProcess as the launcher sees it."""

    def __init__(self, id: str, kind: Kind) -> None:
        self.id = id
        self.spec = ChildSpec(ChildId(id), kind, launch=LaunchSpec(kind, target="pkg:X"))
        self.pid: int | None = None
        self.slot: int | None = None
        self.facts: dict[str, Any] = {}
        self.statuses: list[int] = []
        self.unborn: list[str] = []
        self._sock: socket.socket | None = None

    def assign(self, pid: int, sock: socket.socket, slot: int, facts: dict[str, Any]) -> None:
        self.pid, self._sock, self.slot, self.facts = pid, sock, slot, facts

    def exited(self, status: int) -> None:
        self.statuses.append(status)
        if self._sock is not None:
            self._sock.close()

    def never_forked(self, message: str) -> None:
        self.unborn.append(message)


class Bench:
    """A launcher, its zygotes and what it told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, spares: int = 0, preload: tuple[str, ...] = ("dspy",)) -> None:
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

    @property
    def zygote(self) -> FakeZygote:
        return self.zygotes[-1]

    def open(self) -> FakeZygote:
        """Open the launcher; the zygote is ready."""
        self.launcher.open()
        return self.ready()

    def ready(self) -> FakeZygote:
        self.zygote.say(["ready", {"pid": self.zygote.handle.pid, "modules": [], "threads": 1, "seconds": 0.1}])
        self.loop.turn()
        return self.zygote

    def start(self, id: str, kind: Kind = Kind.SERVER) -> Process:
        process = Process(id, kind)
        self.processes.append(process)
        self.launcher.start(cast(ModuleProcess, process))
        return process

    def says(self, message: Message) -> None:
        self.zygote.say(message)
        self.loop.turn()

    def forks(self, **fork: Any) -> int:
        pid = self.zygote.forked(**fork)
        self.loop.turn()
        return pid

    def types(self) -> list[str]:
        return [type for type, _ in self.reports]

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
def spared(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A bench with two spares of each kind asked for."""
    bench = Bench(monkeypatch, spares=2)
    bench.open()
    bench.loop.advance(REFILL_AFTER_S)
    yield bench
    bench.close()


class TestStarts:
    """Each start gets one process, in the order they were asked for."""

    def test_wait_for_the_zygote(self, bench: Bench) -> None:
        bench.launcher.open()
        one, other = bench.start("a"), bench.start("b", Kind.MODULE)
        assert bench.zygote.heard() == []
        assert bench.ready().heard() == [["fork", 2, False]]
        pids = [bench.forks(), bench.forks()]
        assert [one.pid, other.pid] == pids
        assert (one.facts, one.slot, other.slot) == ({"log": "a"}, 1, 2)

    def test_the_zygote_gets_what_the_configuration_says(self, bench: Bench) -> None:
        bench.open()
        (options,) = bench.spawned
        assert (options["preload"], options["env"]["KEY"], options["lifeline_fd"]) == (("dspy",), "value", 3)
        assert options["board_fd"] == bench.board.fd
        assert "/first" in options["path"]
        assert bench.launcher.zygote_pid == bench.zygote.handle.pid

    def test_are_asked_for_a_few_at_a_time(self, bench: Bench) -> None:
        zygote = bench.open()
        for number in range(MAX_FORKS_AHEAD + 3):
            bench.start(str(number))
        assert sum(message[1] for message in zygote.heard()) == MAX_FORKS_AHEAD
        bench.forks()
        assert zygote.heard() == [["fork", 1, False]]

    def test_that_are_announced_have_their_forks_made_ahead(self, bench: Bench) -> None:
        zygote = bench.open()
        bench.launcher.expect(2)
        assert zygote.heard() == [["fork", 2, False]]
        bench.forks()
        bench.launcher.expect(-1)
        assert bench.start("a").pid is not None
        assert zygote.heard() == []

    def test_that_nobody_wants_any_more_are_forgotten(self, bench: Bench) -> None:
        bench.open()
        process, other = bench.start("a"), bench.start("b")
        bench.launcher.abandon(cast(ModuleProcess, process))
        bench.launcher.abandon(cast(ModuleProcess, process))
        assert process.unborn == ["stopped before it had a process"]
        assert other.pid is None
        pid = bench.forks()
        assert (process.pid, other.pid) == (None, pid)

    def test_that_the_system_refuses_fail(self, bench: Bench) -> None:
        bench.open()
        process, other = bench.start("a"), bench.start("b")
        bench.says(["fork_failed", "no more processes", False])
        assert (process.unborn, other.unborn) == (["no more processes"], [])
        assert bench.reports[-1] == ("fork_failed", {"message": "no more processes"})
        bench.forks()
        bench.says(["fork_failed", "again", False])
        assert other.unborn == []

    def test_an_illegal_message_is_logged_and_passed_over(self, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
        bench.open()
        bench.says(["what", 1])
        assert "illegal message from the zygote: ['what', 1]" in caplog.text
        process = bench.start("a")
        bench.forks()
        assert process.pid is not None

    def test_a_fork_without_its_pipe_is_the_end_of_that_zygote(self, bench: Bench) -> None:
        bench.open()
        bench.says(["forked", 5001, False])
        assert bench.types()[-1] == "zygote_lost"


class TestSpares:
    """Kept ready while nobody waits; each kind of module has its own, and takes the other's rather than wait."""

    def test_are_asked_for_when_no_start_waits(self, spared: Bench) -> None:
        assert spared.zygote.heard() == [["fork", 2, Warmth.MODULE], ["fork", 2, Warmth.SERVER]]

    def test_those_for_modules_need_dspy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        bench = Bench(monkeypatch, spares=2, preload=("json",))
        bench.open()
        bench.loop.advance(REFILL_AFTER_S)
        assert bench.zygote.heard() == [["fork", 2, Warmth.SERVER]]
        bench.close()

    @pytest.mark.parametrize(
        ("kind", "there", "taken"),
        [
            (Kind.MODULE, [Warmth.COLD, Warmth.SERVER, Warmth.MODULE], 2),
            (Kind.SERVER, [Warmth.COLD, Warmth.MODULE, Warmth.SERVER], 2),
            (Kind.MODULE, [Warmth.COLD, Warmth.SERVER], 1),
            (Kind.SERVER, [Warmth.MODULE, Warmth.COLD], 1),
            (Kind.MODULE, [Warmth.COLD], 0),
            (Kind.SERVER, [Warmth.MODULE], 0),
        ],
    )
    def test_the_right_one_is_taken_else_the_other(self, spared: Bench, kind: Kind, there: list[Warmth], taken: int) -> None:
        pids = [spared.forks(warmth=warmth) for warmth in there]
        assert spared.start("a", kind).pid == pids[taken]

    def test_one_that_was_taken_is_replaced(self, spared: Bench) -> None:
        for warmth in (Warmth.MODULE, Warmth.MODULE, Warmth.SERVER, Warmth.SERVER):
            spared.forks(warmth=warmth)
        spared.zygote.heard()
        spared.start("a")
        spared.loop.advance(REFILL_AFTER_S)
        assert spared.zygote.heard() == [["fork", 1, Warmth.SERVER]]

    def test_one_that_died_is_replaced_and_not_given_away(self, spared: Bench) -> None:
        pids = [spared.forks(warmth=Warmth.SERVER) for _ in range(2)]
        spared.zygote.heard()
        spared.says(["exited", pids[0], 9])
        assert spared.zygote.heard() == [["reap", pids[0]]]
        spared.loop.advance(REFILL_AFTER_S)
        assert spared.zygote.heard() == [["fork", 1, Warmth.SERVER]]
        assert spared.start("a").pid == pids[1]

    def test_starts_that_wait_go_first(self, bench: Bench) -> None:
        bench.launcher._pools[Warmth.SERVER].size = 1
        zygote = bench.open()
        bench.start("a")
        assert zygote.heard() == [["fork", 1, Warmth.COLD]]
        bench.loop.advance(REFILL_AFTER_S)
        assert zygote.heard() == []
        bench.forks()
        bench.loop.advance(REFILL_AFTER_S)
        assert zygote.heard() == [["fork", 1, Warmth.SERVER]]


class TestExits:
    """An exit is handled, then acknowledged: until then the pid is nobody else's."""

    def test_are_told_to_whom_they_belong_and_free_the_slot(self, bench: Bench) -> None:
        zygote = bench.open()
        process, other = bench.start("a"), bench.start("b")
        pid, _ = bench.forks(), bench.forks()
        zygote.heard()
        bench.says(["exited", pid, 9])
        assert (process.statuses, other.statuses) == ([9], [])
        assert zygote.heard() == [["reap", pid]]
        assert bench.board.allocate() == process.slot

    def test_of_somebody_unknown_are_acknowledged(self, bench: Bench) -> None:
        zygote = bench.open()
        bench.says(["exited", 4999, 0])
        assert zygote.heard() == [["reap", 4999]]


class TestLostZygote:
    """Its modules live on; it is replaced at once, and later when it keeps dying."""

    def test_that_was_ready_is_replaced_and_starts_go_on(self, bench: Bench) -> None:
        bench.open()
        process = bench.start("a")
        bench.zygote.die()
        bench.loop.turn()
        assert bench.types() == ["zygote_ready", "zygote_lost"]
        assert len(bench.zygotes) == 2
        assert bench.ready().heard() == [["fork", 1, False]]
        bench.forks()
        assert process.pid is not None

    def test_that_keeps_dying_is_replaced_ever_later(self, bench: Bench) -> None:
        bench.launcher.open()
        for delay_s in (*RESPAWN_DELAYS_S, RESPAWN_DELAYS_S[-1]):
            count = len(bench.zygotes)
            bench.zygote.die()
            bench.loop.turn()
            assert bench.reports[-1][1]["again_in_s"] == delay_s
            if delay_s:
                assert len(bench.zygotes) == count
            bench.loop.advance(delay_s)
            assert len(bench.zygotes) == count + 1

    def test_that_cannot_be_replaced_now_is_replaced_later(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        bench.open()

        def refuse(**_: Any) -> Zygote:
            raise BlockingIOError("no more processes")

        with monkeypatch.context() as patch:
            patch.setattr(launcher_module.Zygote, "spawn", refuse)
            bench.zygote.die()
            bench.loop.turn()
            bench.loop.turn()
        assert bench.reports[-1] == ("zygote_failed", {"message": "cannot start a zygote: no more processes"})
        bench.loop.advance(RESPAWN_DELAYS_S[1])
        assert len(bench.zygotes) == 2

    def test_leaves_its_modules_to_be_reaped_here(self, bench: Bench) -> None:
        bench.open()
        process = bench.start("a")
        ours, theirs = socket.socketpair()
        pid = idle_child(theirs.fileno())
        bench.forks(pid=pid)
        bench.zygote.die()
        bench.loop.turn()
        assert process.statuses == []
        os.kill(pid, signal.SIGKILL)
        wait_gone([pid])
        bench.launcher.reap()
        bench.launcher.reap()
        assert process.statuses == [9]
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        ours.close()
        theirs.close()

    def test_takes_its_spares_with_it(self, spared: Bench) -> None:
        first = spared.zygote
        pid = spared.forks()
        first.die()
        spared.loop.turn()
        assert first.modules[pid].recv(1) == b""
        spared.loop.turn()
        spared.ready()
        process = spared.start("a")
        assert process.pid is None

    def test_says_what_was_wrong_with_its_last_message(self, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
        bench.open()
        bench.zygote.sock.send(b"\xff" * 64)
        bench.loop.turn()
        assert bench.types()[-1] == "zygote_lost"
        assert "zygote: " in caplog.text


WHY: Message = ["failed", {"message": "preload 'nowhere': no such module", "traceback": "Traceback ..."}]


class TestPreloadFailure:
    """At boot it is why the runtime does not start; later it is an event."""

    def test_at_boot_is_told(self, bench: Bench) -> None:
        bench.launcher.open()
        bench.says(WHY)
        (error,) = bench.failures
        assert str(error) == "preload 'nowhere': no such module\n\nTraceback ..."
        assert bench.types() == ["zygote_failed"]

    def test_of_a_replacement_ends_nothing(self, bench: Bench) -> None:
        bench.open()
        bench.zygote.die()
        bench.loop.turn()
        bench.loop.turn()
        bench.says(WHY)
        assert bench.failures == []
        assert bench.types() == ["zygote_ready", "zygote_lost", "zygote_failed"]


class TestClose:
    """Nothing is left, whatever the zygote was doing."""

    @pytest.mark.parametrize("ready", [True, False])
    def test_ends_the_zygote(self, bench: Bench, ready: bool) -> None:
        bench.launcher.open()
        if ready:
            bench.ready()
        pid = bench.zygote.handle.pid
        bench.launcher.close()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        assert bench.launcher.zygote_pid is None

    def test_ends_what_still_waits(self, bench: Bench) -> None:
        bench.open()
        process = bench.start("a")
        bench.launcher.close()
        bench.launcher.close()
        assert process.unborn == ["the runtime is stopping"]

    def test_lets_the_spares_go(self, spared: Bench) -> None:
        pid = spared.forks()
        spared.launcher.close()
        assert spared.zygote.modules[pid].recv(1) == b""

    def test_ends_the_replacing_of_lost_zygotes(self, bench: Bench) -> None:
        bench.launcher.open()
        for _ in range(2):
            bench.zygote.die()
            bench.loop.turn()
            bench.loop.turn()
        count = len(bench.zygotes)
        bench.launcher.close()
        bench.loop.advance(100.0)
        assert len(bench.zygotes) == count
