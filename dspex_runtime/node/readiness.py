"""What a module process is asked before it counts as ready, and what is said when the answer is no. Pure."""

from __future__ import annotations

from typing import Any, Final

from dspex_runtime.core.child_spec import Readiness

__all__ = ["asked", "refused"]

GRACE_S: Final = 5.0  # the process itself ends a command that is late, and says what it had printed


def asked(readiness: Readiness) -> tuple[str, dict[str, Any], float]:
    """Return operation, arguments and time-out of the question."""
    if readiness.command is None:
        return "call", {"method": readiness.call, "timeout_s": readiness.timeout_s}, readiness.timeout_s
    asked = {"command": readiness.command, "timeout_s": readiness.timeout_s}
    return "command", asked, readiness.timeout_s + GRACE_S


def refused(readiness: Readiness, fault: dict[str, Any] | None) -> str:
    """Return why it is not ready: the answer was an error, or False where there is none."""
    why = "returned False" if fault is None else str(fault.get("message", "")).strip()
    if readiness.command is None:
        return f"readiness call {readiness.call!r}: {why.partition(chr(10))[0]}"
    command = readiness.command if isinstance(readiness.command, str) else " ".join(readiness.command)
    return f"readiness command {command!r} {why}"  # with the end of its output, which nothing else shows
