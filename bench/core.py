"""What a supervisor's decisions cost: one event of a machine with 100 children beside one with 100 000.

The pure core alone, without processes: a child becomes ready, dies or ends as soon as the machine asked for it. Time includes
making the events. Five courses, each about every child it is about, in random order: start, death and restart, terminate_child,
ends for good (significant, under all_significant, in the static machine), and the shutdown of the rest. A sweep of one_for_all or
rest_for_one is about all children by nature, and is not here.
"""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from typing import Final

from bench.harness import Report, in_unit
from dspex_runtime.core import events as ev
from dspex_runtime.core import instructions as do
from dspex_runtime.core.child_spec import ChildSpec, SupervisorSpec
from dspex_runtime.core.machine import Machine
from dspex_runtime.core.machine_kinds import machine_for
from dspex_runtime.core.operation import Phase
from dspex_runtime.types import AutoShutdown, ChildId, Incarnation, Kind, RestartType

ROUNDS: Final = {100: 60, 1_000: 12, 10_000: 4, 100_000: 3}
TICK_S: Final = 0.001  # between two events: most restarts have left the window before the next one
Costs = dict[str, tuple[float, int]]


class Course:
    """One machine and a world that answers it at once; adds up seconds and events by what they were for."""

    def __init__(self, size: int, *, dynamic: bool) -> None:
        self.costs: Costs = {}
        self._now = 0.0
        self._requests = 0
        self._incarnations: defaultdict[ChildId, int] = defaultdict(int)
        self._specs = [
            ChildSpec(ChildId(f"c{n}"), Kind.SERVER, RestartType.TRANSIENT, significant=not dynamic) for n in range(size)
        ]
        spec = SupervisorSpec(
            max_restarts=size,
            children=() if dynamic else tuple(self._specs),
            auto_shutdown=AutoShutdown.NEVER if dynamic else AutoShutdown.ALL_SIGNIFICANT,
            dynamic=dynamic,
        )
        self._machine: Machine = machine_for(spec, next_incarnation=self._next, random=random.random)

    def run(self) -> Costs:
        """Take every child through its life."""
        ids = [spec.id for spec in self._specs]
        random.Random(0).shuffle(ids)
        third = len(ids) // 3
        self._measure("start", self._start())
        self._measure("death and restart", (self._death(id, "killed") for id in ids))
        self._measure("terminate_child", (ev.TerminateChildAsked(self._request(), id) for id in ids[:third]))
        self._measure("end for good", (self._death(id, "normal") for id in ids[third : 2 * third]))
        self._measure("shutdown of the rest", iter([ev.ShutdownRequested()]))
        assert self._machine.phase is Phase.DONE
        return self.costs

    def _start(self) -> Iterator[ev.Event]:
        yield ev.Boot()
        if self._machine.spec.dynamic:
            yield from (ev.StartChildAsked(self._request(), spec) for spec in self._specs)

    def _death(self, id: ChildId, reason: str) -> ev.Event:
        return ev.ChildExited(id, Incarnation(self._incarnations[id]), reason)

    def _measure(self, name: str, events: Iterator[ev.Event]) -> None:
        count = 0
        gc.collect()
        started = time.perf_counter()
        for event in events:
            count += self._deliver(event)
        self.costs[name] = (time.perf_counter() - started, count)

    def _deliver(self, event: ev.Event) -> int:
        """Hand over an event and all that comes of it; return how many events that were."""
        waiting, count = deque([event]), 0
        while waiting:
            self._now += TICK_S
            count += 1
            for instruction in self._machine.handle(waiting.popleft(), self._now):
                match instruction:
                    case do.StartChild(spec, incarnation):
                        waiting.append(ev.ChildReady(spec.id, incarnation, 1))
                    case do.StopChild(child_id, incarnation):
                        waiting.append(ev.ChildExited(child_id, incarnation, "shutdown"))
        return count

    def _next(self, child_id: ChildId) -> Incarnation:
        self._incarnations[child_id] += 1
        return Incarnation(self._incarnations[child_id])

    def _request(self) -> int:
        self._requests += 1
        return self._requests


def main() -> None:
    """Run and report."""
    report = Report("supervisor core: one event")
    for kind in ("static", "dynamic"):
        courses: dict[str, dict[int, list[float]]] = {}
        for size, rounds in ROUNDS.items():
            costs = [Course(size, dynamic=kind == "dynamic").run() for _ in range(rounds)]
            whole = [sum(s for s, _ in cost.values()) / sum(n for _, n in cost.values()) for cost in costs]
            beside = None if size == min(ROUNDS) else f"{kind}, {min(ROUNDS)} children"
            report.add(in_unit(f"{kind}, {size} children", whole, "us"), beside)
            for name in costs[0]:
                courses.setdefault(name, {})[size] = [cost[name][0] / cost[name][1] for cost in costs]
        for name, sizes in courses.items():
            few, many = (statistics.median(sizes[size]) * 1e6 for size in (min(sizes), max(sizes)))
            report.note(f"{kind}, {name}: {few:.1f} us with {min(sizes)}, {many:.1f} us with {max(sizes)}, {many / few:.2f}x")
    report.show()


if __name__ == "__main__":
    main()
