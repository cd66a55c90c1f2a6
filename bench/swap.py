"""What a swap adds to the calls of somebody who calls all the time: the longest call while one swap is made.

One caller in a process of its own, one call after the other; 1 MB of state, and once 1 KB. Measured: of each swap the longest of
the calls that overlap it, beside the longest in some time without one; and how many failed. Beside it `rt.restart`, and a stop of
the old version before the new one is started. The pause is what the runtime says that callers waited beyond the drain; the
rehearsal, which nobody waits for, stands apart.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import dspex_runtime as dx
from bench.harness import Report, in_unit
from bench.swapped import STATE_BYTES

N = 100
GAP_S = 0.05  # between two of them
Window = tuple[int, int]  # nanoseconds of the monotonic clock


class Calls:
    """Every call of the load: when it began, when it was over, whether it failed."""

    def __init__(self, data: bytes) -> None:
        times = array("q", data)
        self._all = [(began, abs(end), end < 0) for began, end in zip(times[::2], times[1::2], strict=True)]

    def seconds(self, windows: list[Window]) -> list[float]:
        """Return how long each call took that was over before the first window."""
        first = windows[0][0]
        return [(end - began) / 1e9 for began, end, _ in self._all if end < first]

    def longest(self, windows: list[Window]) -> list[float]:
        """Return, of each window, how long it took at most until somebody who called within it was answered.

        A failed call is made again at once: from the first that failed to the answer of the last is one wait.
        """
        waits: list[tuple[int, int]] = []
        since: int | None = None
        for began, end, failed in self._all:
            since = began if since is None else since
            if not failed:
                waits.append((since, end))
                since = None
        found, place = [], 0
        for begin, end in windows:
            while waits[place][1] < begin:
                place += 1
            over = place
            longest = 0
            while over < len(waits) and waits[over][0] < end:
                longest = max(longest, waits[over][1] - waits[over][0])
                over += 1
            found.append(longest / 1e9)
        return found

    @property
    def failed(self) -> int:
        """How many failed."""
        return sum(failed for _, _, failed in self._all)


@contextmanager
def load(rt: dx.Runtime, id: str) -> Iterator[list[Calls]]:
    """Have somebody call all the time; the list has the calls when the block is left."""
    found: list[Calls] = []
    with tempfile.NamedTemporaryFile() as file:
        command = [sys.executable, "-m", "bench.swap_load", rt.status()["socket"], id, file.name]
        caller = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert caller.stdin is not None
        assert caller.stdout is not None
        caller.stdout.readline()
        threading.Event().wait(0.5)  # without anything
        try:
            yield found
        finally:
            caller.stdin.close()
            caller.wait()
            caller.stdout.close()
        found.append(Calls(Path(file.name).read_bytes()))


def repeated(operation: Callable[[], object]) -> list[Window]:
    """Do something N times; return when each was begun and over."""
    idle, windows = threading.Event(), []
    for _ in range(N):
        began = time.monotonic_ns()
        operation()
        windows.append((began, time.monotonic_ns()))
        idle.wait(GAP_S)
    return windows


def between(windows: list[Window]) -> list[Window]:
    """Return as much time without anything: of each gap between two windows its end."""
    found = []
    for (_, end), (begin, _) in pairwise(windows):
        width = (begin - end) // 2
        found.append((begin - width, begin - 1))
    return found


@contextmanager
def resized(rt: dx.Runtime, id: str, size: int) -> Iterator[None]:
    """Have it have a state of another size."""
    for n in (size, STATE_BYTES):
        rt.swap(id, args=[n], migrate="bench.swapped:resized", extra=n)
        if n == size:
            yield


def measure(rt: dx.Runtime, id: str, what: str, report: Report) -> None:
    """Swap, restart, and stop and start one of them under load."""
    results: list[dx.SwapResult] = []
    with load(rt, id) as calls:
        swaps = repeated(lambda: results.append(rt.swap(id)))
    [swapping] = calls
    report.add(in_unit(f"{what}: a call, without swaps", swapping.seconds(swaps), "ms"))
    calm = report.add(in_unit(f"{what}: longest call in {GAP_S / 2 * 1000:g} ms without", swapping.longest(between(swaps)), "ms"))
    swap = report.add(in_unit(f"{what}: longest call, swap", swapping.longest(swaps), "ms"), beside=calm.name)
    pause = report.add(in_unit(f"{what}: of it the pause beyond the drain", [result.pause_s for result in results], "ms"))
    report.note(f"{what}: longest call of all, in {N} swaps: {max(swap.samples):.1f} ms; pause: {max(pause.samples):.1f} ms")
    report.add(in_unit(f"{what}: rehearsal, apart", [result.rehearsal_s for result in results], "ms"))
    failed = {"swap": swapping.failed}

    small = f"{what} with 1 KB"
    with resized(rt, id, 1024):
        results.clear()
        with load(rt, id) as calls:
            windows = repeated(lambda: results.append(rt.swap(id)))
        report.add(in_unit(f"{small}: longest call, swap", calls[0].longest(windows), "ms"), beside=swap.name)
        report.add(in_unit(f"{small}: of it the pause beyond the drain", [result.pause_s for result in results], "ms"))
        failed["swap"] += calls[0].failed

    def stop_and_start() -> None:
        rt.stop(id)
        rt.start(id)

    for name, operation in (("restart", lambda: rt.restart(id)), ("stop, then start", stop_and_start)):
        with load(rt, id) as calls:
            windows = repeated(operation)
        report.add(in_unit(f"{what}: longest call, {name}", calls[0].longest(windows), "ms"), beside=swap.name)
        failed[name] = calls[0].failed
    counts = ", ".join(f"{name} {count}" for name, count in failed.items())
    report.note(f"{what}: failed calls in {N} restarts, as many stops and starts, and twice as many swaps: {counts}")


def main() -> None:
    """Run and report."""
    report = Report("Hot swap under load")
    child = {"restart": "permanent", "backoff": "none"}
    tree = {
        "max_restarts": 100_000,
        "max_seconds": 1,
        "children": [
            {"id": "server", "server": "bench.swapped:Holder", **child},
            {"id": "module", "module": "bench.swapped:Program", **child},
        ],
    }
    with dx.Runtime({"version": 1, "name": "bench-swap", "tree": tree}) as rt:
        for id, what in (("server", "GenServer"), ("module", "module")):
            measure(rt, id, what, report)
    report.show()


if __name__ == "__main__":
    main()
