"""Why an incarnation ended, asked of the runtime by a caller whose pipe to it just did."""

from __future__ import annotations

from typing import Final

from dspex_runtime.client.connection import ControlConnection
from dspex_runtime.client.steps import Await, Steps
from dspex_runtime.errors import DspexError, ProcessDownError
from dspex_runtime.exit_reason import ExitReason

REASON_WAIT_S: Final = 1.0  # the runtime knows within a millisecond; a caller is not held up for longer than this


def exit_reason(connection: ControlConnection, id: str, incarnation: int) -> Steps[ExitReason | None]:
    """Return the exit reason of one incarnation, or None when the runtime cannot tell soon.

    The end of a pipe is seen before the runtime has reaped the process: the runtime answers when it has.
    """
    try:
        asked = connection.request("exit_of", {"id": id, "incarnation": incarnation})
        reason: ExitReason | None = yield Await(asked, REASON_WAIT_S)
    except (DspexError, TimeoutError):
        return None  # the call failed in any case; that its reason is not known is said in its error
    return reason


def process_down(connection: ControlConnection, id: str, incarnation: int) -> Steps[ProcessDownError]:
    """Return the error for a request that was in flight when its process ended.

    Raises:
        RuntimeUnreachableError: This process closed the connection itself, and the pipe with it.
    """
    if connection.closed_here:
        raise connection.unreachable()
    reason = yield from exit_reason(connection, id, incarnation)
    if reason is not None:
        return ProcessDownError(id=id, incarnation=incarnation, reason=reason)
    why = "the runtime is gone too" if connection.closed else "the runtime reports no exit of it"
    return ProcessDownError(f"{id!r} closed its pipe with the call in flight; {why}", id=id, incarnation=incarnation)
