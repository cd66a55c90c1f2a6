"""How a module's process ended, and which of the things that are known about that is the reason. Pure; ends nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dspex_runtime import exit_reason
from dspex_runtime.exit_reason import ExitReason


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process ended; `ready` says whether it had become ready before."""

    reason: ExitReason
    ready: bool
    ignored: bool
    fault: dict[str, Any] | None


def reason_of(
    wait_status: int, *, bye: ExitReason | None, kill_reason: ExitReason | None, start_fault: dict[str, Any] | None
) -> ExitReason:
    """Return why a process ended.

    Args:
        wait_status: As `waitpid` has it.
        bye: Its own last words.
        kill_reason: Why we killed it, if we did.
        start_fault: Why it did not start, from one that was never ready.
    """
    by_status = exit_reason.from_wait_status(wait_status)
    if bye is not None and by_status != "killed":
        return bye
    if kill_reason is not None:
        return kill_reason  # also when it went by itself a moment before the signal
    if bye is not None:
        return bye
    if start_fault is not None:
        return _of_fault(start_fault)
    return by_status


def _of_fault(fault: dict[str, Any]) -> ExitReason:
    return ("error", str(fault.get("type", "Exception")), str(fault.get("message", "")), str(fault.get("traceback", "")))
