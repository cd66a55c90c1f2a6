"""OTP's error reports as events: crash reports of processes, and the offender that supervisor reports name (§2.11).

A module reports its own crash before it exits; one that could not (killed, a signal, no memory) gets its report made here.
None for "normal", "shutdown" and ("shutdown", x), and none for a process that its supervisor was stopping: the supervisor's
own report says that.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

from dspex_runtime.core.child_spec import ChildSpec
from dspex_runtime.exit_reason import is_abnormal
from dspex_runtime.node.ending import Ending
from dspex_runtime.node.module_process import ModuleProcess
from dspex_runtime.node.reports import Reports
from dspex_runtime.types import Kind

CRASH_REPORT: Final = "crash_report"
KEPT_PIDS: Final = 1000  # of processes that ended: a supervisor that is busy reports them later


class ErrorReports:
    """Passes crash reports on, and makes those that did not come."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        self._reported: set[tuple[str, int]] = set()
        self._pids: OrderedDict[tuple[str, int], int | None] = OrderedDict()

    def event(self, process: ModuleProcess, facts: dict[str, Any]) -> None:
        """Record what a module tells of itself."""
        told = {f"{key}_" if key in ("id", "type", "seq", "time", "incarnation") else key: facts[key] for key in facts}
        type = str(told.pop("type_", "module"))
        if type != CRASH_REPORT:
            self._reports.emit(type, process.id, incarnation=process.incarnation, **told)
            return
        self._reported.add((process.id, process.incarnation))
        self._reports.report(CRASH_REPORT, process.id, incarnation=process.incarnation, **told)

    def ended(self, process: ModuleProcess, ending: Ending, *, expected: bool) -> None:
        """A process ended: report a crash that it did not report itself; `expected` where its supervisor was ending it."""
        key = (process.id, process.incarnation)
        self._pids[key] = process.pid
        if len(self._pids) > KEPT_PIDS:
            self._pids.popitem(last=False)
        if key in self._reported:
            self._reported.remove(key)
        elif is_abnormal(ending.reason) and not ending.ignored and not expected:
            self._reports.report(
                CRASH_REPORT,
                process.id,
                incarnation=process.incarnation,
                initial_call=process.launch.initial_call,
                pid=process.pid,
                reason=ending.reason,
                message=None,
                state=None,
                synthesised=True,
            )

    def offender(self, full_id: str, spec: ChildSpec | None, incarnation: int) -> dict[str, Any]:
        """Return the child a supervisor report is about, as OTP does."""
        facts: dict[str, Any] = {"id": full_id, "pid": self._pids.get((full_id, incarnation)), "incarnation": incarnation}
        if spec is None:
            return facts
        shutdown = "brutal_kill" if spec.shutdown.brutal else spec.shutdown.timeout_s
        return {
            **facts,
            "initial_call": spec.launch.initial_call if spec.launch is not None else "supervisor",
            "restart_type": spec.restart.value,
            "significant": spec.significant,
            "shutdown": "infinity" if shutdown is None else shutdown,
            "child_type": "supervisor" if spec.kind is Kind.SUPERVISOR else "worker",
        }
