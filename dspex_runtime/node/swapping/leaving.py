"""The old version after its swap: it has its shutdown time to run terminate(), then it is killed; its end is told to nobody."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.node.ending import Ending
from dspex_runtime.node.event_loop import Timer
from dspex_runtime.node.module_process import ModuleProcess

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node

__all__ = ["LEFT", "Leaving"]

LATEST_S: Final = 1.0  # it leaves by then, whatever the new version does
LEFT: Final[ExitReason] = ("shutdown", "swapped")  # why the old version ends, for its terminate()


class Leaving:
    """See the module docstring.

    Args:
        node: The runtime.
        process: The old one; what it was is another's by now.
        gone: Called when it has ended.
    """

    def __init__(self, node: Node, process: ModuleProcess, gone: Callable[[ModuleProcess], None]) -> None:
        self._node = node
        self._process = process
        self._gone = gone
        self._timer: Timer | None = None
        self._has_begun = False
        process.replaced(self._ended)

    def begin_later(self) -> None:
        """Tell it to leave in LATEST_S, unless `begin` comes first."""
        if not self._has_begun:
            self._timer = self._node.loop.call_later(LATEST_S, self.begin)

    def begin(self) -> None:
        """Tell it to leave, once. Idempotent."""
        if self._has_begun:
            return
        self._has_begun = True
        if self._timer is not None:
            self._timer.cancel()
        if self._process.ended:
            return
        shutdown, process = self._process.spec.shutdown, self._process
        if shutdown.brutal:
            process.kill("killed")
            return
        process.leave(shutdown, LEFT)
        if shutdown.timeout_s is not None:
            self._timer = self._node.loop.call_later(shutdown.timeout_s, lambda: process.kill("killed"))

    def _ended(self, process: ModuleProcess, ending: Ending) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._node.relations.left(process)
        self._node.reports.emit("swapped_out", process.id, incarnation=process.incarnation, pid=process.pid, reason=ending.reason)
        self._gone(process)
