"""However the runtime or its owner ends, nothing that it started stays alive."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.system import PROGRAMS
from helpers.waiting import wait_gone

pytestmark = pytest.mark.process

OWNER = """
import os, sys, threading
import dspex_runtime as dx
bad = {"server": sys.argv[1] + ":Bad", "liveness": None, "shutdown": {"drain": "100ms", "timeout": "200ms"}}
tree = {"children": [{"id": "a", **bad}, {"id": "b", **bad}]}
rt = dx.Runtime({"version": 1, "name": "owned", "runtime": {"spares": 1}, "tree": tree})
pids = [rt.pid, rt.status()["zygote_pid"], rt.info("a").pid, rt.info("b").pid, *rt.server("a").call(["fork"])]
rt.server("b").call(["pid"])
try:
    rt.server("b").call(["burn", sys.argv[3]], timeout=1.0)
except dx.CallTimeoutError:
    assert os.path.exists(sys.argv[3] + ".begun")
print(*pids, flush=True)
if sys.argv[2] == "raise":
    raise ValueError("the owner's own error")
if sys.argv[2] == "wait":
    threading.Event().wait()
"""


def start_owner(how: str, folder: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """Start a program that owns a runtime: one module has grandchildren, one is stuck in C code for ever."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(PROGRAMS), how, str(folder / "burn")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert owner.stdout is not None
    return owner, [int(pid) for pid in owner.stdout.readline().split()]


@pytest.mark.parametrize("zygote_first", [False, True], ids=["with zygote", "zygote dead"])
def test_kill_9_of_the_runtime_ends_everything(zygote_first: bool, tmp_path: Path) -> None:
    owner, pids = start_owner("wait", tmp_path)
    assert len(pids) == 7
    if zygote_first:
        os.kill(pids[1], signal.SIGKILL)
    os.kill(pids[0], signal.SIGKILL)
    assert wait_gone(pids, timeout_s=5.0) == []
    owner.kill()
    owner.communicate()


@pytest.mark.parametrize("how", ["return", "raise", "wait"])
def test_however_the_owner_ends_its_tree_ends(how: str, tmp_path: Path) -> None:
    owner, pids = start_owner(how, tmp_path)
    assert len(pids) == 7
    if how == "wait":
        owner.kill()
    owner.communicate()
    assert wait_gone(pids) == []
    assert list((tmp_path / "run").glob("*.sock")) == []
