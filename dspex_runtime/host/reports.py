"""Crash reports: what a process that ends abnormally tells about itself, as plain data (otp-semantics §2.11).

Made in the process, sent as an event before it exits; the parent makes one for those that could not (`node.error_reports`).
None for "normal", "shutdown" and ("shutdown", x). All that is the user's went through `format_status`.

    {"type": "crash_report", "initial_call", "pid", "reason", "message", "state", "log", "client", "queued", "threads"}
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.exit_reason import ExitReason, is_exit_reason
from dspex_runtime.host.behaviours import NOTHING
from dspex_runtime.host.genserver import ServerHost, payload
from dspex_runtime.host.hosted import Hosted
from dspex_runtime.host.status import NOTE, readable

if TYPE_CHECKING:
    from dspex_runtime.host.loop_state import LoopState
    from dspex_runtime.host.mailbox import Request

CRASH_REPORT: Final = "crash_report"
MAX_TRACE_CHARS: Final = 16_384  # the end of a traceback is what tells

_METHODS: Final = {"$call": "handle_call", "$cast": "handle_cast", "$info": "handle_info"}


def crash_report(hosted: Hosted | None, loop: LoopState | None, reason: ExitReason, *, initial_call: str | None) -> dict[str, Any]:
    """Return the report of a process that ends with `reason`.

    Args:
        hosted: What ran in it; None before there was anything.
        loop: Its loop; None while it started.
        reason: Why it ends.
        initial_call: What it was started to run.
    """
    request = loop.calls.culprit if loop is not None else None
    report: dict[str, Any] = {
        "type": CRASH_REPORT,
        "initial_call": initial_call,
        "pid": os.getpid(),
        "client": request.peer.client if request is not None and request.peer is not None else None,
        "queued": loop.counts()["queued"] if loop is not None else 0,
        "threads": threading.active_count(),
    }
    if isinstance(hosted, ServerHost) and loop is not None:
        shown = hosted.report(_last_message(hosted, request), reason)
    else:
        shown = {"reason": reason, "message": request.method if request is not None else None}
    if NOTE in shown:
        shown["reason"] = reason  # it is told to everybody in any case: its supervisor, its monitors, whoever called
    return {**report, **{key: _bounded(value) for key, value in shown.items()}}


def _last_message(hosted: ServerHost, request: Request | None) -> Any:
    if request is not None:
        return (_METHODS.get(request.method, request.method), payload(request))
    return ("handle_continue", hosted.continuing) if hosted.continuing is not NOTHING else None


def _bounded(value: Any) -> Any:
    match value:
        case ("error", str(kind), str(message), str(trace)) if is_exit_reason(value):
            return ("error", kind, message[:MAX_TRACE_CHARS], trace[-MAX_TRACE_CHARS:])
        case _:
            return readable(value)
