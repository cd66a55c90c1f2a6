"""Calls between real processes: at most once, deadlines, waiting for the next incarnation, streams, many clients."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import dspex_runtime as dx
from helpers.system import DSPY_PROGRAMS, Start, module, server
from helpers.waiting import wait_until

pytestmark = pytest.mark.process


def test_a_dspy_module_is_called_as_in_process(shared: Start) -> None:
    rt = shared(module("qa", "Echo", args={"prefix": "> "}))
    qa = rt.module("qa")
    prediction = qa(question="what")
    assert prediction.answer == "> what"
    assert prediction.pid == rt.info("qa").pid != os.getpid()


def test_an_exception_arrives_as_its_own_type_with_the_remote_traceback(shared: Start) -> None:
    rt = shared(module("qa", "Echo"))
    with pytest.raises(KeyError) as caught:
        rt.ref("qa").call("fail", "key")
    assert caught.value.args == ("key",)
    cause = caught.value.__cause__
    assert isinstance(cause, dx.RemoteError)
    assert "raise KeyError(what)" in cause.remote_traceback
    info = rt.info("qa")
    assert (cause.id, cause.incarnation, info.restarts) == ("qa", info.incarnation, 0)


def test_a_call_in_flight_fails_with_the_exit_reason_and_the_next_is_answered(shared: Start, tmp_path: Path) -> None:
    rt = shared(module("qa", "Echo"))
    qa = rt.ref("qa")
    gate, incarnation = tmp_path / "gate", rt.info("qa").incarnation
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(qa.call, "wait", str(gate))
        wait_until(Path(f"{gate}.begun").exists)
        rt.kill("qa")
        with pytest.raises(dx.ProcessDownError) as caught:
            waiting.result(20)
    assert (caught.value.reason, caught.value.incarnation) == ("killed", incarnation)
    assert qa.call(question="again").answer == "again"


def test_calls_that_had_not_begun_wait_for_the_next_incarnation(shared: Start, tmp_path: Path) -> None:
    rt = shared(module("qa", "Echo"))
    qa = rt.ref("qa")
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(4) as pool:
        running = pool.submit(qa.call, "wait", str(gate))
        wait_until(Path(f"{gate}.begun").exists)
        queued = [pool.submit(qa.call, question=str(n)) for n in range(3)]
        wait_until(lambda: qa.info().metrics["queued"] == 3)
        rt.kill("qa")
        assert [future.result(20).answer for future in queued] == ["0", "1", "2"]
        with pytest.raises(dx.ProcessDownError):
            running.result(20)


def test_an_idempotent_method_is_called_again(shared: Start, tmp_path: Path) -> None:
    rt = shared(module("qa", "Echo"))
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(rt.ref("qa").call, "wait_idempotent", str(gate))
        wait_until(Path(f"{gate}.begun").exists)
        Path(f"{gate}.begun").unlink()
        rt.kill("qa")
        wait_until(Path(f"{gate}.begun").exists)
        gate.touch()
        assert waiting.result(20) == "done"


def test_a_deadline_ends_the_wait_and_a_late_reply_is_dropped(shared: Start, tmp_path: Path) -> None:
    rt = shared(module("qa", "Echo"))
    qa = rt.ref("qa")
    gate = tmp_path / "gate"
    with pytest.raises(dx.CallTimeoutError):
        qa.call("wait", str(gate), timeout=0.2)
    gate.touch()
    assert qa.call(question="next", timeout=20).answer == "next"


def test_a_full_mailbox_refuses(shared: Start, tmp_path: Path) -> None:
    rt = shared(module("qa", "Echo", limits={"mailbox": 2}))
    qa = rt.ref("qa")
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(qa.call, "wait", str(gate))]
        wait_until(Path(f"{gate}.begun").exists)
        futures += [pool.submit(qa.call, question="q") for _ in range(2)]
        wait_until(lambda: qa.info().metrics["queued"] == 2)
        with pytest.raises(dx.OverloadedError):
            qa.call(question="one too many", timeout=10)
        gate.touch()
        for future in futures:
            future.result(20)


def test_async_forwards_run_together(shared: Start) -> None:
    rt = shared(module("qa", "AsyncEcho"))
    qa = rt.ref("qa")
    with ThreadPoolExecutor(5) as pool:
        assert [p.n for p in pool.map(lambda _: qa.call(n=5, timeout=20), range(5))] == [5] * 5


def test_concurrency_lets_calls_meet(shared: Start, tmp_path: Path) -> None:
    rt = shared(module("qa", "Echo", concurrency=2))
    qa = rt.ref("qa")
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(qa.call, "wait", str(gate))
        wait_until(Path(f"{gate}.begun").exists)
        assert qa.call(question="meanwhile", timeout=10).answer == "meanwhile"
        gate.touch()
        assert waiting.result(20) == "done"


def test_a_stream_brings_items_with_credit_and_can_be_left_early(shared: Start) -> None:
    rt = shared(module("qa", "Echo"))
    qa = rt.ref("qa")
    assert list(qa.stream("count", 500)) == list(range(500))
    stream = iter(qa.stream("count", 10**9))
    assert [next(stream), next(stream)] == [0, 1]
    del stream
    assert qa.call(question="free", timeout=20).answer == "free"


@pytest.mark.parametrize(
    ("request_", "where"),
    [(["unserialisable"], "lock"), (["large", 100], "does not fit a frame")],
    ids=["unserialisable", "too large"],
)
def test_a_result_that_cannot_be_sent_is_an_error_and_the_process_lives(shared: Start, request_: list[Any], where: str) -> None:
    rt = shared(server("x", "Bad"))
    with pytest.raises(dx.UnserialisableError, match=where):
        rt.server("x").call(request_, timeout=20)
    assert rt.server("x").call(["pid"]) == rt.info("x").pid
    assert rt.info("x").restarts == 0


def test_an_argument_that_cannot_be_sent_is_an_error_before_anything_is_sent(shared: Start) -> None:
    rt = shared(module("qa", "Echo"))
    with pytest.raises(dx.UnserialisableError):
        rt.ref("qa").call(question=threading.Lock())
    assert rt.info("qa").metrics["calls"] == 0


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda rt: rt.ref("nobody").call(), dx.NoProcessError),
        (lambda rt: rt.ref("qa").call("no_such_method"), AttributeError),
        (lambda rt: rt.ref("qa").call("_private"), Exception),
        (lambda rt: rt.ref("qa").call(wrong="argument"), TypeError),
        (lambda rt: rt.start(str(DSPY_PROGRAMS) + ":NotAModule", id="n"), dx.StartError),
        (lambda rt: rt.start(str(DSPY_PROGRAMS) + ":NoForward", id="n"), dx.StartError),
        (lambda rt: rt.start(str(DSPY_PROGRAMS) + ":Missing", id="n"), dx.StartError),
        (lambda rt: rt.start("nowhere.at_all:X", id="n"), dx.StartError),
        (lambda rt: rt.start(str(DSPY_PROGRAMS) + ":Echo", id="qa"), dx.SupervisorError),
        (lambda rt: rt.start(str(DSPY_PROGRAMS) + ":Echo", id="bad/id"), dx.ConfigError),
        (lambda rt: rt.kill("qa", signal="NOPE"), dx.DspexError),
        (lambda rt: rt.wait(["qa"], state="flying"), dx.ConfigError),
    ],
)
def test_bad_requests_are_clear_errors_and_the_rest_goes_on(shared: Start, call: Any, error: type[Exception]) -> None:
    rt = shared(module("qa", "Echo"))
    with pytest.raises(error):
        call(rt)
    assert rt.ref("qa").call(question="still here").answer == "still here"


def test_many_threads_share_one_client(shared: Start) -> None:
    rt = shared(server("x", "Counter"))
    x = rt.server("x")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: [x.call(1) for _ in range(50)], range(8)))
    assert x.call(0) == 400


def test_asyncio_clients_have_many_calls_in_flight(shared: Start) -> None:
    rt = shared(server("x", "Counter"))

    async def main() -> int:
        async with await dx.aio.connect(rt.socket) as other:
            x = await other.server("x")
            await asyncio.gather(*(x.call(1) for _ in range(200)))
            return int(await x.call(0))

    assert asyncio.run(main()) == 200


CLIENT = """
import os, sys, threading
import dspex_runtime as dx
rt = dx.connect(sys.argv[1])
qa = rt.ref("qa")
threading.Thread(target=lambda: qa.call("wait", sys.argv[2]), daemon=True).start()
while not os.path.exists(sys.argv[2] + ".begun"): pass
print("begun", flush=True)
threading.Event().wait()
"""


def test_a_client_that_is_killed_leaves_nothing_behind(shared: Start, tmp_path: Path) -> None:
    rt = shared(module("qa", "Echo"))  # it has no spares: one that is just being made would be counted
    pid = rt.info("qa").pid
    gate = tmp_path / "gate"
    rt.ref("qa").call(question="warm")
    runtime_pid = rt.status()["pid"]
    before = [len(os.listdir(f"/proc/{p}/fd")) for p in (pid, runtime_pid)]
    with subprocess.Popen([sys.executable, "-c", CLIENT, rt.socket, str(gate)], stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "begun\n"
        client.send_signal(signal.SIGKILL)
    gate.touch()
    assert rt.ref("qa").call(question="next", timeout=20).answer == "next"
    wait_until(lambda: [len(os.listdir(f"/proc/{p}/fd")) for p in (pid, runtime_pid)] == before)


@pytest.mark.parametrize("timeout", [1e8, 1e12, 1e300])
def test_a_timeout_that_no_clock_can_hold_is_none(shared: Start, timeout: float) -> None:
    rt = shared(module("qa", "Echo"), module("async", "AsyncEcho"))
    assert rt.ref("qa").call(question="now", timeout=timeout).answer == "now"
    assert asyncio.run(rt.ref("qa").acall(question="then", timeout=timeout)).answer == "then"
    assert rt.info("qa").restarts == 0


def test_every_idle_call_thread_hears_of_a_stop(shared_runtime: dx.Runtime) -> None:
    rt = shared_runtime
    for n in range(15):
        qa = rt.start(f"{DSPY_PROGRAMS}:Echo", id=f"qa{n}", concurrency=6, shutdown={"drain": 60, "timeout": 90}).dx
        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda i, qa=qa: qa.call(question=str(i), timeout=20).answer, range(48)))
        assert answers == [str(i) for i in range(48)]
        rt.stop(f"qa{n}", timeout=20)  # a thread that missed it would hold it up for the whole drain
        rt.delete(f"qa{n}")
