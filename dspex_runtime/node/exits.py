"""Ends of processes on their way to those that decide on them: what died together is told together.

The zygote reports one death after the other. A child that depends on one that is dead as well, or is just dying, would be started
for nothing: it could not work, and were to be restarted with that again. So its end waits until the other one's is reported, too,
which is a matter of milliseconds. Ends of what depends on nothing wait for nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeAlias

from dspex_runtime.node.dependencies import Dependencies
from dspex_runtime.node.ending import Ending
from dspex_runtime.node.event_loop import EventLoop, Timer
from dspex_runtime.osproc.liveness import is_dying

if TYPE_CHECKING:
    from dspex_runtime.node.module_process import ModuleProcess
    from dspex_runtime.node.supervisor_node import SupervisorNode

__all__ = ["End", "Exits"]

End: TypeAlias = "tuple[SupervisorNode, ModuleProcess, Ending]"

MOST_S: Final = 0.5  # a process that cannot die (its disk hangs) holds nobody up for longer
MOST_LOOKS: Final = 200  # processes looked at for one end


class _Look:
    """What is found at one moment: each process is read once, and what is below a supervisor is gathered once."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies
        self._dying: dict[int, bool] = {}
        self._processes: dict[str, list[ModuleProcess]] = {}

    def dying_around(self, id: str) -> ModuleProcess | None:
        """Return a process that is dying, of what a start of `id` would wait for, or of what is stopped with it."""
        living = (process for each in self._dependencies.around(id) for process in self._of(each) if not process.ended)
        return next((process for process in islice(living, MOST_LOOKS) if self._is_dying(process.pid)), None)

    def _of(self, id: str) -> list[ModuleProcess]:
        if id not in self._processes:
            self._processes[id] = list(self._dependencies.processes_of(id))
        return self._processes[id]

    def _is_dying(self, pid: int | None) -> bool:
        if pid is None:
            return False
        if pid not in self._dying:
            self._dying[pid] = is_dying(pid)
        return self._dying[pid]


class Exits:
    """Of one runtime.

    Args:
        loop: Where ends wait.
        dependencies: Who depends on whom.
        decide: Hands ends of one moment to who decides on them.
    """

    def __init__(self, loop: EventLoop, dependencies: Dependencies, decide: Callable[[Sequence[End]], None]) -> None:
        self._loop = loop
        self._dependencies = dependencies
        self._decide = decide
        self._ends: list[tuple[End, ModuleProcess | None]] = []  #: each with one that was seen dying, whose end is to come first
        self._looking = False
        self._timer: Timer | None = None

    def add(self, end: End) -> None:
        """A process has ended."""
        if not self._dependencies.used:
            self._decide([end])
            return
        self._ends.append((end, None))
        if not self._looking:  # behind what else was reported with it
            self._looking = True
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        self._looking = False
        look = _Look(self._dependencies)
        ready: list[End] = []
        waiting: list[tuple[End, ModuleProcess | None]] = []
        for end, dying in self._ends:
            if dying is None or dying.ended:  # one that was dying is dying still
                dying = look.dying_around(end[1].id)
            if dying is None:
                ready.append(end)
            else:
                waiting.append((end, dying))
        if waiting and self._timer is None:
            self._timer = self._loop.call_later(MOST_S, self._give_up)
        self._go_on(ready, waiting)

    def _give_up(self) -> None:
        self._timer = None
        self._go_on([end for end, _ in self._ends], [])

    def _go_on(self, ready: list[End], waiting: list[tuple[End, ModuleProcess | None]]) -> None:
        self._ends = waiting
        if not waiting and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if ready:
            self._decide(ready)
