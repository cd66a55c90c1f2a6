"""The registry between real processes (otp-semantics §2.8, and §2.1 and §2.7 where they speak of names)."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import dspy
import pytest

import dspex_runtime as dx
from helpers.system import FOLDER, Start, call_again, module
from helpers.waiting import wait_gone, wait_until

pytestmark = pytest.mark.process

PROGRAMS = FOLDER / "programs_registry.py"


def registrar(id: str, **keys: Any) -> dict[str, Any]:
    return {"id": id, "server": f"{PROGRAMS}:Registrar", "backoff": "none", **keys}


def tell(rt: dx.Runtime, id: str, *request: Any) -> Any:
    """Have a server do something with the registry; raise what it was refused with."""
    answer = rt.server(id).call(request)
    if isinstance(answer, dx.RegistryError):
        raise answer
    return answer


def pid_of(rt: dx.Runtime, id: str) -> int:
    pid = rt.info(id).pid
    assert pid is not None
    return pid


def ids(found: list[tuple[Any, Any]]) -> list[str]:
    return [reference.id for reference, _ in found]


class TestNamesVanishWithTheProcess:
    """§2.8, and §2.7's resource guarantee: on DOWN, registering the name again always works."""

    def test_the_key_of_a_killed_holder_is_free_when_its_down_arrives(self, shared: Start) -> None:
        rt = shared(registrar("a", restart="temporary"), registrar("b"))
        for round in range(10):
            if round:
                rt.start_child("root", registrar("a", restart="temporary"))
            rt.register("k", "a")
            monitor = rt.monitor("a")
            os.kill(pid_of(rt, "a"), signal.SIGKILL)
            down = monitor.wait(10)
            assert down is not None
            assert rt.whereis("k") is None
            rt.register("k", "b")
            rt.unregister("k", "b")

    def test_a_key_held_by_a_dead_process_is_registered_at_once(self, shared: Start) -> None:
        rt = shared(registrar("a", restart="temporary"), registrar("b"))
        rt.register("k", "a")
        pid, zygote = pid_of(rt, "a"), rt.status()["zygote_pid"]
        os.kill(zygote, signal.SIGSTOP)  # nobody tells the runtime of the end
        try:
            os.kill(pid, signal.SIGKILL)
            assert wait_gone([pid]) == []
            assert rt.info("a").state == "READY"
            assert rt.whereis("k") is None
            rt.register("k", "b")
        finally:
            os.kill(zygote, signal.SIGCONT)
        assert ids(rt.lookup("k")) == ["b"]

    def test_a_living_one_keeps_it_and_the_error_names_it(self, shared: Start) -> None:
        rt = shared(registrar("a"), registrar("b"))
        rt.register("k", "a")
        with pytest.raises(dx.RegistryError, match=r"'a' \(incarnation \d+\) holds it") as caught:
            tell(rt, "b", "register", "k")
        assert (caught.value.code, caught.value.holder) == ("already_registered", "a")


