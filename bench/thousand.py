"""A thousand at once: seconds until all are ready, seconds until all are gone, memory that each one has of its own.

Children of one supervisor, as a YAML tree would start them: in order, one after the other. Beside: the time that as many
raw forks of a process with dspy imported take.
"""

from __future__ import annotations

import os
import time
from typing import Any

import dspy  # the raw forks below are of a process that has it

import dspex_runtime as dx
from bench.harness import Figure, Report, private_mb

N = 1000


def raw_forks() -> float:
    """Return the seconds that N forks take, all alive at the end."""
    read_fd, write_fd = os.pipe()
    started = time.perf_counter()
    pids = []
    for _ in range(N):
        pid = os.fork()
        if pid == 0:
            os.close(write_fd)
            os.read(read_fd, 1)
            os._exit(0)
        pids.append(pid)
    seconds = time.perf_counter() - started
    os.close(write_fd)
    os.close(read_fd)
    for pid in pids:
        os.waitpid(pid, 0)
    return seconds


def run(label: str, key: str, target: str, report: Report, beside: str) -> None:
    """Bring a tree of N up and down."""
    children: list[dict[str, Any]] = [{"id": f"m{i}", key: target} for i in range(N)]
    started = time.perf_counter()
    rt = dx.Runtime({"version": 1, "name": f"bench-{key}", "runtime": {"preload": ["dspy"]}, "tree": {"children": children}})
    up_s = time.perf_counter() - started
    infos = rt.modules()
    ready = sum(info.state == "READY" for info in infos)
    private = [private_mb(info.pid) for info in infos if info.pid is not None]
    started = time.perf_counter()
    rt.close()
    report.add(Figure(f"{N} {label} up (with the runtime and its imports)", "s", (up_s,)), beside=beside)
    report.add(Figure(f"{N} {label} down", "s", (time.perf_counter() - started,)))
    report.add(Figure(f"{label}: private memory of each", "MB", tuple(private)))
    report.note(f"{ready} of {N} {label} were ready at once")


def main() -> None:
    """Run and report."""
    report = Report("A thousand at once")
    raw = report.add(Figure(f"{N} raw forks (dspy {dspy.__version__} imported)", "s", (raw_forks(),)))
    run("GenServers", "server", "bench.programs:Echo", report, raw.name)
    run("modules with one predictor", "module", "bench.programs:OnePredictor", report, raw.name)
    report.show()


if __name__ == "__main__":
    main()
