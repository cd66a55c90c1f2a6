"""The end of the process, once: terminate, the reply owed, what never began given back, writes made, logs flushed, report, BYE.

Nothing after BYE. Never decides the reason: it is handed in, and only a terminate() that raises changes it.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NoReturn

from dspex_runtime.errors import UnserialisableError
from dspex_runtime.exit_reason import ExitReason, describe, is_abnormal, is_exit_reason
from dspex_runtime.host import context
from dspex_runtime.host.causes import fault_reason
from dspex_runtime.host.reports import crash_report
from dspex_runtime.host.status import NOTE, text_of
from dspex_runtime.osproc.channel import Channel
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.codec import Codec

if TYPE_CHECKING:
    from dspex_runtime.host.hosted import Hosted
    from dspex_runtime.host.server_loop import Owed, ServerLoop

log = logging.getLogger("dspex_runtime.host")

READER_S: Final = 1.0  # for who reads at the very end: a client may be slow to take its answer


class Ending:
    """Ends the process, whichever thread comes first."""

    def __init__(self, control: Channel) -> None:
        self._control = control
        self._once = threading.Lock()
        self.hosted: Hosted | None = None
        self.loop: ServerLoop | None = None
        self.closing: Callable[[], None] | None = None  #: writes down what is to outlive us

    def finish(self, reason: ExitReason, owed: Owed | None = None, *, run_terminate: bool = True) -> int:
        """Do everything but exit; return the exit status. Where another thread does it already, this one only waits."""
        if not self._once.acquire(blocking=False):
            threading.Event().wait()  # the other one ends the process
        # Logged before terminate(), which may hang; sent after it, when the reason is known.
        report = self._report(reason, run_terminate)
        if run_terminate and self.hosted is not None:
            before, reason = reason, self._terminate(self.hosted, reason)
            if reason != before:
                report = self._report(reason, run_terminate)
        if self.loop is not None:
            if owed is not None:
                self.loop.calls.answer_owed(*owed)
            self.loop.stop(reason)  # gives back what has not begun
            if run_terminate:
                self.loop.calls.end_writes()
        if run_terminate:
            self._run_atexit()
        if self.closing is not None:
            self.closing()
        self._flush()
        reason = plain(reason)
        try:
            if report is not None:
                self._control.send([m.EVENT, 0, report])
            self._control.send([m.BYE, 0, reason])
        except OSError:
            pass  # the parent is gone as well
        if self.loop is not None:
            # For good: whoever is reading a pipe answers what it has read. A request that was read and not given back would
            # look like one that has begun; unread, its client is told by the kernel that it has not.
            self.loop.lock.acquire(timeout=READER_S)
        return exit_status(reason)

    def exit(self, reason: ExitReason, owed: Owed | None = None, *, run_terminate: bool = True) -> NoReturn:
        """Finish and exit from whatever thread this is."""
        os._exit(self.finish(reason, owed, run_terminate=run_terminate))

    def _terminate(self, hosted: Hosted, reason: ExitReason) -> ExitReason:
        context.current_request.set(None)  # the last request's deadline is over: terminate() may still call others
        try:
            hosted.terminate(reason)
        except BaseException as exc:  # SystemExit too: it is ending already
            assert self.loop
            return fault_reason(self.loop.calls.fault(exc))
        return reason

    def _report(self, reason: ExitReason, asks_user: bool) -> dict[str, Any] | None:
        """Log an abnormal end; return its crash report, None where there is none to be made here."""
        if not is_abnormal(reason):
            return None
        if not asks_user or context.Process.assignment is None:
            log.error("ends: %s", describe(reason))  # at once, beside whatever callback runs: the parent makes the report
            return None
        report = crash_report(self.hosted, self.loop, reason, initial_call=context.Process.assignment.launch.initial_call)
        log.error("ends: %s", _as_text(report))
        return report

    def _run_atexit(self) -> None:
        # os._exit runs none of these. Only what the user's code registered is left: bootstrap dropped the zygote's.
        try:
            atexit._run_exitfuncs()
        except BaseException as exc:
            log.error("an atexit function raised", exc_info=exc)

    def _flush(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:
                pass  # replaced by user code; nothing is left to be told


def _as_text(report: dict[str, Any]) -> str:
    """Return a crash report as the log has it: nothing that is not in the report."""
    reason: Any = report.get("reason")
    lines = [describe(reason) if is_exit_reason(reason) else text_of(reason)]
    if is_exit_reason(reason) and reason[0] == "error" and reason[3]:
        lines.append(str(reason[3]).rstrip())
    shown = ("message", "client", "state", "log", NOTE)
    return "\n".join([*lines, *(f"{key}: {text_of(report[key])}" for key in shown if report.get(key) not in (None, []))])


def plain(reason: ExitReason) -> ExitReason:
    """Return the reason with a term that only Python understands as its text: the runtime unpickles nothing."""
    try:
        Codec().pack([reason])
    except UnserialisableError:
        return (*reason[:1], *(repr(part) for part in reason[1:]))
    return reason


def exit_status(reason: ExitReason) -> int:
    """Return the status that says the same to whoever missed the BYE."""
    match reason:
        case ("exit_status", int(code)):
            return code & 0xFF
        case _:
            return 1 if is_abnormal(reason) else 0
