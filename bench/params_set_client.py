"""A set by a client, acknowledged, per durability: from the line of code to its return, beside plain round trips of the same run.

Beside it stand a bare round trip over a socketpair between two processes, and the round trip of a call of the same server: what the
pipe alone costs here. Pinned: both ends on one core; else the two ends on two cores. What the owner itself costs: `params_set`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

import dspex_runtime as dx
from bench.call import raw_echo
from bench.harness import Report, in_unit, sample
from dspex_runtime.types import Durability

N: Final = 5000
N_SYNCED: Final = 300  # each waits for the disk


def pin(pid: int, cores: set[int]) -> None:
    """Have all threads of a process run on these cores."""
    for task in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(task), cores)


def setting(ref: dx.ServerRef, name: str) -> Callable[[], object]:
    """Return what sets a parameter to another value each time."""
    values = iter(range(10**9))
    params: Any = ref.params
    return lambda: params.set(name, next(values) % 20 / 10)


def main() -> None:
    """Run and report."""
    every = os.sched_getaffinity(0)
    first, last = min(every), max(every)
    report = Report("Parameter set by a client")
    with dx.Runtime() as rt:
        ref = rt.start("bench.stateful:Levels", id="levels")
        pid = ref.info().pid
        assert pid is not None
        for label, cores in (("one core", (first, first)), ("two cores", (first, last))):
            pin(pid, {cores[1]})
            os.sched_setaffinity(0, {cores[0]})
            raw = report.add(in_unit(f"raw echo, {label}", raw_echo(cores), "us"))
            call = report.add(in_unit(f"call, {label}", sample(lambda: ref.call(0.5), N), "us"), beside=raw.name)
            for durability in Durability:
                n = N_SYNCED if durability is Durability.FSYNC else N
                report.add(
                    in_unit(f"set, {durability}, {label}", sample(setting(ref, durability.value), n), "us"), beside=call.name
                )
        os.sched_setaffinity(0, every)
        pin(pid, every)
    report.show()


if __name__ == "__main__":
    main()
