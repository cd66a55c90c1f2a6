"""Every operation of a reference that is no call, written once, as the other `*_ops` have those of a runtime."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, Protocol

from dspex_runtime.client.asking import QUICK_S, ask, module_info
from dspex_runtime.client.deadline import caller_deadline, remaining_s
from dspex_runtime.client.itself import is_itself, refuse_itself
from dspex_runtime.client.pickling import pickled
from dspex_runtime.client.session import Session
from dspex_runtime.client.signal_ops import awaited_down, told_of
from dspex_runtime.client.steps import Steps
from dspex_runtime.client.values import as_received, as_sent
from dspex_runtime.errors import BusyError, CallError, CallTimeoutError, ConfigError, ProcessDownError
from dspex_runtime.exit_reason import OWN_REASONS, ExitReason, describe, is_own_reason
from dspex_runtime.types import ModuleInfo

SYS_TIMEOUT_S = 5.0  # OTP's sys functions


class Reference(Protocol):
    """What an operation needs of the reference it is a method of."""

    id: str

    @property
    def session(self) -> Session:
        """The connection."""
        ...


def info(self: Reference) -> Steps[ModuleInfo]:
    """Return the child as `rt.info` does."""
    return module_info((yield from ask(self.session, "info", {"id": self.id}, QUICK_S)))


def each_of(self: Reference) -> Steps[list[str]]:
    """Return the full ids of all that the reference stands for: of a group its replicas, those too that are down."""
    return (yield from info(self)).replicas or [self.id]


def raise_for(missed: Mapping[str, CallError], self: Reference, method: str) -> None:
    """Raise where some of a group did not have a call that was for each of them; it is of the kind of the first such error."""
    error = next(iter(missed.values()), None)
    if error is None:
        return
    if self.id not in missed:
        why = "; ".join(f"{id}: {each}" for id, each in missed.items())
        error.message = f"{method!r} of {self.id!r} has reached all replicas but {', '.join(missed)} ({why})"
        error.id, error.hint = self.id, f"call {method!r} again when they serve"
    raise error


def _module_op(self: Reference, op: str, args: dict[str, Any], timeout: float | None, **how: Any) -> Steps[Any]:
    """Ask the module's control thread; BusyError comes from the runtime when it does not answer."""
    left_s = remaining_s(caller_deadline())
    timeout = timeout if left_s is None else left_s if timeout is None else min(timeout, left_s)
    return (yield from ask(self.session, "module_op", {"id": self.id, "op": op, "args": args, "timeout": timeout, **how}))


def _sys(self: Reference, op: str, args: dict[str, Any], timeout: float | None) -> Steps[Any]:
    """One of OTP's sys functions: behind this client's own casts, before what others have queued; also while suspended."""
    session = self.session
    if is_itself(session.socket_path, self.id):
        refuse_itself(self.id)
    answer = yield from _module_op(self, op, {**args, "client": session.client}, timeout)
    return as_received(session.codec, answer)


def metrics(self: Reference) -> Steps[dict[str, Any]]:
    """Return the module's own figures: calls, failures, times, memory.

    Raises:
        BusyError: The module does not answer.
    """
    figures: dict[str, Any] = yield from _module_op(self, "metrics", {}, SYS_TIMEOUT_S)
    return figures


def executions(self: Reference, n: int = 20) -> Steps[list[dict[str, Any]]]:
    """Return the records of the last n calls, newest first."""
    records: list[dict[str, Any]] = yield from _module_op(self, "executions", {"n": n}, SYS_TIMEOUT_S)
    return records


def get_state(self: Reference, timeout: float | None = SYS_TIMEOUT_S) -> Steps[Any]:
    """Return the server's state, between two callbacks (OTP sys:get_state); what this client has cast before is done."""
    return (yield from _sys(self, "get_state", {}, timeout))


def replace_state(self: Reference, function: Callable[[Any], Any], timeout: float | None = SYS_TIMEOUT_S) -> Steps[Any]:
    """Set the state to `function(state)`, in the server's process, between two callbacks; returns the new state.

    Raises:
        ConfigError: It is no function.
        UnserialisableError: The new state could not be sent back; the state is as it was.
        CallError: The function tried to end the process; the state is as it was. `code` is "callback_failed".
        Exception: What the function raised; the state is as it was.
    """
    return (yield from _sys(self, "replace_state", {"function": _packed(function, "replace_state(function)")}, timeout))


def get_status(self: Reference, timeout: float | None = SYS_TIMEOUT_S) -> Steps[dict[str, Any]]:
    """Return what there is to know: id, pid, "running" or "suspended", counts, and state and log through `format_status`."""
    status: dict[str, Any] = yield from _sys(self, "status", {}, timeout)
    return status


def suspend(self: Reference, timeout: float | None = SYS_TIMEOUT_S) -> Steps[None]:
    """Let requests queue and run none until `resume`; ends when none runs any more. Suspending twice is suspending once."""
    yield from _sys(self, "suspend", {}, timeout)


def resume(self: Reference, timeout: float | None = SYS_TIMEOUT_S) -> Steps[None]:
    """Go on after `suspend`."""
    yield from _sys(self, "resume", {}, timeout)


