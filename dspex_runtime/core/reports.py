"""The supervisor reports that static and dynamic supervisors have in common. Decides nothing."""

from __future__ import annotations

from typing import Any

from dspex_runtime.core.child_table import Record
from dspex_runtime.core.instructions import Report, ReportKind
from dspex_runtime.core.window import RestartWindow
from dspex_runtime.exit_reason import ExitReason


def child_terminated(record: Record, reason: ExitReason) -> Report:
    """Return the report of a child that ended by itself."""
    return Report(ReportKind.CHILD_TERMINATED, record.id, reason, {"incarnation": record.incarnation})


def start_error(record: Record, reason: ExitReason, error: dict[str, Any] | None) -> Report:
    """Return the report of a start that failed at boot or in a restart; `error` is the child's own."""
    return Report(ReportKind.START_ERROR, record.id, reason, {"incarnation": record.incarnation, "error": error})


def gave_up(record: Record, window: RestartWindow) -> Report:
    """Return the report of a supervisor whose child wanted one restart too many."""
    return Report(
        ReportKind.SHUTDOWN,
        record.id,
        "reached_max_restart_intensity",
        {"restarts": len(window), "max_restarts": window.max_restarts, "max_seconds": window.max_seconds},
    )
