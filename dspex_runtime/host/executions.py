"""The last calls and the sums of all, written to the module's journal each second in which there were any.

Owns when that is: the first call after a writing wakes the control thread once (`Tally.on_first`), which then waits a second; a
process that is not called is never woken. Of more calls than are kept (`metrics.RING`) in one second the newest are written.
Never tells the callers when the disk fails: the next writing has the sums again, and the failure is reported once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.errors import ParameterError
from dspex_runtime.params.records import EXECUTIONS

if TYPE_CHECKING:
    from dspex_runtime.host.metrics import Call
    from dspex_runtime.host.tally import Tally
    from dspex_runtime.params.journal import Journal

PERIOD_S: Final = 1.0
BATCH: Final = 100  # calls in one record: what they take as maps is used again for the next ones


class Executions:
    """Writes one process's calls down.

    Args:
        tally: Counts them.
        guard: The lock under which it does.
        journal: Gives what they are written to; None: nowhere. First asked when there is something to write.
        wake: Makes the control thread look at `due`; called under that lock.
        report: Told why they cannot be written, once for as long as it lasts.
    """

    def __init__(
        self,
        tally: Tally,
        guard: threading.Lock,
        journal: Callable[[], Journal | None],
        wake: Callable[[], None],
        report: Callable[[str], None],
    ) -> None:
        self._tally = tally
        self._guard = guard
        self._journal = journal
        self._wake = wake
        self._report = report
        self._writing = threading.Lock()  # the control thread's, and whoever's that ends the process
        self._due: float | None = None
        self._failing = False

    def due(self, now: float) -> float | None:
        """Return when the next writing is due (time.monotonic() seconds); None: there was no call since the last one."""
        if self._due is None and self._tally.on_first is None:
            self._due = now + PERIOD_S
        return self._due

    def look(self, now: float) -> None:
        """Write when it is due."""
        due = self.due(now)
        if due is not None and now >= due:
            self.write()

    def write(self) -> None:
        """Write what was not written yet, if there is any. From any thread; never raises for the disk's sake."""
        with self._writing:
            with self._guard:
                fresh = self._tally.metrics.take_new()
                totals = self._tally.metrics.totals()
                self._tally.on_first = self._wake
            self._due = None
            if fresh:
                self._append(fresh, totals)

    def _append(self, fresh: list[Call], totals: dict[str, Any]) -> None:
        journal, now = self._journal(), time.time()
        if journal is None:
            return
        shown = self._tally.metrics.shown
        try:
            for at in range(0, len(fresh), BATCH):
                journal.append([EXECUTIONS, now, [shown(call) for call in fresh[at : at + BATCH]], totals])
        except ParameterError as exc:
            if not self._failing:
                self._report(f"calls cannot be written down: {exc}")
            self._failing = True
        else:
            self._failing = False