class TestTheKeyOfASpec:
    """§2.1: the name is registered before init runs; calls to it queue until init has returned."""

    def test_calls_to_the_name_wait_for_init(self, shared: Start, tmp_path: Path) -> None:
        gate = tmp_path / "gate"
        rt = shared()
        starting = threading.Thread(
            target=lambda: rt.start_child("root", registrar("slow", register=["slow", 1], args={"slow": str(gate)}))
        )
        starting.start()
        try:
            wait_until((tmp_path / "gate.begun").exists)
            server = rt.whereis(("slow", 1))
            request = server.send_request("messages")
            with pytest.raises(dx.CallTimeoutError):
                request.wait(0.05)
        finally:
            gate.touch()
            starting.join()
        assert request.wait(10) == []

    def test_taken_init_never_runs(self, shared: Start, tmp_path: Path) -> None:
        rt = shared(registrar("a", register="k"))
        with pytest.raises(dx.StartError, match="key 'k' is registered already: 'a'") as caught:
            rt.start_child("root", registrar("b", register="k", args={"slow": str(tmp_path / "gate")}))
        assert caught.value.code == "already_registered"
        assert not (tmp_path / "gate.begun").exists()
        assert ids(rt.lookup("k")) == ["a"]

    def test_it_is_free_when_the_failed_start_returns(self, shared: Start) -> None:
        rt = shared()
        for _ in range(5):
            with pytest.raises(dx.StartError, match="init failed"):
                rt.start_child("root", registrar("a", register="k", args={"fails": True}))
            assert rt.whereis("k") is None
            rt.start_child("root", registrar("b", register="k"))
            rt.terminate_child("root", "b")
            rt.delete_child("root", "b")

    def test_so_is_what_init_itself_registered(self, shared: Start) -> None:
        rt = shared()
        with pytest.raises(dx.StartError, match="init failed"):
            rt.start_child("root", registrar("a", args={"key": "k", "fails": True}))
        assert rt.lookup("k") == []

    def test_each_incarnation_registers_anew_before_init(self, shared: Start) -> None:
        # init registers under the same key, if it can: it must be refused every time.
        rt = shared(registrar("a", register="k"))
        server, first = rt.whereis("k"), rt.info("a").incarnation
        for incarnation in (first + 1, first + 2):
            os.kill(pid_of(rt, "a"), signal.SIGKILL)
            wait_until(lambda: rt.info("a").incarnation == incarnation)  # noqa: B023 - asked within the turn
            (entry,) = rt.registered("k")
            assert entry["incarnation"] == incarnation
            assert call_again(server, "messages") == []

    def test_from_python_too(self, shared: Start) -> None:
        rt = shared()
        server = rt.start(f"{PROGRAMS}:Registrar", id="a", register=("k", 1.0))
        assert (rt.whereis(("k", 1.0)), rt.whereis(("k", 1))) == (server, None)
        assert rt.keys("a") == [("k", 1.0)]


class TestKeysAreComparedStrictly:
    """1 and 1.0 differ, through client, runtime and module."""

    KEYS = (1, 1.0, True, "1", b"1", (1,), (1.0, (True, None)), None, 2**70)

    def test_every_type_arrives_as_it_is(self, shared: Start) -> None:
        rt = shared(registrar("a"), registrar("b"))
        for key in self.KEYS:
            tell(rt, "a", "register", key, repr(key))
        assert [repr(key) for key in rt.keys("a")] == [repr(key) for key in self.KEYS]
        for key in self.KEYS:
            assert rt.lookup(key) == [(rt.server("a"), repr(key))]
            assert tell(rt, "b", "lookup", key) == [("a", repr(key))]

    def test_values_may_be_anything(self, shared: Start) -> None:
        rt = shared(registrar("a"), registrar("b"))
        for value in ({1: (2, {3})}, Path("/x"), ValueError("no"), b"x" * 100_000):
            rt.register("k", "a", value)
            ((_, found),) = rt.lookup("k")
            assert repr(found) == repr(value)
            assert repr(tell(rt, "b", "lookup", "k")[0][1]) == repr(value)
            rt.unregister("k")


class TestInsideModules:
    """A process speaks for itself."""

    def test_unregister_removes_its_own_entries_only(self, shared: Start) -> None:
        rt = shared(registrar("a"), registrar("b"))
        for id, value in (("a", 1), ("b", 2), ("a", 3)):
            tell(rt, id, "register", "k", value, False)
        assert tell(rt, "a", "unregister", "k") == 2
        assert rt.lookup("k") == [(rt.server("b"), 2)]

    def test_update_value_is_the_owners(self, shared: Start) -> None:
        rt = shared(registrar("a"), registrar("b"))
        rt.register("k", "a", 1)
        assert tell(rt, "a", "add", "k", 2) == (3, 1)
        assert rt.update_value("k", lambda value: value * 10) == (30, 3)
        with pytest.raises(dx.RegistryError) as caught:
            tell(rt, "b", "add", "k", 2)
        assert caught.value.code == "not_registered"

    def test_whereis_gives_a_reference_that_can_be_called(self, shared: Start) -> None:
        rt = shared(registrar("a"), registrar("b", register="k"))
        assert tell(rt, "a", "whereis", "k") == "b"
        assert tell(rt, "a", "whereis", "nobody") is None
        assert tell(rt, "a", "ask", "k", ("whereis", "k")) == "b"

    def test_whereis_of_a_duplicate_key_raises(self, shared: Start) -> None:
        rt = shared(registrar("a"))
        rt.register("k", "a", unique=False)
        for ask in (lambda: rt.whereis("k"), lambda: tell(rt, "a", "whereis", "k")):
            with pytest.raises(dx.RegistryError) as caught:
                ask()
            assert caught.value.code == "duplicate_key"

    def test_lookup_can_match_values(self, shared: Start) -> None:
        rt = shared(registrar("a"), registrar("b"))
        rt.register("k", "a", {"lang": "en", "n": 1}, unique=False)
        rt.register("k", "b", {"lang": "de", "n": 1}, unique=False)
        assert ids(rt.lookup("k", {"lang": "de"})) == ["b"]
        assert [id for id, _ in tell(rt, "a", "lookup", "k", {"n": 1})] == ["a", "b"]


