"""The living processes that are no child's: new versions in rehearsal, old ones that are leaving. The runtime ends after them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dspex_runtime.node.module_process import ModuleProcess

__all__ = ["Beside"]


class Beside:
    """See the module docstring. Ends none of them."""

    def __init__(self) -> None:
        self._processes: dict[ModuleProcess, None] = {}
        self._waiting: list[Callable[[], None]] = []

    def __iter__(self) -> Iterator[ModuleProcess]:
        return iter(list(self._processes))

    def __len__(self) -> int:
        return len(self._processes)

    def add(self, process: ModuleProcess) -> None:
        """A process is no child's."""
        self._processes[process] = None

    def remove(self, process: ModuleProcess) -> None:
        """A process has become a child's, or has ended."""
        self._processes.pop(process, None)
        if not self._processes:
            waiting, self._waiting = self._waiting, []
            for done in waiting:
                done()

    def when_gone(self, done: Callable[[], None]) -> None:
        """Call `done` when there is none; now, if so."""
        if self._processes:
            self._waiting.append(done)
        else:
            done()
