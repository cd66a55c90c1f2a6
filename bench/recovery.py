"""SIGKILL to serving again: from the kill to the answer of a call that was made right after it, in one client.

Beside: a raw fork and the first answer of its child over a socketpair, which is what no supervisor could be faster than.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable

import dspex_runtime as dx
from bench.harness import Report, in_unit, sample, wait_for_templates

N = 60


def raw_fork_and_answer() -> None:
    """Fork a child and read its first byte."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        theirs.send(b"x")
        os._exit(0)
    theirs.close()
    ours.recv(1)
    ours.close()
    os.waitpid(pid, 0)


def recoveries(rt: dx.Runtime, id: str, call: Callable[[], object]) -> list[float]:
    """Return seconds from kill to answer; between kills the pool refills and the restart counter stays low."""
    idle = threading.Event()
    seconds = []
    call()
    for _ in range(N):
        idle.wait(0.1)
        pid = rt.info(id).pid
        assert pid is not None
        started = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        while True:
            try:
                call()
            except dx.ProcessDownError:
                continue  # it was read before the kill took effect
            if rt.info(id).pid != pid:
                break
        seconds.append(time.perf_counter() - started)
    return seconds


def main() -> None:
    """Run and report."""
    report = Report("SIGKILL to serving again")
    raw = report.add(in_unit("raw fork and first byte", sample(raw_fork_and_answer, 200), "ms"))
    child = {"restart": "permanent", "backoff": "none"}
    tree = {
        "max_restarts": 100_000,
        "max_seconds": 1,
        "children": [
            {"id": "echo", "server": "bench.servers:Echo", **child},
            {"id": "module", "module": "bench.programs:OnePredictor", **child},
            {"id": "built-echo", "server": "bench.servers:Echo", "template": True, **child},
            {"id": "built-module", "module": "bench.programs:OnePredictor", "template": True, **child},
        ],
    }
    with dx.Runtime({"version": 1, "name": "bench-recovery", "tree": tree}) as rt:
        echo, module = rt.server("echo"), rt.ref("module")
        report.add(in_unit("GenServer", recoveries(rt, "echo", lambda: echo.call("x", timeout=10)), "ms"), beside=raw.name)
        report.add(
            in_unit("module with one predictor", recoveries(rt, "module", lambda: module.call("echo", "x")), "ms"), beside=raw.name
        )
        wait_for_templates(rt, 2)
        echo, module = rt.server("built-echo"), rt.ref("built-module")
        seconds = recoveries(rt, "built-echo", lambda: echo.call("x", timeout=10))
        report.add(in_unit("GenServer, from a template", seconds, "ms"), beside=raw.name)
        seconds = recoveries(rt, "built-module", lambda: module.call("echo", "x"))
        report.add(in_unit("module with one predictor, from a template", seconds, "ms"), beside=raw.name)
    report.show()


if __name__ == "__main__":
    main()
