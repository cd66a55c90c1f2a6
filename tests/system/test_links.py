"""Links, monitors and exit signals between real processes: otp-semantics §2.7, row by row, and the order of §4.4 rows 2 and 3."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import dspex_runtime as dx
from helpers.hosted_process import Gate
from helpers.system import FOLDER, Start, module
from helpers.waiting import wait_until

pytestmark = pytest.mark.process

PROGRAM = FOLDER / "programs_links.py"


def peer(id: str, **keys: Any) -> dict[str, Any]:
    """Return the spec of a server that is not started again."""
    return {"id": id, "server": f"{PROGRAM}:Peer", "restart": "temporary", "backoff": "none", **keys}


def ask(rt: dx.Runtime, id: str, *request: Any) -> Any:
    return rt.server(id).call(list(request), timeout=20)


def messages(rt: dx.Runtime, id: str, n: int) -> list[Any]:
    """Wait until a peer has got n messages; return them."""
    got: list[Any] = ask(rt, id, "messages", n)
    return got


class TestLinks:
    """Links: bidirectional, idempotent; exit signals by trap_exit."""

    @pytest.mark.parametrize("dies", ["a", "b"])
    def test_a_server_that_traps_exits_gets_exit_from_either_end(self, runtime: Start, dies: str) -> None:
        rt = runtime(peer("a"), peer("b"))
        lives = "b" if dies == "a" else "a"
        ask(rt, "a", "link", "b")
        ask(rt, "b", "link", "a")  # one link per pair: one signal
        rt.kill(dies)
        assert messages(rt, lives, 1) == [dx.Exit(dies, 1, "killed")]
        assert rt.info(lives).state == "READY"

    def test_exit_normal_is_a_message_to_who_traps_exits(self, runtime: Start) -> None:
        rt = runtime(peer("a"), peer("b"))
        ask(rt, "a", "link", "b")
        rt.server("b").stop("normal")
        assert messages(rt, "a", 1) == [dx.Exit("b", 1, "normal")]

    def test_who_does_not_trap_exits_dies_at_once_with_the_reason(self, runtime: Start, tmp_path: Path) -> None:
        journal = tmp_path / "journal"
        rt = runtime(peer("a"), peer("b", trap_exit=False, args={"journal": str(journal)}))
        ask(rt, "a", "link", "b")
        down = rt.monitor("b")
        rt.server("b").cast("busy")
        rt.server("a").stop(("shutdown", "done"))
        assert down.wait(20) == dx.Down("b", 1, ("shutdown", "done"))
        assert not journal.exists()  # terminate does not run

    def test_who_does_not_trap_exits_ignores_normal(self, runtime: Start) -> None:
        rt = runtime(peer("a"), peer("b", trap_exit=False), peer("c"))
        ask(rt, "a", "link", "b")
        ask(rt, "c", "link", "b")
        rt.server("a").stop("normal")
        assert ask(rt, "b", "own", "pid")
        rt.kill("b")
        assert messages(rt, "c", 1) == [dx.Exit("b", 1, "killed")]

    def test_a_chain_dies_together_and_a_cycle_ends(self, runtime: Start) -> None:
        rt = runtime(*(peer(id, trap_exit=False) for id in "abcd"))
        downs = {id: rt.monitor(id) for id in "abcd"}
        for one, other in ["ab", "bc", "ca"]:
            rt.link(one, other)
        rt.kill("b")
        assert {id: downs[id].wait(20) for id in "abc"} == {id: dx.Down(id, 1, "killed") for id in "abc"}
        assert rt.info("d").state == "READY"

    def test_a_dspy_module_stops_in_order_with_the_reason_and_is_restarted_for_it(self, runtime: Start, tmp_path: Path) -> None:
        journal = tmp_path / "journal"
        linked = module("m", "Linked", restart="transient", args={"journal": str(journal)})
        rt = runtime(peer("a"), peer("b"), linked)
        ref = rt.module("m")(to="a").ref
        rt.server("a").stop("normal")  # ignored
        assert wait_until(lambda: rt.ref("m").call("got")) == [dx.Down("a", 1, "normal", ref)]
        assert rt.info("m").incarnation == 1
        rt.module("m")(to="b")
        down = rt.monitor("m")
        rt.kill("b")
        assert down.wait(20) == dx.Down("m", 1, "killed")
        assert rt.wait("m") == {"m": "READY"}
        assert (rt.info("m").incarnation, rt.info("m").last_exit) == (2, "killed")
        assert journal.read_text() == "killed\n"

    def test_link_to_the_dead_is_exit_noproc(self, runtime: Start) -> None:
        rt = runtime(peer("a"), peer("b", restart="transient"))
        rt.stop("b")
        ask(rt, "a", "link", "b")
        ask(rt, "a", "link", "nobody")
        assert messages(rt, "a", 2) == [dx.Exit("b", 1, "noproc"), dx.Exit("nobody", 0, "noproc")]

    def test_after_unlink_there_is_no_exit(self, runtime: Start) -> None:
        rt = runtime(peer("a"), peer("b"), peer("c"))
        ask(rt, "a", "link", "b")
        ask(rt, "a", "link", "c")
        assert [ask(rt, "b", "unlink", "a"), ask(rt, "a", "unlink", "b")] == [True, False]
        rt.kill("b")
        rt.kill("c")
        assert messages(rt, "a", 1) == [dx.Exit("c", 1, "killed")]

    def test_unlink_with_flush_removes_an_exit_that_is_queued(self, shared: Start) -> None:
        rt = shared(peer("a"), peer("b"))
        assert ask(rt, "a", "own", "unlink_what_is_queued", "b") is False
        assert messages(rt, "a", 0) == []

    def test_what_a_link_ended_counts_as_the_exit_it_is_for_its_supervisor(self, runtime: Start) -> None:
        rt = runtime(peer("a"), peer("b", restart="transient", trap_exit=False), peer("c", restart="transient", trap_exit=False))
        rt.link("a", "b")
        rt.link("a", "c")
        rt.server("a").stop(("error", "ValueError", "boom", ""))
        rt.wait(["b", "c"], timeout=20)
        wait_until(lambda: all(rt.info(id).incarnation == 2 for id in "bc"))
        assert rt.info("b").last_exit == ("error", "ValueError", "boom", "")

    def test_a_restarted_process_is_not_linked(self, runtime: Start) -> None:
        rt = runtime(peer("a"), peer("b", restart="permanent"))
        ask(rt, "a", "link", "b")
        rt.kill("b")
        assert messages(rt, "a", 1) == [dx.Exit("b", 1, "killed")]
        rt.wait("b")
        rt.exit("b", "kill")
        wait_until(lambda: rt.info("b").incarnation == 3)
        assert messages(rt, "a", 0) == [dx.Exit("b", 1, "killed")]


class TestExitSignals:
    """exit/2, by reason and receiver."""

    def test_kill_is_untrappable_and_the_reason_is_killed(self, runtime: Start, tmp_path: Path) -> None:
        journal = tmp_path / "journal"
        rt = runtime(peer("a", args={"journal": str(journal)}), peer("b"))
        down = rt.monitor("a")
        ask(rt, "b", "exit", "a", "kill")
        assert down.wait(20) == dx.Down("a", 1, "killed")
        assert not journal.exists()

    def test_who_traps_exits_is_told_who_sent_it(self, runtime: Start) -> None:
        rt = runtime(peer("a"), peer("b"))
        ask(rt, "b", "exit", "a", "shutdown")
        rt.exit("a", "normal")
        assert messages(rt, "a", 2) == [dx.Exit("b", 1, "shutdown"), dx.Exit(f"client#{os.getpid()}", 0, "normal")]

    def test_who_does_not_trap_exits_dies_in_the_middle_of_a_callback(self, runtime: Start) -> None:
        rt = runtime(peer("a", trap_exit=False))
        call = rt.server("a").send_request(["own", "sleep", 60])
        wait_until(lambda: rt.server("a").statistics()["running"] == 1)
        down = rt.monitor("a")
        rt.exit("a", "shutdown")
        assert down.wait(20) == dx.Down("a", 1, "shutdown")
        with pytest.raises(dx.ProcessDownError):
            call.wait(20)

    def test_exit_to_nobody_is_no_error(self, shared: Start) -> None:
        rt = shared(peer("a"))
        assert rt.exit("nobody", "kill") is None
        assert ask(rt, "a", "exit", "nobody") is None

    def test_a_reason_that_is_none_becomes_an_error_with_that_term(self, runtime: Start) -> None:
        rt = runtime(peer("a"), peer("b"))
        ask(rt, "a", "exit", "b", "because")
        assert messages(rt, "b", 1) == [dx.Exit("a", 1, ("error", "Exit", "because", ""))]

    def test_a_supervisor_ignores_signals_but_kill_and_dies_with_all_that_is_below(self, shared: Start) -> None:
        group = {"id": "g", "supervisor": {"strategy": "one_for_one", "children": [peer("x", restart="permanent")]}}
        rt = shared(peer("a"), group)
        ask(rt, "a", "link", "g")
        ask(rt, "a", "link", "x")
        rt.exit("g", "shutdown")
        assert rt.info("g").incarnation == 1
        rt.exit("g", "kill")
        assert messages(rt, "a", 2) == [dx.Exit("g/x", 1, "killed"), dx.Exit("g", 1, "killed")]
        rt.wait("g/x")
        assert [rt.info(id).incarnation for id in ("g", "g/x")] == [2, 2]


class TestMonitors:
    """Monitors: each call its own ref, one DOWN; noproc; demonitor idempotent, with flush."""

    def test_each_call_is_a_monitor_of_its_own_also_from_init(self, runtime: Start) -> None:
        rt = runtime(peer("b"), peer("a", args={"watch": ["b", "b", "nobody"]}))
        first, second, third = ask(rt, "a", "own", "monitored_in_init")
        fourth = ask(rt, "a", "monitor", "b")
        rt.kill("b")
        got = messages(rt, "a", 4)
        assert got[0] == dx.Down("nobody", 0, "noproc", third)
        assert got[1:] == [dx.Down("b", 1, "killed", ref) for ref in (first, second, fourth)]

    def test_the_dead_is_down_noproc_not_its_old_reason(self, runtime: Start) -> None:
        rt = runtime(peer("a"), peer("b", restart="transient"))
        rt.stop("b")
        ref = ask(rt, "a", "monitor", "b")
        assert messages(rt, "a", 1) == [dx.Down("b", 1, "noproc", ref)]
        assert rt.monitor("b").wait(20) == dx.Down("b", 1, "noproc")

    def test_a_supervisor_can_be_watched(self, runtime: Start) -> None:
        rt = runtime(peer("a"), {"id": "g", "restart": "temporary", "supervisor": {"strategy": "one_for_one", "children": []}})
        ref = ask(rt, "a", "monitor", "g")
        rt.stop("g")
        assert messages(rt, "a", 1) == [dx.Down("g", 1, "shutdown", ref)]

    def test_demonitor_is_idempotent_and_with_flush_removes_one_that_is_queued(self, shared: Start) -> None:
        rt = shared(peer("a"), peer("b"), peer("c"))
        ref = ask(rt, "a", "monitor", "c")
        assert [ask(rt, "a", "demonitor", ref), ask(rt, "a", "demonitor", ref)] == [True, False]
        assert ask(rt, "a", "own", "flush_what_is_queued", "b") == [False, False]
        assert messages(rt, "a", 0) == []

    def test_demonitor_of_a_client_tells_whether_it_was_active(self, runtime: Start) -> None:
        rt = runtime(peer("a"), peer("b"))
        active, came, later = rt.monitor("a"), rt.monitor("b"), rt.monitor("b")
        assert [rt.demonitor(active), rt.demonitor(active)] == [True, False]
        rt.kill("b")
        assert later.wait(20) is not None
        assert rt.demonitor(came) is False
        assert came.wait(0) == dx.Down("b", 1, "killed")  # not flushed
        assert rt.demonitor(came, flush=True) is False
        assert came.wait(0) is None


class TestOrder:
    """All that A sent to B arrives before A's DOWN at B; names are free before DOWN."""

    def test_everything_sent_arrives_before_down_and_exit(self, runtime: Start) -> None:
        rt = runtime(peer("a"), peer("b", args={"watch": ["a"], "link": ["a"]}, limits={"mailbox": 5000}))
        (ref,) = ask(rt, "b", "own", "monitored_in_init")
        with pytest.raises(dx.ProcessDownError):
            ask(rt, "a", "own", "cast_and_die", "b", 1000)
        assert messages(rt, "b", 1002) == [*range(1000), dx.Down("a", 1, "killed", ref), dx.Exit("a", 1, "killed")]

    def test_everything_sent_arrives_before_down_at_one_that_is_busy(self, runtime: Start, tmp_path: Path) -> None:
        rt = runtime(peer("a"), peer("b", args={"watch": ["a"]}))
        (ref,) = ask(rt, "b", "own", "monitored_in_init")
        gate = Gate(tmp_path / "gate")
        busy = rt.server("b").send_request(["own", "pass_through", gate.path])
        with pytest.raises(dx.ProcessDownError):
            ask(rt, "a", "own", "cast_and_die", "b", 500)
        assert rt.monitor("a").wait(20) == dx.Down("a", 0, "noproc")
        gate.open()
        assert busy.wait(20) is None
        assert messages(rt, "b", 501) == [*range(500), dx.Down("a", 1, "killed", ref)]

    def test_on_down_the_name_can_be_registered_again(self, shared: Start) -> None:
        rt = shared(peer("a"), peer("b"))
        ask(rt, "a", "register", "key")
        ask(rt, "b", "monitor", "a")
        rt.kill("a")
        messages(rt, "b", 1)
        ask(rt, "b", "register", "key")
        holder = rt.whereis("key")
        assert holder is not None
        assert holder.id == "b"