class TestVia:
    """A key as an address is looked up at each call."""

    def test_a_call_goes_to_whoever_holds_the_key_then(self, shared: Start) -> None:
        rt = shared(registrar("a"), registrar("b"))
        server = rt.server(dx.Via(("k", 1)))
        with pytest.raises(dx.NoProcessError, match=r"nobody is registered under key \('k', 1\)"):
            server.call("messages")
        for id in ("a", "b"):
            rt.register(("k", 1), id)
            assert server.call(("self_id",)) == id
            assert server.send_request(("self_id",)).wait(10) == id
            assert pickle.loads(pickle.dumps(server)) == server
            rt.unregister(("k", 1))

    def test_a_module_is_found_as_a_module(self, shared: Start) -> None:
        rt = shared(module("qa", "Echo", register="k", args={"prefix": "> "}), registrar("a"))
        for found in (rt.whereis("k"), rt.module(dx.Via("k"))):
            assert isinstance(found, dspy.Module)
            assert found(question="x").answer == "> x"
        assert rt.ref(dx.Via("k")).call(question="y").answer == "> y"
        assert tell(rt, "a", "question", "k", "z") == "> z"

    def test_of_a_duplicate_key_raises(self, shared: Start) -> None:
        rt = shared(registrar("a"))
        rt.register("k", "a", unique=False)
        with pytest.raises(dx.RegistryError) as caught:
            rt.server(dx.Via("k")).call("messages")
        assert caught.value.code == "duplicate_key"

    def test_of_another_kind_is_refused(self, shared: Start) -> None:
        rt = shared(registrar("a", register="k"))
        with pytest.raises(dx.ConfigError, match="key 'k' is held by 'a', a server, not a module"):
            rt.ref(dx.Via("k")).call()


class TestListeners:
    """Unregister is told for explicit unregister only, not on a crash."""

    def test_a_server_gets_both_in_handle_info(self, shared: Start) -> None:
        rt = shared(registrar("a", restart="temporary"), registrar("ear"))
        ear = rt.server("ear")
        tell(rt, "ear", "listen")
        rt.register(("k", 1), "a", [1])
        rt.unregister(("k", 1), "a")
        rt.register("l", "a")
        monitor = rt.monitor("a")
        rt.kill("a")
        assert monitor.wait(10)
        rt.register("m", "ear")
        wanted = [
            dx.Registered(("k", 1), "a", [1]),
            dx.Unregistered(("k", 1), "a"),
            dx.Registered("l", "a"),
            dx.Registered("m", "ear"),
        ]
        wait_until(lambda: ear.call("messages") == wanted)

    def test_a_client_sees_them_as_events(self, shared: Start) -> None:
        rt = shared(registrar("a"))
        events = rt.events()
        rt.register(("k", 1), "a", 5)
        rt.unregister(("k", 1))
        seen = []
        while len(seen) < 2:
            event = next(events)
            if event["type"] in ("registered", "unregistered"):
                seen.append((event["type"], event["id"], event["key"], event.get("value")))
        assert seen == [("registered", "a", ("k", 1), 5), ("unregistered", "a", ("k", 1), None)]


HOLDS_A_LOCK = """
import sys, time
import dspex_runtime as dx
rt = dx.connect(sys.argv[1])
lock = rt.lock("k")
lock.__enter__()
print("held", flush=True)
time.sleep(1000)
"""


