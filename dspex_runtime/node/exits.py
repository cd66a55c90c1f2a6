"""Ends of processes on their way to those that decide on them: what died together is told together.

The zygote reports one death after the other. A child that depends on one that is dead as well, or is just dying, would be started
for nothing: it could not work, and were to be restarted with that again. So its end waits until the other one's is reported, too,
which is a matter of milliseconds. Ends of what depends on nothing wait for nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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
        self._ends: list[End] = []
        self._looking = False
        self._timer: Timer | None = None

    def add(self, end: End) -> None:
        """A process has ended."""
        if not self._dependencies.used:
            self._decide([end])
            return
        self._ends.append(end)
        if not self._looking:  # behind what else was reported with it
            self._looking = True
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        self._looking = False
        waiting = [end for end in self._ends if self._is_about_to_be_told_more(end)]
        if waiting and self._timer is None:
            self._timer = self._loop.call_later(MOST_S, self._give_up)
        self._go_on(waiting)

    def _give_up(self) -> None:
        self._timer = None
        self._go_on([])

    def _go_on(self, waiting: list[End]) -> None:
        ends, self._ends = [end for end in self._ends if end not in waiting], waiting
        if not waiting and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if ends:
            self._decide(ends)

    def _is_about_to_be_told_more(self, end: End) -> bool:
        _, process, _ = end
        return any(other.pid is not None and is_dying(other.pid) for other in self._related(process.id))

    def _related(self, id: str) -> Iterable[ModuleProcess]:
        found = self._dependencies.processes_around(id)
        return (process for process, _ in zip(found, range(MOST_LOOKS), strict=False) if not process.ended)
