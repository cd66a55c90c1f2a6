"""Supervision with real processes: starts, stops, restarts, escalation, and what is shown of it."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

import dspex_runtime as dx
from helpers.system import PROGRAMS, Start, call_again, server
from helpers.waiting import wait_until

pytestmark = pytest.mark.process


def test_a_tree_starts_in_order_and_stops_in_reverse(runtime: Start, tmp_path: Path) -> None:
    journal = tmp_path / "journal"

    def noted(id: str) -> dict[str, Any]:
        return server(id, "Counter", args={"journal": str(journal), "name": id})

    group = {"id": "group", "supervisor": {"strategy": "rest_for_one", "children": [noted("b"), noted("c")]}}
    rt = runtime(noted("a"), group, noted("d"))
    rt.close()
    assert journal.read_text().split("\n")[:-1] == [
        "start a", "start b", "start c", "start d", "stop d", "stop c", "stop b", "stop a",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("strategy", "restarted"),
    [("one_for_one", {"b"}), ("rest_for_one", {"b", "c"}), ("one_for_all", {"a", "b", "c"})],
)
def test_a_strategy_restarts_whom_it_should(runtime: Start, strategy: str, restarted: set[str]) -> None:
    rt = runtime(*(server(id, "Counter") for id in "abc"), tree={"strategy": strategy})
    before = {info.id: info.pid for info in rt.modules()}
    down = rt.monitor("b")
    rt.kill("b")
    assert down.wait(10) == dx.Down("b", 1, "killed")
    rt.wait(["a", "b", "c"], timeout=10)
    after = {info.id: info.pid for info in rt.modules()}
    assert {id for id in before if before[id] != after[id]} == restarted


@pytest.mark.parametrize(
    ("restart", "how", "state"),
    [
        ("permanent", "stop", "READY"),
        ("permanent", "kill", "READY"),
        ("transient", "stop", "EXITED"),
        ("transient", "kill", "READY"),
        ("temporary", "stop", None),
        ("temporary", "kill", None),
    ],
)
def test_restart_types(runtime: Start, restart: str, how: str, state: str | None) -> None:
    rt = runtime(server("x", "Counter", restart=restart))
    down = rt.monitor("x")
    if how == "kill":
        rt.kill("x")
    else:
        assert rt.server("x").call("stop") == "stopping"
    notice = down.wait(10)
    assert notice is not None
    assert notice.reason == ("killed" if how == "kill" else "normal")
    if state is None:
        with pytest.raises(dx.NoProcessError, match="no such id"):
            rt.info("x")
    elif state == "READY":
        rt.wait(["x"], timeout=10)
        assert rt.info("x").incarnation == 2
    else:
        assert rt.info("x").state == state


def test_a_supervisor_that_restarts_too_often_gives_up_and_start_brings_it_back(runtime: Start) -> None:
    group = {
        "id": "g",
        "restart": "temporary",
        "supervisor": {"max_restarts": 2, "max_seconds": 60, "children": [server("x", "Counter")]},
    }
    rt = runtime({**group, "restart": "transient"}, server("y", "Counter"))
    for incarnation in (1, 2, 3):
        rt.wait(["g/x"], timeout=10)
        down = rt.monitor("g/x")
        rt.kill("g/x")
        notice = down.wait(10)
        assert notice == dx.Down("g/x", incarnation, "killed")
    rt.wait(["g/x"], state="failed", timeout=10)
    assert rt.info("g").state == "FAILED"
    with pytest.raises(dx.NoProcessError, match="its supervisor gave up"):
        rt.server("g/x").call(1)
    assert rt.server("y").call(1) == 1
    rt.start("g/x")
    assert rt.server("g/x").call(1) == 1


def test_a_root_that_gave_up_stays_visible_and_can_be_started(runtime: Start) -> None:
    rt = runtime(server("x", "Counter"), tree={"max_restarts": 0})
    rt.kill("x")
    rt.wait(["x"], state="failed", timeout=10)
    assert rt.tree()["state"] == "FAILED"
    rt.start("x")
    assert rt.server("x").call(5) == 5
    assert rt.tree()["state"] == "READY"


def test_a_child_started_alone_has_its_own_budget(runtime: Start) -> None:
    rt = runtime(server("x", "Counter"), tree={"max_restarts": 0})
    rt.start(f"{PROGRAMS}:Counter", id="alone", backoff="none")
    for expected in ("ready", "ready", "ready", "failed"):
        down = rt.monitor("alone")
        rt.kill("alone")
        assert down.wait(10) is not None
        rt.wait(["alone"], state=expected, timeout=10)
    assert rt.info("alone").state == "FAILED"
    assert rt.server("x").call(1) == 1


def test_stop_then_start_keeps_the_id_and_not_the_process(runtime: Start) -> None:
    rt = runtime(server("x", "Counter"))
    first = rt.info("x").pid
    rt.stop("x")
    info = rt.info("x")
    assert (info.state, info.pid, info.last_exit) == ("STOPPED", None, "shutdown")
    with pytest.raises(dx.NoProcessError, match="was stopped"):
        rt.server("x").call(1)
    rt.start("x")
    assert rt.info("x").pid not in (first, None)
    assert rt.server("x").call(1) == 1


def test_restart_is_not_a_crash(runtime: Start) -> None:
    rt = runtime(server("x", "Counter"), tree={"max_restarts": 0})
    for _ in range(3):
        rt.restart("x")
    assert rt.server("x").call(1) == 1
    assert rt.info("x").last_exit == "shutdown"


def test_delete_forgets(runtime: Start) -> None:
    rt = runtime(server("x", "Counter"))
    rt.delete("x")
    with pytest.raises(dx.NoProcessError):
        rt.info("x")


def test_back_off_is_shown_and_calls_wait_it_out(runtime: Start, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    rt = runtime(
        server("x", "StartsWhenAllowed", args={"path": str(flag)}, backoff={"initial": "200ms", "max": "200ms", "jitter": 0})
    )
    flag.unlink()
    rt.kill("x")
    rt.wait(["x"], state="backoff", timeout=10)
    flag.touch()
    assert rt.server("x").call("?", timeout=20) == "up"


def test_a_start_that_hangs_ends_at_its_start_timeout(runtime: Start) -> None:
    rt = runtime()
    with pytest.raises(dx.StartError) as caught:
        rt.start_child("root", server("x", "NeverStarts", start_timeout="300ms"))
    assert caught.value.reason is not None
    assert caught.value.reason[:2] == ("limit", "start_timeout")
    with pytest.raises(dx.NoProcessError):
        rt.info("x")


def test_a_failed_start_carries_the_childs_own_traceback(runtime: Start) -> None:
    rt = runtime()
    with pytest.raises(dx.StartError, match="the index is missing") as caught:
        rt.start(f"{PROGRAMS}:RaisesInInit", id="x")
    assert 'raise RuntimeError("the index is missing")' in str(caught.value)


def test_a_tree_that_fails_to_boot_leaves_nothing_and_says_who_and_why(runtime: Start, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    good = server("good", "Counter", args={"journal": str(journal), "name": "good"})
    with pytest.raises(dx.StartError, match="'bad' did not start") as caught:
        runtime(good, server("bad", "RaisesInInit"))
    assert "the index is missing" in str(caught.value)
    assert journal.read_text().split() == ["start", "good", "stop", "good"]


def test_a_child_that_ignores_is_no_error(runtime: Start) -> None:
    rt = runtime(server("x", "Ignores"), server("y", "Counter"))
    assert rt.server("y").call(1) == 1
    assert rt.start_child("root", server("z", "Ignores")) == "undefined"
    assert {id: pid for id, pid, _ in rt.which_children("root")}["x"] == "undefined"


def test_stop_kills_what_does_not_end_in_time(runtime: Start) -> None:
    rt = runtime(server("x", "StubbornTerminate", shutdown={"drain": "100ms", "timeout": "300ms"}))
    rt.stop("x")
    assert rt.info("x").last_exit == "killed"


@pytest.mark.parametrize("name", ["shutdown", "brutal_kill"])
def test_brutal_kill_runs_no_terminate(runtime: Start, tmp_path: Path, name: str) -> None:
    journal = tmp_path / "journal"
    shutdown = {"shutdown": "brutal_kill"} if name == "brutal_kill" else {}
    rt = runtime(server("x", "Counter", args={"journal": str(journal), "name": "x"}, **shutdown))
    rt.stop("x")
    assert ("stop x" in journal.read_text()) is (name == "shutdown")


def test_supervisor_answers_are_otps(runtime: Start) -> None:
    rt = runtime(server("a", "Counter"), server("b", "Counter"))
    assert [(id, kind) for id, _, kind in rt.which_children("root")] == [("b", "worker"), ("a", "worker")]
    assert rt.count_children("root") == {"specs": 2, "active": 2, "supervisors": 0, "workers": 2}
    with pytest.raises(dx.SupervisorError) as caught:
        rt.start_child("root", server("a", "Counter"))
    assert caught.value.code == "already_started"
    with pytest.raises(dx.SupervisorError) as caught:
        rt.delete_child("root", "a")
    assert caught.value.code == "running"
    rt.terminate_child("root", "a")
    with pytest.raises(dx.SupervisorError) as caught:
        rt.start_child("root", server("a", "Counter"))
    assert caught.value.code == "already_present"
    rt.restart_child("root", "a")
    rt.terminate_child("root", "a")
    rt.delete_child("root", "a")
    with pytest.raises(dx.SupervisorError) as caught:
        rt.restart_child("root", "a")
    assert caught.value.code == "not_found"
    assert rt.get_childspec("root", "b")["restart"] == "permanent"


def test_supervisors_can_be_started_monitored_and_stopped(runtime: Start) -> None:
    rt = runtime()
    rt.start_supervisor("g", strategy="one_for_all")
    rt.start_child("g", server("x", "Counter"))
    down = rt.monitor("g")
    rt.stop("g")
    notice = down.wait(10)
    assert notice is not None
    assert (notice.id, notice.reason) == ("g", "shutdown")


def test_monitoring_what_is_gone_is_noproc(runtime: Start) -> None:
    rt = runtime(server("x", "Counter"))
    rt.stop("x")
    notice = rt.monitor("x").wait(10)
    assert notice is not None
    assert notice.reason == "noproc"


def test_modules_outlive_the_zygote_with_exact_exit_reasons(runtime: Start) -> None:
    rt = runtime(server("x", "Bad", restart="temporary"), server("y", "Counter"))
    pid = rt.server("x").call(["pid"])
    zygote = next(int(line.split()[1]) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("PPid"))
    events = rt.events()
    down = rt.monitor("x")
    os.kill(zygote, signal.SIGKILL)
    for event in events:
        if event["type"] == "zygote_ready":
            break
    events.close()
    assert rt.server("x").call(["pid"]) == pid
    with pytest.raises(dx.ProcessDownError):
        rt.server("x").call(["exit", 3])
    notice = down.wait(10)
    assert notice is not None
    assert notice.reason == ("exit_status", 3)
    rt.kill("y")
    assert call_again(rt.server("y"), 1) == 1


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (["exit", 0], "normal"),
        (["exit", 7], ("exit_status", 7)),
        (["sys_exit", 7], ("exit_status", 7)),
        (["sys_exit", 0], "normal"),
        (["segfault"], ("signal", "SEGV")),
    ],
)
def test_exit_reasons_are_exact(runtime: Start, request_: list[Any], reason: Any) -> None:
    rt = runtime(server("x", "Bad", restart="temporary"))
    down = rt.monitor("x")
    with pytest.raises(dx.ProcessDownError) as caught:
        rt.server("x").call(request_)
    assert caught.value.reason == reason
    notice = down.wait(10)
    assert notice is not None
    assert notice.reason == reason


def test_a_server_that_raises_ends_with_the_error_as_its_reason(runtime: Start) -> None:
    rt = runtime(server("x", "Counter"))
    with pytest.raises(dx.ProcessDownError, match="asked to crash") as caught:
        rt.server("x").call("crash")
    assert caught.value.reason[:3] == ("error", "ValueError", "asked to crash")
    assert rt.server("x").call(1) == 1


def test_sys_functions_wait_for_the_next_incarnation_as_calls_do(runtime: Start) -> None:
    rt = runtime(server("x", "Counter", args={"start": 7}))
    x = rt.server("x")
    for _ in range(5):
        rt.kill("x")
        assert x.get_state(timeout=20) == 7
    rt.stop("x")
    with pytest.raises(dx.NoProcessError):
        x.get_state()


def test_a_stopped_module_outlives_the_zygote_too(runtime: Start) -> None:
    rt = runtime(server("x", "Bad", restart="temporary"))
    pid = rt.server("x").call(["pid"])
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: _state(pid) == "T")
    zygote = rt.status()["zygote_pid"]
    os.kill(zygote, signal.SIGKILL)
    wait_until(lambda: rt.status()["zygote_pid"] not in (zygote, None))
    assert rt.server("x").call(["pid"], timeout=20) == pid  # the kernel woke it, and no more
    assert rt.info("x").incarnation == 1


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


def test_1_8_a_child_that_terminates_its_own_ancestor_waits_for_its_own_shutdown_time(runtime: Start) -> None:
    class Ungrateful(dx.GenServer):
        def init(self) -> None:
            return None

        def handle_call(self, request: Any, from_: Any, state: None) -> Any:
            with dx.connect() as own:
                own.terminate_child("root", "g")
            raise AssertionError("it lived on")

    rt = runtime({"id": "g", "supervisor": {}})
    rt.start(Ungrateful, id="x", supervisor="g", shutdown="300ms")
    with pytest.raises(dx.ProcessDownError) as caught:
        rt.server("x").call("go", timeout=20)
    assert caught.value.reason == "killed"
    rt.wait("g", state="stopped", timeout=20)