class TestLocks:
    """A per-key mutex, FIFO, released when the holder raises or dies, dead waiters skipped."""

    def test_a_holder_killed_with_sigkill_makes_way_for_the_next(self, shared: Start) -> None:
        rt = shared()
        holder = subprocess.Popen([sys.executable, "-c", HOLDS_A_LOCK, rt.socket], stdout=subprocess.PIPE, text=True)
        assert holder.stdout is not None
        with holder.stdout:
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(dx.CallTimeoutError, match="lock 'k' was not free"), rt.lock("k", timeout=0):
                pass
            got = threading.Event()

            def wait() -> None:
                with rt.lock("k"):
                    got.set()

            waiter = threading.Thread(target=wait)
            waiter.start()
            holder.kill()
            assert got.wait(10)
            waiter.join()
            holder.wait()

    def test_a_module_that_dies_holding_one_makes_way_too(self, shared: Start) -> None:
        rt = shared(registrar("a"))
        tell(rt, "a", "hold", "k")
        with pytest.raises(dx.CallTimeoutError), rt.lock("k", timeout=0):
            pass
        os.kill(pid_of(rt, "a"), signal.SIGKILL)
        with rt.lock("k", timeout=10):
            pass

    def test_it_is_released_when_the_block_raises(self, shared: Start) -> None:
        rt = shared()
        with pytest.raises(ZeroDivisionError), rt.lock("k"):
            1 / 0  # noqa: B018
        with rt.lock("k", timeout=0):
            pass

    def test_asking_for_what_one_holds_is_an_error(self, shared: Start) -> None:
        rt = shared()
        with rt.lock("k"):
            with pytest.raises(dx.RegistryError) as caught, rt.lock("k"):
                pass
            assert caught.value.code == "already_locked"
            with pytest.raises(dx.CallTimeoutError):
                in_thread(lambda: rt.lock("k", timeout=0).__enter__())
            with rt.lock(("k",)), rt.lock("other"):
                pass

        def take() -> None:
            with rt.lock("k", timeout=0):
                pass

        in_thread(take)

    def test_processes_and_their_threads_take_turns(self, shared: Start, tmp_path: Path) -> None:
        path = tmp_path / "number"
        path.write_text("0")
        specs = [{"id": f"c{n}", "server": f"{PROGRAMS}:Careful", "args": [str(path)]} for n in range(3)]
        rt = shared(*specs)
        requests = [rt.server(f"c{n}").send_request(10) for n in range(3)]
        assert [request.wait(30) for request in requests] == ["done"] * 3
        assert path.read_text() == str(3 * 2 * 10)

    def test_tasks_take_turns_and_a_cancelled_one_leaves_the_line(self, shared: Start) -> None:
        rt = shared()
        order: list[str] = []

        async def hold(art: dx.aio.Runtime, name: str, until: asyncio.Event) -> None:
            async with art.lock("k"):
                order.append(name)
                await until.wait()

        async def main() -> None:
            art = await dx.aio.connect(rt.socket)
            go = asyncio.Event()
            first = asyncio.create_task(hold(art, "first", go))
            async with asyncio.timeout(20):
                while not order:
                    await asyncio.sleep(0.001)
            second, third = (asyncio.create_task(hold(art, name, go)) for name in ("second", "third"))
            await asyncio.sleep(0)
            second.cancel()
            await asyncio.gather(second, return_exceptions=True)
            go.set()
            await asyncio.gather(first, third)
            async with art.lock("k", timeout=0):
                pass
            await art.close()

        asyncio.run(main())
        assert order == ["first", "third"]


def in_thread(work: Any) -> None:
    """Run in another thread; raise what it raised."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as exc:
            raised.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


class TestSelect:
    """By metadata and version, from clients."""

    def test_finds_children(self, shared: Start) -> None:
        rt = shared(
            registrar("a", version="1", metadata={"team": "x"}),
            registrar("b", version="2", metadata={"team": "x"}),
            registrar("c", version="2", metadata={"team": "y"}),
        )
        assert [info.id for info in rt.select(team="x")] == ["a", "b"]
        assert [info.id for info in rt.select(version="2", team="x")] == ["b"]

        async def asked() -> list[str]:
            art = await dx.aio.connect(rt.socket)
            try:
                await art.register("k", "a", 1)
                assert await art.lookup("k") == [(await art.server("a"), 1)]
                assert (await art.whereis("k")).id == "a"
                assert (await art.keys("a"), await art.unregister("k")) == (["k"], 1)
                return [info.id for info in await art.select(version="2")]
            finally:
                await art.close()

        assert asyncio.run(asked()) == ["b", "c"]
