"""Start to ready, beside a raw fork and multiprocessing's forkserver, in the same run.

"Start" is from `rt.start(...)` to its return: parent asked, spare taken, target imported and built, ready told, client told.
"From a template": another process of the same spec was started before, so that it is imported and built already.
The forkserver has dspy preloaded and its start includes the first answer of the child, since it has no ready message.
A raw fork is fork + exit + wait of this process, which has dspy imported.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
import time
from multiprocessing.connection import Connection

import dspy

import dspex_runtime as dx
from bench.harness import Report, in_unit, sample, wait_for_templates

N = 100


def raw_fork() -> None:
    """Fork, end and reap a child."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def answer_once(pipe: Connection) -> None:
    """Build a predictor and say so: what a forkserver child does until it is ready."""
    dspy.ChainOfThought("question -> answer")
    pipe.send(True)


def forkserver() -> None:
    """Start a child of the forkserver and wait for its first answer."""
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    process = context.Process(target=answer_once, args=(theirs,))
    process.start()
    ours.recv()
    process.join()


def starts(rt: dx.Runtime, target: str, n: int, *, template: bool = False) -> list[float]:
    """Return seconds per start; each child is stopped again, and spares get time to be refilled, outside the clock."""
    seconds = []
    idle = threading.Event()
    rt.start(target, id="first", template=template)  # waits for the zygote's imports
    if template:
        wait_for_templates(rt, 1)
    rt.delete("first")
    for number in range(n):
        idle.wait(0.05)  # warm: the pool is full again, as between the starts of a running service
        started = time.perf_counter()
        rt.start(target, id=f"m{number}", template=template)
        seconds.append(time.perf_counter() - started)
        rt.delete(f"m{number}")
    return seconds


def main() -> None:
    """Run and report."""
    report = Report("Start to ready, warm")
    multiprocessing.set_forkserver_preload(["dspy", "bench.start"])
    gc.collect()
    raw = report.add(in_unit("raw fork", sample(raw_fork, N), "ms"))
    with dx.Runtime(preload=["dspy"]) as rt:
        report.add(in_unit("GenServer", starts(rt, "bench.servers:Echo", N), "ms"), beside=raw.name)
        report.add(in_unit("module with one predictor", starts(rt, "bench.programs:OnePredictor", N), "ms"), beside=raw.name)
    for label, target in (("GenServer", "bench.servers:Echo"), ("module with one predictor", "bench.programs:OnePredictor")):
        with dx.Runtime(preload=["dspy"]) as rt:
            seconds = starts(rt, target, N, template=True)
            report.add(in_unit(f"{label}, from a template", seconds, "ms"), beside=raw.name)
    report.add(in_unit("forkserver, to first answer", sample(forkserver, 20, warm_up=2), "ms"), beside=raw.name)
    report.show()


if __name__ == "__main__":
    main()
