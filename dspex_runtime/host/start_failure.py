"""A start that failed, told to the parent with the user's own traceback. Nothing is terminated, as nothing was started."""

from __future__ import annotations

import sys
from typing import Final

from dspex_runtime.errors import StartError
from dspex_runtime.exit_reason import ExitReason, is_abnormal
from dspex_runtime.host.assignment import Assignment
from dspex_runtime.host.causes import fault_reason, is_own_frame, system_exit_reason, without_own_frames
from dspex_runtime.host.ending import exit_status
from dspex_runtime.host.hosted import QuietStartError
from dspex_runtime.host.reports import crash_report
from dspex_runtime.osproc.channel import FdChannel
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.faults import to_fault

START_REASON: Final = "start_reason"  # in the fault: why the start failed, where the process itself ends for another reason


def start_failed(exc: BaseException, assignment: Assignment, control: FdChannel, codec: Codec) -> int:
    """Tell the parent why, in the log too; return the exit status.

    A `dx.Fail` is told to whoever starts it and to nobody else: the process ends "normal", in silence.
    """
    reason: ExitReason | None = None
    quiet = isinstance(exc, QuietStartError)
    if quiet or (isinstance(exc, StartError) and exc.reason is not None):
        exc.__traceback__ = None  # init returned: there are no frames but ours
    else:
        exc.__traceback__ = without_own_frames(exc.__traceback__)
        if isinstance(exc, StartError) and is_own_frame(exc.__traceback__):
            exc.__traceback__ = None  # we refused it: the text is the whole story
    if not quiet and not (isinstance(exc, StartError) and exc.reason is not None and not is_abnormal(exc.reason)):
        sys.excepthook(type(exc), exc, exc.__traceback__)
    if isinstance(exc, SystemExit):
        reason = system_exit_reason(exc)
        exc = StartError(f"exited while it started: SystemExit({exc.code!r})", id=assignment.id, reason=reason)
    elif isinstance(exc, StartError):
        exc.id = exc.id or assignment.id
        reason = exc.reason
    fault = to_fault(exc, id=assignment.id, incarnation=assignment.incarnation, codec=codec)
    if quiet:
        fault[START_REASON], reason = reason, "normal"
    try:
        why = reason if reason is not None else fault_reason(fault)
        control.send([m.FAULT, 0, fault])
        if is_abnormal(why):
            control.send([m.EVENT, 0, crash_report(None, None, why, initial_call=assignment.launch.initial_call)])
        if reason is not None:
            control.send([m.BYE, 0, reason])
    except OSError:
        pass  # the parent is gone
    return 0 if quiet else max(1, exit_status(reason or "normal"))  # any other failed start is never status 0
