"""A composite whose parts compute: as processes on two cores, beside the same composite in threads of one process.

Measured, in one run, all in turns: one request after the other, each of which asks two parts at once; and requests per second of
four callers. The parts hold the GIL for all of their time, so threads of one process take turns, and two cores can at most halve
the time: how near the machine itself comes to that, two forked processes show that compute the same and nothing else. Then what
a hop costs: a call that goes over three modules more, each in a process of its own, beside one that does not, and beside a module
that is called in its own process.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import dspex_runtime as dx
from bench.composites import Composite, Hop, compute
from bench.harness import Figure, Report, in_unit, sample

ROUNDS: Final = 250_000  # some 15 ms for each of the parts
N: Final = 60
CALLERS: Final = 4
BATCH: Final = 24
HOPS: Final = 3
PAYLOAD: Final = "x" * 64


def rate(ask: Callable[[int], Any]) -> float:
    """Return how many requests a second several callers get answered."""
    with ThreadPoolExecutor(CALLERS) as pool:
        started = time.perf_counter()
        list(pool.map(ask, [ROUNDS] * BATCH))
        return BATCH / (time.perf_counter() - started)


def in_turns(n: int, **ways: Callable[[], Any]) -> dict[str, list[float]]:
    """Return the seconds of each of `n` runs of each way, a few of one, then a few of the next: the machine is alike for all."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(0, n, 10):
        for name, way in ways.items():
            seconds[name] += sample(way, 10, warm_up=0 if turn else 3)
    return seconds


def forked() -> None:
    """Compute what two parts do in this process and a child of it."""
    pid = os.fork()
    if pid == 0:
        compute(ROUNDS)
        os._exit(0)
    compute(ROUNDS)
    os.waitpid(pid, 0)


def composites(rt: dx.Runtime, report: Report) -> None:
    """Measure the composite both ways."""
    processes: Any = rt.start("bench.composites:Composite", id="composite", concurrency=CALLERS)
    threads = Composite()
    assert processes(rounds=100).total == threads(rounds=100).total
    seconds = in_turns(N, threads=lambda: threads(rounds=ROUNDS), processes=lambda: processes(rounds=ROUNDS), forked=forked)
    beside = report.add(in_unit("a request, threads of one process", seconds["threads"], "ms"))
    report.add(in_unit("a request, processes", seconds["processes"], "ms"), beside=beside.name)
    report.add(in_unit("two forked processes, nothing else", seconds["forked"], "ms"), beside=beside.name)
    rates = [(rate(lambda n: threads(rounds=n)), rate(lambda n: processes(rounds=n))) for _ in range(5)]
    beside = report.add(Figure(f"{CALLERS} callers, threads of one process", "/s", tuple(one for one, _ in rates)))
    report.add(Figure(f"{CALLERS} callers, processes", "/s", tuple(other for _, other in rates)), beside=beside.name)


def hops(rt: dx.Runtime, report: Report) -> None:
    """Measure what each further module of a row costs."""
    for place in reversed(range(HOPS + 1)):
        rt.start("bench.composites:Hop", None if place == HOPS else f"hop{place + 1}", id=f"hop{place}")
    first, last = rt.module("hop0"), rt.module(f"hop{HOPS}")
    local = Hop()
    within = report.add(in_unit("a module called in its own process", sample(lambda: local(value=PAYLOAD), 1000), "us"))
    far: list[float] = []
    near: list[float] = []
    for turn in range(20):
        far += sample(lambda: first(value=PAYLOAD), 100, warm_up=0 if turn else 50)
        near += sample(lambda: last(value=PAYLOAD), 100, warm_up=0 if turn else 50)
    report.add(in_unit("a call of one module", near, "us"), beside=within.name)
    report.add(in_unit(f"a call over {HOPS} modules more", far, "us"), beside="a call of one module")
    each = [(one - other) / HOPS for one, other in zip(sorted(far), sorted(near), strict=True)]
    report.add(in_unit("each of these hops", each, "us"), beside="a call of one module")


def main() -> None:
    """Run and report."""
    report = Report("A composite as processes beside threads")
    with dx.Runtime() as rt:
        composites(rt, report)
        hops(rt, report)
    report.show()


if __name__ == "__main__":
    main()
