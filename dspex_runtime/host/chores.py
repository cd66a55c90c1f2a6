"""What falls due on the control thread beside serving: calls written down, changes told that had to wait, the log's size.

Owns when each is looked at again; does nothing while nothing is due. Never serves anybody.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from dspex_runtime.host.changes import RETRY_S
from dspex_runtime.host.executions import Executions

if TYPE_CHECKING:
    from dspex_runtime.host.logs import ProcessLog
    from dspex_runtime.host.loop_state import LoopState
    from dspex_runtime.host.parameters import Parameters

LOG_CHECK_S: Final = 5.0  # how often the log's size is looked at while code that is not Python writes to it


class Chores:
    """The chores of one process.

    Args:
        loop: Counts the calls.
        logs: Where foreign code may write to.
        parameters: Whose changes may wait; they know the journal.
        wake: Ends the control thread's wait.
    """

    def __init__(self, loop: LoopState, logs: ProcessLog, parameters: Parameters, wake: Callable[[], None]) -> None:
        self._loop = loop
        self._logs = logs
        self._parameters = parameters
        self._wake = wake
        self._executions: Executions | None = None
        self.begin()

    def begin(self) -> None:
        """There may be a journal now: write the calls that end from here on, and those that were not written yet."""
        if self._parameters.keeps_journal:
            tally = self._loop.tally
            tally.on_first = None if tally.metrics.has_new else self._wake
            if tally.on_first is None:
                self._wake()

    def times(self, now: float) -> list[float]:
        """Return the moments (time.monotonic() seconds) at which `look` has something to do."""
        times = []
        executions = self._written_calls()
        if executions is not None and (due := executions.due(now)) is not None:
            times.append(due)
        if self._parameters.changes_wait:
            times.append(now + RETRY_S)
        if self._logs.foreign:
            times.append(now + LOG_CHECK_S)
        return times

    def look(self) -> None:
        """Do what is due."""
        if self._logs.foreign:
            self._logs.check()
        if self._executions is not None:
            self._executions.look(time.monotonic())
        if self._parameters.changes_wait:
            self._parameters.flush_changes()

    def close(self) -> None:
        """Write down what is to outlive the process. On whatever thread ends it, after all user code."""
        self._parameters.after_call()
        self._parameters.flush_changes()
        executions = self._written_calls()
        if executions is not None:
            executions.write()

    def _written_calls(self) -> Executions | None:
        """Return who writes calls down; made at the first call, as a process that is never called needs none."""
        tally, parameters = self._loop.tally, self._parameters
        if self._executions is None and parameters.keeps_journal and tally.metrics.has_new:
            self._executions = Executions(tally, self._loop.lock, lambda: parameters.journal, self._wake, parameters.report)
        return self._executions