def statistics(self: Reference, flag: bool | str | None = None, timeout: float | None = SYS_TIMEOUT_S) -> Steps[Any]:
    """Return the process's figures; or, with a flag, OTP's sys:statistics.

    Args:
        self: The server.
        flag: True and False switch the counting on and off; "get" returns start_time, current_time (seconds since the epoch),
            messages_in and messages_out, or "no_statistics" while it is off.
        timeout: Seconds.
    """
    if flag is None:
        return (yield from _module_op(self, "statistics", {}, timeout))
    return (yield from _debug(self, "statistics", {"flag": flag}, timeout))


def _debug(self: Reference, command: str, args: dict[str, Any], timeout: float | None) -> Steps[Any]:
    return (yield from _sys(self, "debug", {"command": command, **args}, timeout))


def trace(self: Reference, on: bool = True, timeout: float | None = SYS_TIMEOUT_S) -> Steps[None]:
    """Write what the server gets, answers and becomes into its log, or stop doing so (OTP sys:trace)."""
    yield from _debug(self, "trace", {"flag": on}, timeout)


def log(self: Reference, flag: bool | str = True, n: int = 10, timeout: float | None = SYS_TIMEOUT_S) -> Steps[Any]:
    """Keep the last events (OTP sys:log).

    Args:
        self: The server.
        flag: True and False switch it on and off; "get" returns the events, oldest first, as tuples ("in", kind, message,
            client), ("out", reply, client, state) and ("noreply", state); "print" writes them into the server's log.
        n: How many are kept.
        timeout: Seconds.
    """
    return (yield from _debug(self, "log", {"flag": flag, "n": n}, timeout))


def log_to_file(self: Reference, path: str | os.PathLike[str] | None, timeout: float | None = SYS_TIMEOUT_S) -> Steps[None]:
    """Write events to a file of its own, emptied first; None ends that (OTP sys:log_to_file).

    Raises:
        OSError: The server's process cannot write there.
    """
    yield from _debug(self, "log_to_file", {"flag": os.path.abspath(path) if path is not None else False}, timeout)


def install(
    self: Reference, name: str, function: Callable[[Any, Any, Any], Any], state: Any = None, timeout: float | None = SYS_TIMEOUT_S
) -> Steps[None]:
    """Call `function(state, event, server_state)` with each event, in the server's process (OTP sys:install).

    What it returns is its next state; "done" removes it, and so, in silence, does an exception. A name that is installed
    already stays as it is. Events are those of `log`.
    """
    args = {"name": name, "function": _packed(function, "install(name, function)"), "state": as_sent(self.session.codec, state)}
    yield from _debug(self, "install", args, timeout)


def remove(self: Reference, name: str, timeout: float | None = SYS_TIMEOUT_S) -> Steps[None]:
    """Remove an installed function; one that is not there is no error."""
    yield from _debug(self, "remove", {"name": name}, timeout)


def no_debug(self: Reference, timeout: float | None = SYS_TIMEOUT_S) -> Steps[None]:
    """Switch trace, log, statistics, file and installed functions off."""
    yield from _debug(self, "no_debug", {}, timeout)


def stop(self: Reference, reason: ExitReason = "normal", timeout: float | None = None) -> Steps[None]:
    """Make the server end with a reason: terminate runs, then it is up to its restart type (OTP gen_server:stop).

    What was sent to it before is run first; of a suspended server nothing is.

    Raises:
        ConfigError: The reason is none that code may give (`dx.Stop`).
        CallTimeoutError: It has not ended after `timeout`; it is still told to.
        ProcessDownError: It ended for another reason.
        NoProcessError: It was not running.
        CallError: It is the caller itself; `code` is "calling_self".
    """
    if not is_own_reason(reason):  # of the others nobody says so: "killed" is SIGKILL, and only that
        raise ConfigError(f"{reason!r} is no reason to stop with; allowed: {OWN_REASONS}")
    session = self.session
    if is_itself(session.socket_path, self.id):
        refuse_itself(self.id)
    start = monotonic()
    notice = yield from told_of(session, "monitor", {"id": self.id})
    try:
        try:
            yield from _module_op(self, "terminate", {"reason": reason}, timeout, now=True)
        except BusyError:
            pass  # it does not answer, it ends; if it did not, the monitor has nothing to tell
        left_s = None if timeout is None else max(0.0, start + timeout - monotonic())
        down = yield from awaited_down(session, notice, left_s)
    finally:
        session.connection.demonitor(notice.ref)
    if down is None:
        raise CallTimeoutError(f"{self.id!r} has not stopped after {timeout} s", id=self.id)
    if down.reason != reason:
        text = f"{self.id!r} was to stop with {describe(reason)}; it ended with {describe(down.reason)}"
        raise ProcessDownError(text, id=self.id, incarnation=down.incarnation, reason=down.reason)


def _packed(function: Callable[..., Any], usage: str) -> bytes:
    if not callable(function):
        raise ConfigError(f"{usage} takes a function, got {function!r:.200}")
    return pickled(function, "function")
