"""What a child's end means: the restart matrix and which ends are reported. Total functions, no state.

Source: supervisor.erl do_restart and shutdown, dynamic_supervisor.ex wait_child; the semantics are the same here word for word.
"""

from __future__ import annotations

from enum import StrEnum
from typing import assert_never

from dspex_runtime.exit_reason import ExitReason, is_abnormal
from dspex_runtime.types import RestartType


class Verdict(StrEnum):
    """What happens to a child that ended by itself."""

    RESTART = "restart"
    KEEP = "keep"  # not running, the spec stays, restart_child brings it back
    DELETE = "delete"  # the spec goes with the process


def verdict(restart: RestartType, reason: ExitReason) -> Verdict:
    """Return what to do about a child that ended by itself."""
    match restart:
        case RestartType.PERMANENT:
            return Verdict.RESTART
        case RestartType.TRANSIENT:
            return Verdict.RESTART if is_abnormal(reason) else Verdict.KEEP
        case RestartType.TEMPORARY:
            return Verdict.DELETE
        case _:
            assert_never(restart)


def is_reported(restart: RestartType, reason: ExitReason) -> bool:
    """Return whether an end is a child_terminated report: a permanent child's always, others' when abnormal."""
    return restart is RestartType.PERMANENT or is_abnormal(reason)


def is_clean_stop(restart: RestartType, *, brutal: bool, reason: ExitReason) -> bool:
    """Return whether a child that was told to stop ended as it should; anything else is a shutdown_error report.

    Permanent children are held to "shutdown" (brutal_kill: "killed"), as they never end normally by themselves.
    """
    if reason == ("killed" if brutal else "shutdown"):
        return True
    return restart is not RestartType.PERMANENT and not is_abnormal(reason)


def is_clean_dynamic_stop(restart: RestartType, *, brutal: bool, reason: ExitReason) -> bool:
    """Return the same for a child of a dynamic supervisor, as Elixir's has it.

    A child that was to be killed is held to "killed"; ("shutdown", x) is clean for permanent children too.
    """
    if brutal:
        return reason == "killed"
    if reason == "normal":
        return restart is not RestartType.PERMANENT
    return not is_abnormal(reason)
