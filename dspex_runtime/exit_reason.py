"""Why a process ended, as plain data that crosses every boundary unchanged.

A reason is a word or a tuple whose first item is a word:

    "normal"                                 finished; also exit status 0
    "shutdown", ("shutdown", x)              was asked to stop
    "killed"                                 SIGKILL and only that
    "noproc"                                 there was no process
    ("signal", "SEGV")                       another signal
    ("exit_status", 3)                       os._exit(3), sys.exit(3) outside our control
    ("error", type_name, message, traceback) user code raised
    ("limit", what, detail)                  we ended it: memory, liveness, max_calls, start_timeout

Code gives reasons of its own with `dx.Stop`, `dx.Fail`, `ServerRef.stop` and `exit`: "normal", "shutdown", ("shutdown", x) and
("error", ...). The others say what was seen to happen, and nobody may claim them.

Source: OTP exit reasons; the mapping from wait statuses is DESIGN §2 and INTERFACE "Exit reasons".
"""

from __future__ import annotations

import os
import signal
from typing import Any, Final, TypeAlias

__all__ = [
    "OWN_REASONS", "ExitReason", "describe", "from_exception", "from_wait_status", "is_abnormal", "is_exit_reason", "is_own_reason",
    "own_reason",
]  # fmt: skip

ExitReason: TypeAlias = str | tuple[Any, ...]

_WORDS = frozenset({"normal", "shutdown", "killed", "noproc"})
_OWN = frozenset({"normal", "shutdown", "error"})
_TUPLES = {"shutdown": 2, "signal": 2, "exit_status": 2, "error": 4, "limit": 3}
OWN_REASONS: Final = "'normal', 'shutdown', ('shutdown', x) or ('error', type, message, traceback)"


def is_abnormal(reason: ExitReason) -> bool:
    """Return whether a transient child is restarted after this reason: all but normal, shutdown and (shutdown, x)."""
    return not (reason in ("normal", "shutdown") or (isinstance(reason, tuple) and reason[:1] == ("shutdown",)))


def is_exit_reason(value: object) -> bool:
    """Return whether a value received from a module has the shape of an exit reason."""
    if isinstance(value, str):
        return value in _WORDS
    return isinstance(value, tuple) and bool(value) and isinstance(value[0], str) and _TUPLES.get(value[0]) == len(value)


def is_own_reason(value: Any) -> bool:
    """Return whether code may give this reason for an end that it causes itself (`OWN_REASONS`)."""
    return is_exit_reason(value) and (value[0] if isinstance(value, tuple) else value) in _OWN


def own_reason(value: Any, by: str, *also: str) -> ExitReason:
    """Return a reason that code gave, or one of the words `also`; any other term becomes ("error", by, its text, "")."""
    if isinstance(value, list):
        value = tuple(value)
    if is_own_reason(value) or (isinstance(value, str) and value in also):
        reason: ExitReason = value
        return reason
    return ("error", by, value if isinstance(value, str) else repr(value), "")


def from_wait_status(status: int) -> ExitReason:
    """Translate a wait(2) status into an exit reason; status 0 is "normal"."""
    code = os.waitstatus_to_exitcode(status)
    if code == 0:
        return "normal"
    if code > 0:
        return ("exit_status", code)
    if -code == signal.SIGKILL:
        return "killed"
    try:
        return ("signal", signal.Signals(-code).name.removeprefix("SIG"))
    except ValueError:  # a real-time signal has no name
        return ("signal", str(-code))


def from_exception(exc: BaseException, traceback_text: str) -> ExitReason:
    """Return the ("error", ...) reason for an exception that ended a process."""
    kind = type(exc)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return ("error", name, str(exc), traceback_text)


_ERRORS: Final = "dspex_runtime.errors."  # people know our errors by their names


def describe(reason: ExitReason) -> str:
    """Return one line for people, without the traceback."""
    match reason:
        case "killed":
            return "killed (SIGKILL)"
        case "noproc":
            return "no such process"
        case str():
            return reason
        case ("shutdown", what):
            return f"shutdown: {what}"
        case ("signal", name):
            return f"signal SIG{name}"
        case ("exit_status", code):
            return f"exit status {code}"
        case ("error", name, message, _):
            name = str(name).removeprefix(_ERRORS)
            return f"{name}: {message}" if message else str(name)
        case ("limit", "start_timeout", int() | float() as seconds):
            return f"not ready within its start_timeout of {seconds:g} s"
        case ("limit", "max_calls", calls):
            return f"limit max_calls: {calls} calls served"
        case ("limit", what, detail):
            return f"limit {what}: {detail}"
        case _:
            return repr(reason)