class TestClients:
    """A client is linked by its connection; a lost peer releases what it held."""

    def test_a_link_with_this_client_tells_the_reason(self, runtime: Start) -> None:
        rt = runtime(peer("a"), peer("b"))
        first, second = rt.link("a"), rt.link("a")
        rt.server("a").stop(("shutdown", 1))
        assert first.wait(20) == second.wait(20) == dx.Down("a", 1, ("shutdown", 1))
        assert rt.link("a").wait(20) == dx.Down("a", 0, "noproc")  # temporary: it is forgotten

    def test_a_client_that_closes_is_exit_normal(self, shared: Start) -> None:
        rt = shared(peer("a"))
        with dx.connect(rt.socket) as other:
            other.link("a")
        assert messages(rt, "a", 1) == [dx.Exit(f"client#{os.getpid()}", 0, "normal")]

    def test_leaving_a_links_block_unlinks(self, shared: Start) -> None:
        rt = shared(peer("a"))
        with dx.connect(rt.socket) as other:
            with other.link("a"):
                assert other.demonitor(other.link("a")) is True
                assert len(messages(rt, "a", 0)) == 0
            assert other.unlink("a") is False
        assert messages(rt, "a", 0) == []

    def test_unlink_of_a_client(self, shared: Start) -> None:
        rt = shared(peer("a"))
        with dx.connect(rt.socket) as other:
            other.link("a")
            assert [other.unlink("a"), other.unlink("a")] == [True, False]
        assert messages(rt, "a", 0) == []

    def test_a_client_that_is_killed_releases_its_links_and_monitors(self, shared: Start) -> None:
        rt = shared(peer("traps"), peer("dies", trap_exit=False, restart="transient"))
        down = rt.monitor("dies")
        code = (
            "import dspex_runtime as dx, sys\n"
            f"rt = dx.connect({rt.socket!r})\n"
            "held = [rt.link('traps'), rt.link('dies'), rt.monitor('dies')]\n"
            "print('linked', flush=True)\nsys.stdin.read()"
        )
        with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
            assert client.stdout is not None
            assert client.stdout.readline() == b"linked\n"
            client.send_signal(signal.SIGKILL)
        lost = ("error", "ClientLost", "its connection ended", "")
        assert messages(rt, "traps", 1) == [dx.Exit(f"client#{client.pid}", 0, lost)]
        assert down.wait(20) == dx.Down("dies", 1, lost)


