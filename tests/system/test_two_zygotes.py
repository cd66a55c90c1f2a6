"""Servers come from a zygote without dspy, modules from one with it; either may die, and no module with it."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import dspex_runtime as dx
from helpers.system import DSPY_PROGRAMS, Start, call_again, module, server
from helpers.waiting import wait_gone, wait_until

pytestmark = pytest.mark.process

WITH_DSPY = """
import dspy
import dspex_runtime as dx

class Agent(dx.GenServer):
    def init(self):
        return dspy.ChainOfThought("question -> answer")
    def handle_call(self, request, from_, state):
        return dx.Reply(type(state).__name__, state)
"""
PLAIN = """
import sys
import dspex_runtime as dx

class Looks(dx.GenServer):
    def init(self):
        return None
    def handle_call(self, request, from_, state):
        return dx.Reply(request in sys.modules, state)
"""


def parent_of(pid: int | None) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("PPid"))


def whose(rt: dx.Runtime, id: str) -> str:
    """Return whom the zygote of a child serves."""
    parent = parent_of(rt.info(id).pid)
    return next(name for name, pid in rt.status()["zygote_pids"].items() if pid == parent)


def is_back(rt: dx.Runtime, id: str, instead_of: int) -> bool:
    info = rt.info(id)
    return info.state == "READY" and info.pid != instead_of


@pytest.fixture
def rt(runtime: Start) -> dx.Runtime:
    """A server and a module, and both zygotes ready."""
    return runtime(server("s", "Counter"), module("m", "Echo"))


def test_servers_and_modules_come_from_their_own(rt: dx.Runtime) -> None:
    assert [whose(rt, "s"), whose(rt, "m")] == ["servers", "modules"]


def test_a_server_is_free_of_dspy(runtime: Start, tmp_path: Path) -> None:
    (tmp_path / "looks.py").write_text(PLAIN)
    rt = runtime(module("m", "Echo"), {"id": "s", "server": f"{tmp_path}/looks.py:Looks"})
    assert [rt.server("s").call(name) for name in ("dspy", "pydantic", "numpy")] == [False] * 3


def test_a_server_that_imports_dspy_restarts_where_it_is_imported(runtime: Start, tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(WITH_DSPY)
    rt = runtime(module("m", "Echo"), {"id": "s", "server": f"{tmp_path}/agent.py:Agent", "backoff": "none"})
    assert (rt.server("s").call("?"), whose(rt, "s")) == ("ChainOfThought", "servers")
    rt.kill("s")
    assert (call_again(rt.server("s"), "?"), whose(rt, "s")) == ("ChainOfThought", "modules")


def test_a_server_under_the_word_module_comes_from_the_servers_once_it_is_known(runtime: Start, tmp_path: Path) -> None:
    (tmp_path / "looks.py").write_text(PLAIN)
    rt = runtime(module("m", "Echo"))
    for number, name in enumerate(("modules", "servers", "servers")):
        rt.start(f"{tmp_path}/looks.py:Looks", id=f"s{number}")
        assert whose(rt, f"s{number}") == name


@pytest.mark.parametrize("zygote", ["servers", "modules"])
def test_kill_9_of_either_costs_no_module_and_no_exit_reason(rt: dx.Runtime, zygote: str) -> None:
    before = {id: rt.info(id).pid for id in ("s", "m")}
    pids: dict[str, Any] = rt.status()["zygote_pids"]
    events = rt.events()
    os.kill(pids[zygote], signal.SIGKILL)
    for event in events:
        if event["type"] == "zygote_ready":
            assert event["serves"] == zygote
            break
    events.close()
    after = rt.status()["zygote_pids"]
    (other,) = after.keys() - {zygote}
    assert (after[other], after[zygote] == pids[zygote]) == (pids[other], False)
    assert {id: rt.info(id).pid for id in ("s", "m")} == before
    for id in ("s", "m"):
        down = rt.monitor(id)
        pid = before[id]
        assert pid is not None
        os.kill(pid, signal.SIGSEGV)
        notice = down.wait(10)
        assert notice is not None
        assert notice.reason == ("signal", "SEGV")
        wait_until(partial(is_back, rt, id, pid))
    assert [whose(rt, "s"), whose(rt, "m")] == ["servers", "modules"]


def test_nothing_is_left_when_the_runtime_ends_though_both_had_died(runtime: Start) -> None:
    rt = runtime(server("s", "Bad"), module("m", "Echo"))
    pids = [rt.info("m").pid, *rt.server("s").call(["fork"])]
    for zygote in rt.status()["zygote_pids"].values():
        os.kill(zygote, signal.SIGKILL)
    os.kill(rt.pid, signal.SIGKILL)
    assert wait_gone([pid for pid in pids if pid is not None], timeout_s=5.0) == []


def test_a_preload_that_only_modules_need_and_that_fails_is_told_to_whoever_needs_it(tmp_path: Path) -> None:
    (tmp_path / "broken_preload.py").write_text("import sys\nassert 'dspy' not in sys.modules, 'no dspy with me'\n")
    tree = {"children": [server("s", "Counter")]}
    settings = {"preload": ["dspy", "broken_preload"], "env": {"PYTHONPATH": str(tmp_path)}}
    with dx.Runtime({"version": 1, "name": "half", "runtime": settings, "tree": tree}) as rt:
        assert rt.server("s").call(1) == 1
        with pytest.raises(dx.StartError, match="no dspy with me"):
            rt.start(f"{DSPY_PROGRAMS}:Echo", id="m")
        assert rt.server("s").call(1) == 2
        wait_until(lambda: rt.status()["zygote_pids"]["modules"] is None)
    tree = {"children": [server("s", "Counter"), module("m", "Echo")]}
    with pytest.raises(dx.StartError, match="no dspy with me"):
        dx.Runtime({"version": 1, "name": "none", "runtime": settings, "tree": tree})
