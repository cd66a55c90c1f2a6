"""Modules that misbehave in every way a process can: each is a clear end of its own, and nobody else notices."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

import dspex_runtime as dx
from helpers.system import Start, call_again, server
from helpers.waiting import is_alive, wait_gone, wait_until

pytestmark = pytest.mark.process


@pytest.fixture
def rt(runtime: Start) -> dx.Runtime:
    return runtime(
        server("x", "Bad", liveness={"grace": "300ms"}, limits={"memory": "300MiB"}, shutdown={"drain": "100ms", "timeout": "1s"}),
        server("bystander", "Counter"),
    )


def end_of(rt: dx.Runtime, request: list[Any], timeout: float = 30.0) -> Any:
    """Make `x` do what ends it; return the exit reason that its monitor is told. Then both serve again."""
    rt.server("x").call(["pid"])  # the pipe is there: the time is that of the request
    down = rt.monitor("x")
    with pytest.raises((dx.ProcessDownError, dx.CallTimeoutError, dx.ProtocolError)):  # the last: garbage came first
        rt.server("x").call(request, timeout=timeout)
    notice = down.wait(20)
    assert notice is not None
    assert call_again(rt.server("x"), ["pid"]) == rt.info("x").pid
    assert rt.server("bystander").call(0) == 0
    assert rt.info("bystander").incarnation == 1
    return notice.reason


def test_busy_past_its_deadline_and_grace_is_hung(rt: dx.Runtime, tmp_path: Path) -> None:
    reason = end_of(rt, ["wait", str(tmp_path / "never")], timeout=1.0)
    assert (tmp_path / "never.begun").exists()
    assert reason[:2] == ("limit", "liveness")


def test_c_code_that_holds_the_gil_is_hung_and_answers_nobody(rt: dx.Runtime, tmp_path: Path) -> None:
    down = rt.monitor("x")
    x = rt.server("x")
    x.call(["pid"])
    with pytest.raises(dx.CallTimeoutError):
        x.call(["burn", str(tmp_path / "it")], timeout=1.0)
    assert (tmp_path / "it.begun").exists()
    notice = down.wait(20)
    assert notice is not None
    assert notice.reason[:2] == ("limit", "liveness")


def test_control_requests_to_a_module_that_holds_its_gil_end_as_busy(runtime: Start, tmp_path: Path) -> None:
    rt = runtime(server("x", "Bad", liveness=None, shutdown={"drain": "100ms", "timeout": "300ms"}))
    rt.server("x").send_request(["burn", str(tmp_path / "it")])
    wait_until((tmp_path / "it.begun").exists)
    with pytest.raises(dx.BusyError):
        rt.server("x").get_state(timeout=0.3)
    rt.stop("x")
    assert rt.info("x").last_exit == "killed"


def test_a_stopped_process_is_hung_when_it_is_busy(rt: dx.Runtime, tmp_path: Path) -> None:
    pid = rt.server("x").call(["pid"])
    os.kill(pid, signal.SIGSTOP)
    down = rt.monitor("x")
    with pytest.raises(dx.CallTimeoutError):
        rt.server("x").call(["pid"], timeout=1.0)
    notice = down.wait(20)
    assert notice is not None
    assert notice.reason[:2] == ("limit", "liveness")


def test_over_its_memory_limit_it_is_ended_with_the_figures(rt: dx.Runtime, tmp_path: Path) -> None:
    x = rt.server("x")
    down = rt.monitor("x")
    with pytest.raises(dx.ProcessDownError):
        x.call(["grow", 400, str(tmp_path / "never")], timeout=30)
    notice = down.wait(20)
    assert notice is not None
    assert notice.reason[:2] == ("limit", "memory")
    assert "300 MiB allowed" in notice.reason[2]


def test_max_calls_ends_it_after_that_many_and_loses_none(runtime: Start) -> None:
    rt = runtime(server("x", "Bad", limits={"max_calls": 5}))
    pids = [rt.server("x").call(["pid"], timeout=20) for _ in range(12)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [5, 5, 2]
    last_exit = rt.info("x").last_exit
    assert last_exit is not None
    assert last_exit[:2] == ("limit", "max_calls")


def test_garbage_on_its_pipes_ends_it(rt: dx.Runtime) -> None:
    reason = end_of(rt, ["garbage"])
    assert reason[:2] == ("error", "ProtocolError")


def test_closing_its_pipes_ends_it(rt: dx.Runtime) -> None:
    reason = end_of(rt, ["close_sockets"])
    assert reason == "normal" or reason[:2] == ("error", "ProtocolError")


@pytest.mark.parametrize("request_", [["flood", 30_000], ["flood_c", 30]], ids=["print", "write(2)"])
def test_a_flood_of_output_is_rotated_away(rt: dx.Runtime, request_: list[Any]) -> None:
    rt.server("x").call(request_, timeout=60)
    rt.server("x").call(["pid"], timeout=20)
    logs = Path(rt.state_dir) / "logs"

    def bounded() -> bool:
        files = sorted(logs.glob("x.log*"))
        return len(files) > 1 and sum(file.stat().st_size for file in files) < 60 * 2**20

    wait_until(bounded)
    assert rt.info("x").incarnation == 1


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_its_grandchildren_end_with_it(rt: dx.Runtime, end: str) -> None:
    grandchildren = rt.server("x").call(["fork"], timeout=20)
    assert all(is_alive(pid) for pid in grandchildren)
    rt.kill("x") if end == "kill" else rt.stop("x")
    assert wait_gone(grandchildren) == []


def test_stopping_does_not_depend_on_sigterm(rt: dx.Runtime) -> None:
    rt.server("x").call(["ignore_sigterm"])
    rt.stop("x")
    assert rt.info("x").state == "STOPPED"


def test_a_thread_of_the_users_does_not_keep_it_alive(rt: dx.Runtime) -> None:
    rt.server("x").call(["thread"])
    rt.stop("x")
    assert rt.info("x").last_exit == "shutdown"


def test_a_full_disk_for_logs_loses_output_and_nothing_else(runtime: Start, tmp_path: Path) -> None:
    logs = tmp_path / "state0" / "logs"
    logs.mkdir(parents=True)
    (logs / "x.log").symlink_to("/dev/full")
    rt = runtime(server("x", "Bad"))
    events = rt.events()
    rt.server("x").call(["flood", 10], timeout=20)
    assert next(event for event in events if event["type"] == "log_full")["id"] == "x"
    events.close()
    assert rt.info("x").incarnation == 1


def test_a_crash_storm_is_survived(runtime: Start) -> None:
    rt = runtime(*(server(f"x{n}", "Counter") for n in range(50)), runtime={"spares": 4})
    monitors = [rt.monitor(f"x{n}") for n in range(50)]
    for info in rt.modules():
        assert info.pid is not None
        os.kill(info.pid, signal.SIGKILL)
    assert all(monitor.wait(20) is not None for monitor in monitors)
    rt.wait([f"x{n}" for n in range(50)], timeout=60)
    assert [rt.server(f"x{n}").call(n) for n in range(50)] == list(range(50))
