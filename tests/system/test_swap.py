"""Hot swaps between real processes: nothing is lost, nothing runs twice, and whoever dies in the middle leaves what there was."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import dspex_runtime as dx
from helpers.runtimes import Standing
from helpers.swapping import Gate, Running, load, more, restarted
from helpers.system import FOLDER, Start
from helpers.waiting import is_alive, wait_gone, wait_until

pytestmark = pytest.mark.process

PROGRAMS = FOLDER / "programs_swap.py"
NEW, GATED, FAILING, KEEPING = (f"{PROGRAMS}:{name}" for name in ("NewBook", "GatedBook", "FailingBook", "KeepingBook"))


def book(id: str, name: str = "Book", **keys: Any) -> dict[str, Any]:
    return {"id": id, "server": f"{PROGRAMS}:{name}", "backoff": "none", **keys}


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


@pytest.fixture(scope="module")
def shared_runtime(standing: Standing) -> dx.Runtime:
    return standing("swap", runtime={"spares": 0, "preload": []}, tree={"max_restarts": 1000, "children": []})


@pytest.fixture
def rt(shared_runtime: dx.Runtime) -> Iterator[dx.Runtime]:
    yield shared_runtime
    for child in shared_runtime.tree()["children"]:
        shared_runtime.delete(child["id"])


def settled(a: dx.ModuleInfo, before: int) -> bool:
    """Whether a killed child stands again or waits to be started: between the two it has no process to be killed."""
    return a.state == "BACKOFF" or (a.state == "READY" and a.incarnation > before)


def draining(rt: dx.Runtime, gate: Gate, suffix: str = "0", drain: float = 20.0) -> tuple[Running, Running]:
    """A swap that has rehearsed, and waits for a call: the swap and the call."""
    swap = Running(lambda: rt.swap("a", GATED, drain=drain))
    gate.reached(suffix)
    call = Running(lambda: rt.server("a").call(["wait", gate.path], timeout=20))
    gate.reached()
    gate.open(suffix)
    wait_until(lambda: rt.info("a").state == "SWAPPING" or swap.error, what="the drain")
    return swap, call


class TestServers:
    """GenServers."""

    def test_no_call_is_lost_and_none_runs_twice(self, rt: dx.Runtime) -> None:
        rt.start_child("root", book("a"))
        server = rt.server("a")
        pids = {rt.info("a").pid}
        with load(lambda who, n: server.call(["note", (who, n)], timeout=20)) as answered:
            for n in range(6):
                more(answered, 50)
                result = rt.swap("a", NEW if n % 2 == 0 else f"{PROGRAMS}:Book")
                pids.add(result.pid)
        seen = server.call("seen", timeout=20)
        assert sorted(seen) == sorted(answered)
        for who in range(4):
            assert [n for mine, n in seen if mine == who] == list(range(sum(mine == who for mine, _ in seen)))
        info = rt.info("a")
        assert (len(pids), info.incarnation, info.restarts, info.state) == (7, result.incarnation, 0, "READY")
        assert info.metrics["calls"] >= len(answered)

    def test_casts_stay_in_order(self, rt: dx.Runtime) -> None:
        rt.start_child("root", book("a"))
        server = rt.server("a")
        for n in range(200):
            server.cast(n)
            if n == 100:
                rt.swap("a", NEW)
        assert server.call("seen", timeout=20) == list(range(200))

    def test_names_monitors_links_and_timers_stay(self, rt: dx.Runtime) -> None:
        for id in ("a", "friend"):
            rt.start_child("root", book(id))
        rt.server("a").call(["register", "the name"])
        rt.server("a").call(["monitor", "friend"])
        rt.server("a").call(["link", "friend"])
        rt.server("friend").call(["monitor", "a"])
        rt.server("a").call(["send_after", 5.0, "a timer"])
        monitor = rt.monitor("a")
        result = rt.swap("a", NEW)
        assert result.moved["timers"] == 1
        found = rt.whereis("the name")
        assert found is not None
        assert found.id == "a"
        assert rt.server("friend").call("mail") == []
        wait_until(lambda: rt.server("a").call("mail") == ["a timer"], what="the timer")
        rt.kill("friend")
        wait_until(lambda: len(rt.server("a").call("mail")) == 3, what="DOWN and Exit")
        kinds = {type(message) for message in rt.server("a").call("mail")[1:]}
        assert kinds == {dx.Down, dx.Exit}
        assert monitor.wait(0) is None
        os.kill(result.pid or 0, signal.SIGKILL)
        down = monitor.wait(20)
        assert (down.id, down.incarnation, down.reason) == ("a", result.incarnation, "killed")

    def test_a_call_that_comes_while_it_drains_is_answered_by_the_new_one(self, rt: dx.Runtime, gate: Gate) -> None:
        rt.start_child("root", book("a", args={"gate": gate.path}))
        server = rt.server("a")
        swap, slow = draining(rt, gate)
        parked = [Running(lambda: dx.connect("swap").server("a").call("version", timeout=20)) for _ in range(3)]
        queued = Running(lambda: server.call("version", timeout=20))
        gate.open()
        assert swap.done().version == "2"
        assert slow.done() == "1"
        assert [call.done() for call in (queued, *parked)] == ["2"] * 4

    def test_a_deferred_answer_is_given_by_the_new_one(self, rt: dx.Runtime) -> None:
        rt.start_child("root", book("a"))
        waiting = Running(lambda: rt.server("a").call(["later"], timeout=20))
        wait_until(lambda: rt.server("a").call("open") is not None, what="the call")
        rt.swap("a", NEW)
        rt.server("a").call(["answer"])
        assert waiting.done() == "2"

    def test_what_its_init_asks_for_is_had_once(self, rt: dx.Runtime) -> None:
        rt.start_child("root", book("friend"))
        rt.start_child("root", book("a", "KeepingBook"))
        ref = rt.server("a").call("ref")
        for _ in range(3):
            rt.swap("a", KEEPING)
        found = rt.whereis("the book")
        assert found is not None
        assert found.id == "a"
        assert rt.server("a").call("ref") == ref
        rt.kill("friend")
        wait_until(lambda: rt.server("a").call("mail"), what="DOWN")
        rt.swap("a", KEEPING)
        assert [message.ref for message in rt.server("a").call("mail")] != [ref]

    def test_the_new_version_is_what_is_started_again(self, rt: dx.Runtime) -> None:
        rt.start_child("root", book("a"))
        result = rt.swap("a", NEW)
        os.kill(result.pid or 0, signal.SIGKILL)
        restarted(rt, "a", result.incarnation)
        assert rt.server("a").call("version", timeout=20) == "2"
        assert rt.info("a").version == "2"

    def test_the_old_process_is_gone(self, rt: dx.Runtime) -> None:
        rt.start_child("root", book("a"))
        pid = rt.info("a").pid
        rt.swap("a", NEW)
        assert wait_gone([pid or 0]) == []

    def test_an_old_process_that_does_not_leave_is_killed(self, rt: dx.Runtime) -> None:
        rt.start_child("root", book("a", "Stubborn", shutdown=0.3))
        pid = rt.info("a").pid
        rt.swap("a", NEW)
        assert wait_gone([pid or 0]) == []
        assert rt.server("a").call("version") == "2"

    def test_versions_and_the_way_back(self, rt: dx.Runtime) -> None:
        rt.start_child("root", book("a"))
        rt.server("a").call(["note", "one"])
        rt.swap("a", NEW, why="because")
        assert rt.server("a").call("was") == "1"
        rt.rollback("a")
        assert (rt.server("a").call("version"), rt.server("a").call("seen")) == ("1", ["one"])
        shown = [(info.number, info.version, info.why, info.current) for info in rt.versions("a")]
        assert shown == [(3, "1", "rollback to 1", True), (2, "2", "because", False), (1, "1", "start", False)]

    def test_the_way_back_has_the_code_that_was(self, rt: dx.Runtime, tmp_path: Path) -> None:
        file = tmp_path / "edited.py"
        code = (
            "import dspex_runtime as dx\nclass Edited(dx.GenServer):\n    def init(self): return 0\n"
            "    def handle_call(self, request, from_, state): return dx.Reply({answer}, state)\n"
        )
        file.write_text(code.format(answer=1))
        rt.start_child("root", {"id": "a", "server": f"{file}:Edited", "backoff": "none"})
        file.write_text(code.format(answer=2))
        rt.swap("a")
        assert rt.server("a").call("?") == 2
        result = rt.rollback("a")
        assert rt.server("a").call("?") == 1
        os.kill(result.pid or 0, signal.SIGKILL)
        restarted(rt, "a", result.incarnation)
        assert rt.server("a").call("?", timeout=20) == 1
        assert [info.number for info in rt.versions("a")] == [3, 2, 1]
        rt.swap("a")
        assert rt.server("a").call("?") == 2

    def test_a_checkpoint_and_a_restore_go_around_it(self, rt: dx.Runtime, gate: Gate) -> None:
        rt.start_child("root", book("a", "KeepingBook"))
        rt.start_child("root", book("friend"))
        server = rt.server("a")
        server.call(["note", "one"])
        taken = rt.checkpoint("a")
        server.call(["note", "two"])
        slow = Running(lambda: server.call(["wait", gate.path], timeout=20))
        gate.reached()
        restore = Running(lambda: rt.restore("a", taken))  # needs a moment between two callbacks
        swap = Running(lambda: rt.swap("a", KEEPING, drain=20))
        wait_until(lambda: rt.info("a").swap is not None, what="the swap")
        saved = Running(lambda: rt.checkpoint("a"))
        gate.open()
        restore.done()
        swap.done()
        saved.done()
        assert slow.done() == "3"
        assert server.call("seen") == ["one"]
        kinds = [info.kind for info in rt.checkpoints("a")]
        assert {"manual", "before_restore", "restored", "before_swap"} <= set(kinds)


class TestFailures:
    """The old version serves on as if nothing had happened."""

    def still_serves(self, rt: dx.Runtime, pid: int | None, state: list[Any]) -> None:
        info = rt.info("a")
        assert (info.pid, info.state, info.restarts, info.swap) == (pid, "READY", 0, None)
        assert rt.server("a").call("seen", timeout=20) == state
        assert [child.id for child in rt.modules()] == ["a"]

    @pytest.fixture
    def pid(self, rt: dx.Runtime, gate: Gate) -> int | None:
        rt.start_child("root", book("a", args={"gate": gate.path}))
        rt.server("a").call(["note", "one"])
        return rt.info("a").pid

    def test_a_migration_that_fails(self, rt: dx.Runtime, pid: int) -> None:
        with pytest.raises(dx.SwapError, match="no way from here") as caught:
            rt.swap("a", FAILING)
        assert caught.value.code == "migrate"
        assert "in code_change" in str(caught.value.remote_traceback)
        self.still_serves(rt, pid, ["one"])

    def test_a_verification_that_refuses(self, rt: dx.Runtime, pid: int) -> None:
        with pytest.raises(dx.SwapError) as caught:
            rt.swap("a", NEW, verify=lambda state: len(state["seen"]) > 1)
        assert caught.value.code == "verify"
        self.still_serves(rt, pid, ["one"])
        rt.server("a").call(["note", "two"])
        assert rt.swap("a", NEW, verify=lambda state: len(state["seen"]) > 1).version == "2"

    def test_a_target_that_does_not_start(self, rt: dx.Runtime, pid: int) -> None:
        with pytest.raises(dx.SwapError) as caught:
            rt.swap("a", f"{PROGRAMS}:Nothing")
        assert caught.value.code == "start"
        assert "Nothing" in str(caught.value)
        self.still_serves(rt, pid, ["one"])

    def test_a_call_that_does_not_end(self, rt: dx.Runtime, pid: int, gate: Gate) -> None:
        swap, slow = draining(rt, gate, suffix="1", drain=0.2)
        with pytest.raises(dx.SwapError, match="1 still running") as caught:
            swap.done()
        assert caught.value.code == "drain_timeout"
        gate.open()
        assert slow.done() == "1"
        self.still_serves(rt, pid, ["one"])

    def test_abort_while_it_rehearses(self, rt: dx.Runtime, pid: int, gate: Gate) -> None:
        swap = Running(lambda: rt.swap("a", GATED))
        new = gate.reached("1")
        assert rt.abort_swap("a")
        with pytest.raises(dx.SwapError) as caught:
            swap.done()
        assert caught.value.code == "aborted"
        assert wait_gone([new]) == []
        self.still_serves(rt, pid, ["one"])

    def test_abort_while_it_drains(self, rt: dx.Runtime, pid: int, gate: Gate) -> None:
        swap, slow = draining(rt, gate, suffix="1")
        queued = Running(lambda: rt.server("a").call("version", timeout=20))
        assert rt.abort_swap("a")
        with pytest.raises(dx.SwapError):
            swap.done()
        gate.open()
        assert (slow.done(), queued.done()) == ("1", "1")
        self.still_serves(rt, pid, ["one"])

    def test_abort_while_it_moves(self, rt: dx.Runtime, pid: int, gate: Gate) -> None:
        swap, new = self._moving(rt, gate)
        queued = Running(lambda: rt.server("a").call("version", timeout=20))
        assert rt.abort_swap("a")
        with pytest.raises(dx.SwapError):
            swap.done()
        assert queued.done() == "1"
        assert wait_gone([new]) == []
        self.still_serves(rt, pid, ["one", "two"])

    @pytest.mark.parametrize("phase", ["rehearsing", "draining", "moving"])
    def test_the_kill_of_the_new_one(self, rt: dx.Runtime, pid: int, gate: Gate, phase: str) -> None:
        swap, new, slow = self._at(rt, gate, phase)
        os.kill(new, signal.SIGKILL)
        with pytest.raises(dx.SwapError) as caught:
            swap.done()
        assert caught.value.reason == "killed"
        gate.open()
        if slow is not None:
            assert slow.done() == "1"
        self.still_serves(rt, pid, ["one", "two"] if phase == "moving" else ["one"])

    @pytest.mark.parametrize("phase", ["rehearsing", "draining", "moving"])
    def test_the_kill_of_the_old_one(self, rt: dx.Runtime, pid: int, gate: Gate, phase: str) -> None:
        swap, new, slow = self._at(rt, gate, phase)
        monitor, incarnation = rt.monitor("a"), rt.info("a").incarnation
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(dx.SwapError) as caught:
            swap.done()
        assert (caught.value.code, caught.value.reason) == ("old_ended", "killed")
        down = monitor.wait(20)
        assert (down.incarnation, down.reason) == (incarnation, "killed")
        if slow is not None:
            with pytest.raises(dx.ProcessDownError):
                slow.done()
        assert wait_gone([new]) == []
        restarted(rt, "a", incarnation)
        assert rt.server("a").call("version", timeout=20) == "1"

    def _moving(self, rt: dx.Runtime, gate: Gate) -> tuple[Running, int]:
        swap = Running(lambda: rt.swap("a", GATED, drain=20))
        new = gate.reached("1")
        rt.server("a").call(["note", "two"])  # so that it is migrated once more
        gate.open("1")
        assert gate.reached("2") == new
        return swap, new

    def _at(self, rt: dx.Runtime, gate: Gate, phase: str) -> tuple[Running, int, Running | None]:
        if phase == "moving":
            return *self._moving(rt, gate), None
        if phase == "rehearsing":
            return Running(lambda: rt.swap("a", GATED)), gate.reached("1"), None
        swap, slow = draining(rt, gate, suffix="1")
        return swap, gate.reached("1"), slow

    def test_a_client_that_goes_takes_its_swap_along(self, rt: dx.Runtime, pid: int, gate: Gate) -> None:
        other = dx.connect("swap")
        swap = Running(lambda: other.swap("a", GATED))
        new = gate.reached("1")
        other.close()
        with pytest.raises(dx.DspexError):
            swap.done()
        assert wait_gone([new]) == []
        self.still_serves(rt, pid, ["one"])

    def test_a_stop_does_not_wait_for_a_swap(self, rt: dx.Runtime, pid: int, gate: Gate) -> None:
        swap = Running(lambda: rt.swap("a", GATED))
        new = gate.reached("1")
        rt.stop("a")
        with pytest.raises(dx.SwapError):
            swap.done()
        assert wait_gone([new, pid]) == []
        assert rt.info("a").state == "STOPPED"


class TestSeveral:
    """All or none."""

    def test_both_or_none(self, rt: dx.Runtime) -> None:
        for id in ("a", "b"):
            rt.start_child("root", book(id))
        results = rt.swap({"a": {"to": NEW}, "b": {"to": NEW}})
        assert {id: result.version for id, result in results.items()} == {"a": "2", "b": "2"}
        with pytest.raises(dx.SwapError) as caught:
            rt.swap({"a": {"to": f"{PROGRAMS}:Book"}, "b": {"to": FAILING}})
        assert caught.value.id == "b"
        assert [rt.server(id).call("version") for id in ("a", "b")] == ["2", "2"]


class TestGroups:
    """Under whatever supervisor: what the group starts from then on is the new version."""

    def killed(self, rt: dx.Runtime, id: str, *, hits: str) -> None:
        """Kill a child, and wait until those that are hit by it are up again."""
        before = {each: rt.info(each).incarnation for each in hits.split()}
        rt.kill(id)
        for each, incarnation in before.items():
            restarted(rt, each, incarnation)

    @pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
    def test_a_sweep_and_a_restart_of_the_group_start_the_new_version(self, rt: dx.Runtime, strategy: str) -> None:
        children = [book("x"), book("y"), book("z")]
        rt.start_child(
            "root", {"id": "g", "supervisor": {"strategy": strategy, "max_restarts": 1, "max_seconds": 600, "children": children}}
        )
        before = [rt.info(f"g/{id}").incarnation for id in "xyz"]
        rt.swap("g/y", NEW)
        assert [rt.info(f"g/{id}").incarnation for id in "xyz"] == before, "nobody else is touched"
        self.killed(rt, "g/x", hits="g/x g/y g/z" if strategy == "one_for_all" else "g/y g/z")
        assert [rt.server(f"g/{id}").call("version", timeout=20) for id in "xyz"] == ["1", "2", "1"]
        self.killed(rt, "g/z", hits="g/x g/y g/z")  # one too many: the group is started again by the one above
        assert [rt.server(f"g/{id}").call("version", timeout=20) for id in "xyz"] == ["1", "2", "1"]

    def test_a_child_of_a_dynamic_supervisor(self, rt: dx.Runtime) -> None:
        rt.start_supervisor("pool", dynamic=True)
        rt.start_child("pool", book("p"))
        rt.swap("pool/p", NEW)
        self.killed(rt, "pool/p", hits="pool/p")
        assert rt.server("pool/p").call("version", timeout=20) == "2"

    def test_one_that_was_started_alone(self, rt: dx.Runtime) -> None:
        rt.start(f"{PROGRAMS}:Book", id="alone", backoff="none")
        rt.swap("alone", NEW)
        self.killed(rt, "alone", hits="alone")
        assert rt.server("alone").call("version", timeout=20) == "2"

    def test_while_it_is_restarted_there_is_nothing_to_be_swapped(self, rt: dx.Runtime, gate: Gate) -> None:
        rt.start_child("root", book("a", backoff={"initial": "30s", "max": "30s", "stable_after": "30s"}))
        for _ in range(2):  # the first restart is at once
            incarnation = rt.info("a").incarnation
            rt.kill("a")
            wait_until(lambda now=incarnation: settled(rt.info("a"), now), what="its end, and the next start or the back-off")
        assert rt.info("a").state == "BACKOFF"
        with pytest.raises(dx.SwapError, match="BACKOFF") as caught:
            rt.swap("a", NEW)
        assert caught.value.code == "not_running"


class TestRuntime:
    """The ends of others."""

    def test_the_end_of_the_runtime_waits_for_no_swap(self, runtime: Start, gate: Gate) -> None:
        rt = runtime(book("a", args={"gate": gate.path}))
        swap = Running(lambda: rt.swap("a", GATED))
        new = gate.reached("0")
        rt.shutdown()
        with pytest.raises(dx.DspexError):
            swap.done()
        assert not is_alive(new)

    def test_versions_are_shown_after_the_next_up(self, runtime: Start, tmp_path: Path) -> None:
        rt = runtime(book("a"))
        rt.swap("a", NEW)
        rt.swap("a", f"{PROGRAMS}:Book")
        rt.close()
        again = dx.Runtime(
            {"version": 1, "name": "again", "runtime": {"preload": [], "spares": 0}, "tree": {"children": [book("a")]}},
            state_dir=str(tmp_path / "state0"),
        )
        with again:
            shown = [(info.number, info.version, info.why, info.current) for info in again.versions("a")]
            assert shown == [(3, "1", "swap", True), (2, "2", "swap", False), (1, "1", "start", False)]
            with pytest.raises(dx.SwapError, match="earlier runtime"):
                again.rollback("a")

    def test_a_zygote_that_is_dead_is_waited_for(self, runtime: Start) -> None:
        rt = runtime(book("a"), runtime={"spares": 0})
        os.kill(rt.status()["zygote_pid"], signal.SIGKILL)
        assert rt.swap("a", NEW).version == "2"
        assert rt.server("a").call("version") == "2"

    def test_a_keeper_that_is_dead_keeps_nobody_from_a_swap(self, runtime: Start) -> None:
        import psutil

        rt = runtime(book("a"))
        for child in psutil.Process(rt.status()["pid"]).children():
            with suppress(psutil.Error):  # one that just ended
                if "state.keeper" in " ".join(child.cmdline()):
                    child.kill()
        assert rt.swap("a", NEW).version == "2"
        assert rt.server("a").call("version") == "2"