def test_the_asyncio_twins(runtime: Start) -> None:
    rt = runtime(peer("a"), peer("b"), peer("c"))

    async def scenario() -> None:
        async with await dx.aio.connect(rt.socket) as other:
            link = await other.link("a")
            await other.link("b", "c")
            assert await other.unlink("b", "c")
            monitor = await other.monitor("b")
            assert [await other.demonitor(monitor), await other.demonitor(monitor, flush=True)] == [True, False]
            await other.exit("a", "kill")
            assert await link.wait(20) == dx.Down("a", 1, "killed")

    asyncio.run(scenario())


def test_2_11_a_neighbour_that_dies_with_a_process_is_reported_by_itself(runtime: Start) -> None:
    rt = runtime(*(peer(id, trap_exit=False) for id in "ab"))
    rt.link("a", "b")
    down = rt.monitor("b")
    rt.kill("a")
    assert down.wait(20) == dx.Down("b", 1, "killed")
    reported: list[tuple[str, Any]] = []
    with rt.events(since=0) as events:
        while len(reported) < 2:
            event = next(events)
            if event["type"] == "crash_report":
                reported.append((event["id"], event["reason"]))
    assert reported == [("a", "killed"), ("b", "killed")]


class TestOrderOfOneSender:
    """§4: what one process sends to another is received in the order in which it was sent, whatever kind it is."""

    ROUNDS = 15

    def test_exit_is_behind_what_was_sent_before_and_before_what_was_sent_after(self, shared: Start) -> None:
        rt = shared()
        expected = [*range(10), "exit", *range(10, 15), "exit", 15]
        for n in range(self.ROUNDS):
            peer = rt.start(f"{PROGRAM}:Peer", id=f"p{n}", restart="temporary", backoff="none")
            requests = [peer.send_request(["keep", i]) for i in range(5)]
            for i in range(5, 10):
                peer.cast(i)
            rt.exit(peer.id, "shutdown")
            for i in range(10, 15):
                peer.cast(i)
            rt.exit(peer.id, "normal")
            peer.info_message(15)
            assert ["exit" if isinstance(one, dx.Exit) else one for one in peer.get_state()] == expected
            assert [request.wait(20) for request in requests] == [None] * 5

    def test_exit_of_a_server_is_in_order_too(self, shared: Start) -> None:
        rt = shared(peer("a"), peer("b"))
        for n in range(self.ROUNDS):
            ask(rt, "a", "own", "send_around_exit", "b", 5)
            got = ["exit" if isinstance(one, dx.Exit) else one for one in messages(rt, "b", 16 * (n + 1))[-16:]]
            assert got == [*range(10), "exit", *range(10, 15)]
