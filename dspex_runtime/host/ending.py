"""The end of the process, once: terminate, the reply still owed, what never began given back, logs flushed, BYE.

Nothing after BYE. Never decides the reason: it is handed in, and only a terminate() that raises changes it.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from typing import TYPE_CHECKING, NoReturn

from dspex_runtime.errors import UnserialisableError
from dspex_runtime.exit_reason import ExitReason, describe, is_abnormal
from dspex_runtime.host.calls import fault_reason
from dspex_runtime.host.context import current_request
from dspex_runtime.osproc.channel import Channel
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.codec import Codec

if TYPE_CHECKING:
    from dspex_runtime.host.hosted import Hosted
    from dspex_runtime.host.server_loop import Owed, ServerLoop

log = logging.getLogger("dspex_runtime.host")


class Ending:
    """Ends the process, whichever thread comes first."""

    def __init__(self, control: Channel) -> None:
        self._control = control
        self._once = threading.Lock()
        self.hosted: Hosted | None = None
        self.loop: ServerLoop | None = None

    def finish(self, reason: ExitReason, owed: Owed | None = None, *, run_terminate: bool = True) -> int:
        """Do everything but exit; return the exit status. Where another thread does it already, this one only waits."""
        if not self._once.acquire(blocking=False):
            threading.Event().wait()  # the other one ends the process
        self._report(reason)
        if run_terminate and self.hosted is not None:
            reason = self._terminate(self.hosted, reason)
        if self.loop is not None:
            if owed is not None:
                self.loop.calls.answer_owed(*owed)
            self.loop.stop(reason)  # gives back what has not begun
        if run_terminate:
            self._run_atexit()
        self._flush()
        reason = plain(reason)
        try:
            self._control.send([m.BYE, 0, reason])
        except OSError:
            pass  # the parent is gone as well
        return exit_status(reason)

    def exit(self, reason: ExitReason, owed: Owed | None = None, *, run_terminate: bool = True) -> NoReturn:
        """Finish and exit from whatever thread this is."""
        os._exit(self.finish(reason, owed, run_terminate=run_terminate))

    def _terminate(self, hosted: Hosted, reason: ExitReason) -> ExitReason:
        current_request.set(None)  # the last request's deadline is over: terminate() may still call others
        try:
            hosted.terminate(reason)
        except BaseException as exc:  # SystemExit too: it is ending already
            assert self.loop
            changed = fault_reason(self.loop.calls.fault(exc))
            log.error("terminate() raised\n%s", str(changed[3]).rstrip())
            return changed
        return reason

    def _report(self, reason: ExitReason) -> None:
        if not is_abnormal(reason):
            return
        trace = reason[3].rstrip() if isinstance(reason, tuple) and reason[0] == "error" and reason[3] else ""
        text = f"{describe(reason)}\n{trace}" if trace else describe(reason)
        if self.hosted is not None and self.hosted.serial:
            try:
                text += f"\nstatus: {self.hosted.status()!r:.2000}"
            except Exception as exc:  # format_status is user code; the report must come all the same
                text += f"\nformat_status raised {type(exc).__name__}: {exc}"
        log.error("ends: %s", text)

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
