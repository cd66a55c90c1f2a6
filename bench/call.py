"""Round trip of a call, beside a raw socketpair echo of the same bytes between two processes, in the same run.

Measured: one call in flight, 64 bytes of argument, from the caller's line of code to the value in its hand; and pipelined,
many in flight from one asyncio client. Pinned: both ends on one core; else the two ends on two cores.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time

import dspex_runtime as dx
from bench.harness import Figure, Report, in_unit, sample

N = 5000
PAYLOAD = "x" * 64


def raw_echo(cores: tuple[int, int]) -> list[float]:
    """Return seconds per round trip of 64 bytes through a socketpair, this process on one core, the child on the other."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        os.sched_setaffinity(0, {cores[1]})
        ours.close()
        while data := theirs.recv(65536):
            theirs.send(data)
        os._exit(0)
    theirs.close()
    os.sched_setaffinity(0, {cores[0]})
    data = PAYLOAD.encode()

    def once() -> None:
        ours.send(data)
        ours.recv(65536)

    seconds = sample(once, N)
    ours.close()
    os.waitpid(pid, 0)
    return seconds


def our_call(ref: dx.ServerRef, cores: tuple[int, int]) -> list[float]:
    """Return seconds per call of a GenServer."""
    pid = ref.info().pid
    assert pid is not None
    for task in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(task), {cores[1]})
    os.sched_setaffinity(0, {cores[0]})
    return sample(lambda: ref.call(PAYLOAD), N)


async def pipelined(socket_path: str, calls: int, window: int) -> float:
    """Return calls per second with `window` of them in flight."""
    async with await dx.aio.connect(socket_path) as rt:
        ref = await rt.server("echo")
        gate = asyncio.Semaphore(window)

        async def one() -> None:
            async with gate:
                await ref.call(PAYLOAD)

        await one()
        started = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(calls)))
        return calls / (time.perf_counter() - started)


def main() -> None:
    """Run and report."""
    every = os.sched_getaffinity(0)
    first, last = min(every), max(every)
    report = Report("Call round trip")
    with dx.Runtime() as rt:
        ref = rt.start("bench.servers:Echo", id="echo")
        for label, cores in (("one core", (first, first)), ("two cores", (first, last))):
            raw = report.add(in_unit(f"raw echo, {label}", raw_echo(cores), "us"))
            report.add(in_unit(f"GenServer call, {label}", our_call(ref, cores), "us"), beside=raw.name)
        os.sched_setaffinity(0, every)
        for task in os.listdir(f"/proc/{ref.info().pid}/task"):
            os.sched_setaffinity(int(task), every)
        rates = [asyncio.run(pipelined(rt.socket, 20_000, 64)) / 1000 for _ in range(3)]
        report.add(Figure("pipelined calls, 64 in flight", "k/s", tuple(rates)))
    report.show()


if __name__ == "__main__":
    main()
