"""What went wrong with a swap, as the error that its caller gets. Pure."""

from __future__ import annotations

from typing import Any, TypeAlias

from dspex_runtime.core.swap_instructions import Finished
from dspex_runtime.errors import DspexError, SwapError
from dspex_runtime.node.peer import PLAIN
from dspex_runtime.wire.faults import own_error

__all__ = ["error_of", "told"]

Facts: TypeAlias = dict[str, Any]


def told(fault: Facts | None, code: str, text: str) -> tuple[str, str]:
    """Return SwapError's code and text of a step that failed: what the process said of it itself, where it did."""
    own = _own(fault)
    if isinstance(own, SwapError):
        return own.code, own.message
    return code, f"{text}: {fault['message']}" if fault is not None and fault.get("message") else text


def error_of(finished: Finished, serves: str | None) -> SwapError:
    """Return the error of a swap that failed; `serves` says that its members are as they were, where they are."""
    own = _own(finished.fault)
    trace = own.remote_traceback if isinstance(own, SwapError) else None
    if trace is None and finished.fault is not None:
        trace = finished.fault.get("traceback") or None
    return SwapError(
        f"{finished.message}; {serves}" if serves else str(finished.message),
        code=finished.code or "swap",
        remote_traceback=trace,
        reason=finished.reason,
        id=finished.member,
        hint=own.hint if own is not None else None,
    )


def _own(fault: Facts | None) -> DspexError | None:
    return None if fault is None else own_error(fault, codec=PLAIN)
