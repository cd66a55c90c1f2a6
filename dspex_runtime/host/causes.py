"""What an exception of the user's code is called: as an exit reason, as one line, and with the frames that are the user's.

Never trusts a user's __str__. Decides nothing.
"""

from __future__ import annotations

import importlib
import os
from types import TracebackType
from typing import Any, Final

from dspex_runtime.exit_reason import ExitReason

_OWN: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_OWN_FRAMES: Final = (
    f"{_OWN}/host/",
    f"{_OWN}/modules/",
    f"{_OWN}/osproc/user_code",
    "<frozen importlib",
    os.path.dirname(importlib.__file__) + "/",
)


def without_own_frames(trace: TracebackType | None) -> TracebackType | None:
    """Drop the leading frames that belong to this package or to the import system: what is left begins in the user's code.

    Where it never got there (wrong arguments, a syntax error) the last frame stays: a traceback needs one to be shown.
    """
    while trace is not None and trace.tb_next is not None and is_own_frame(trace):
        trace = trace.tb_next
    return trace


def is_own_frame(trace: TracebackType | None) -> bool:
    """Return whether a frame belongs to this package or to the import system."""
    return trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OWN_FRAMES)


def fault_reason(fault: dict[str, Any]) -> ExitReason:
    """Return the exit reason for an exception, from its fault: bounded texts, made without trusting its __str__."""
    return ("error", fault["type"], fault["message"], fault["traceback"])


def error_text(exc: BaseException) -> str:
    """Return one line about an exception, whatever its own __str__ does; bounded, since a thousand are kept."""
    try:
        return f"{type(exc).__name__}: {exc}"[:500]
    except Exception as broken:
        return f"{type(exc).__name__}: its __str__ raised {type(broken).__name__}"


def system_exit_reason(exc: SystemExit) -> ExitReason:
    """Return what sys.exit(code) means: none and 0 are normal, a text is status 1 as in any Python program."""
    code = exc.code
    if code is None or code == 0:
        return "normal"
    return ("exit_status", code & 0xFF if isinstance(code, int) else 1)
