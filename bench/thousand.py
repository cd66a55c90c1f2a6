"""A thousand at once: seconds until all are ready and until all are gone, and the memory that each has of its own.

Twice: as children of one supervisor, which starts them one after the other as OTP does; and each started alone, 32 at a
time, by one asyncio client. Beside: as many raw forks of a process with dspy imported. The clock starts when the zygote
that the children come from has made its imports; the other one may still be at it.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import time
from typing import Any

import dspy  # the raw forks below are of a process that has it

import dspex_runtime as dx
from bench.harness import Figure, Report, private_mb

N = 1000
AT_A_TIME = 32
MB_EACH = 8  # what a module has of its own, and some


def touch_memory(megabytes: int) -> None:
    """Write to as much memory as the children will take, and give it back.

    A virtual machine gets memory from its host at the first touch, 15 us a page where a page that it has costs 3: without
    this whoever is measured first pays for all.
    """
    with mmap.mmap(-1, megabytes << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        for at in range(0, len(memory), mmap.PAGESIZE):
            memory[at] = 1


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


def in_order(label: str, key: str, target: str, report: Report, beside: str, *, template: bool = False) -> None:
    """Bring a tree of N up and down."""
    children: list[dict[str, Any]] = [{"id": f"m{i}", key: target, "template": template} for i in range(N)]
    imported: list[float] = []

    def progress(event: dict[str, Any]) -> None:
        if event["type"] == "zygote_ready" and event["serves"] == f"{key}s":
            imported.append(time.perf_counter())

    config = {"version": 1, "name": f"bench-{key}", "runtime": {"preload": ["dspy"]}, "tree": {"children": children}}
    rt = dx.Runtime(config, on_progress=progress)
    up_s = time.perf_counter() - imported[0]
    infos = rt.modules()
    ready = sum(info.state == "READY" for info in infos)
    private = [private_mb(info.pid) for info in infos if info.pid is not None]
    started = time.perf_counter()
    rt.close()
    report.add(Figure(f"{N} {label} up, in order", "s", (up_s,)), beside=beside)
    report.add(Figure(f"{N} {label} down, in order", "s", (time.perf_counter() - started,)))
    report.add(Figure(f"{label}: private memory of each", "MB", tuple(private)))
    report.note(f"{ready} of {N} {label} were ready at once")


async def alone(target: str) -> float:
    """Return the seconds until N children started alone are ready."""
    async with dx.aio.Runtime(preload=["dspy"]) as rt:
        await rt.start(target, id="first")
        gate = asyncio.Semaphore(AT_A_TIME)

        async def one(number: int) -> None:
            async with gate:
                await rt.start(target, id=f"m{number}")

        started = time.perf_counter()
        await asyncio.gather(*(one(number) for number in range(N)))
        return time.perf_counter() - started


def main() -> None:
    """Run and report."""
    report = Report("A thousand at once")
    touch_memory(N * MB_EACH)
    raw = report.add(Figure(f"{N} raw forks (dspy {dspy.__version__} imported)", "s", (raw_forks(),)))
    for label, key, target in (
        ("GenServers", "server", "bench.servers:Echo"),
        ("modules with one predictor", "module", "bench.programs:OnePredictor"),
    ):
        in_order(label, key, target, report, raw.name)
        in_order(f"{label}, from a template", key, target, report, raw.name, template=True)
        report.add(Figure(f"{N} {label} up, each alone", "s", (asyncio.run(alone(target)),)), beside=raw.name)
    report.show()


if __name__ == "__main__":
    main()
