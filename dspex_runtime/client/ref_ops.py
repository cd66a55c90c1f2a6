"""Every operation of a reference that is no call, written once, as `ops` has those of a runtime."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol

from dspex_runtime.client.deadline import caller_deadline, remaining_s
from dspex_runtime.client.ops import QUICK_S, ask, awaited_down, module_info
from dspex_runtime.client.session import Session
from dspex_runtime.client.steps import Steps
from dspex_runtime.client.target import pickled
from dspex_runtime.errors import BusyError, CallTimeoutError, ConfigError, ProcessDownError
from dspex_runtime.exit_reason import ExitReason, describe, is_exit_reason
from dspex_runtime.types import ModuleInfo
from dspex_runtime.wire.codec import Codec

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


def _module_op(self: Reference, op: str, args: dict[str, Any], timeout: float | None) -> Steps[Any]:
    """Ask the module's control thread; BusyError comes from the runtime when it does not answer."""
    left_s = remaining_s(caller_deadline())
    timeout = timeout if left_s is None else left_s if timeout is None else min(timeout, left_s)
    return (yield from ask(self.session, "module_op", {"id": self.id, "op": op, "args": args, "timeout": timeout}))


def _value(self: Reference, answer: Any) -> Any:
    """Rebuild a value that passed the runtime: what is pickled in it stayed closed on the way."""
    return self.session.codec.unpack(Codec().pack([answer]))[0]


def metrics(self: Reference) -> Steps[dict[str, Any]]:
    """Return the module's own figures: calls, failures, times, memory.

    Raises:
        BusyError: The module does not answer.
    """
    figures: dict[str, Any] = yield from _module_op(self, "metrics", {}, SYS_TIMEOUT_S)
    return figures


def executions(self: Reference, n: int = 20) -> Steps[list[dict[str, Any]]]:
    """Return the records of the last n calls, newest first."""
    records: list[dict[str, Any]] = _value(self, (yield from _module_op(self, "executions", {"n": n}, SYS_TIMEOUT_S)))
    return records


def get_state(self: Reference, timeout: float | None = SYS_TIMEOUT_S) -> Steps[Any]:
    """Return the server's state, between two callbacks (OTP sys:get_state)."""
    return _value(self, (yield from _module_op(self, "get_state", {}, timeout)))


def replace_state(self: Reference, function: Callable[[Any], Any], timeout: float | None = SYS_TIMEOUT_S) -> Steps[Any]:
    """Set the state to `function(state)`, in the server's process, between two callbacks; returns the new state.

    Raises:
        Exception: What the function raised; the state is as it was.
    """
    data = pickled(function, getattr(function, "__module__", None))
    return _value(self, (yield from _module_op(self, "replace_state", {"function": data}, timeout)))


def suspend(self: Reference, timeout: float | None = SYS_TIMEOUT_S) -> Steps[None]:
    """Let requests queue and run none until `resume`."""
    yield from _module_op(self, "suspend", {}, timeout)


def resume(self: Reference, timeout: float | None = SYS_TIMEOUT_S) -> Steps[None]:
    """Go on after `suspend`."""
    yield from _module_op(self, "resume", {}, timeout)


def statistics(self: Reference, timeout: float | None = SYS_TIMEOUT_S) -> Steps[dict[str, Any]]:
    """Return the server's figures (OTP sys:statistics)."""
    figures: dict[str, Any] = yield from _module_op(self, "statistics", {}, timeout)
    return figures


def stop(self: Reference, reason: ExitReason = "normal", timeout: float | None = None) -> Steps[None]:
    """Make the server end with a reason: terminate runs, then it is up to its restart type (OTP gen_server:stop).

    Raises:
        CallTimeoutError: It has not ended after `timeout`; it is still told to.
        ProcessDownError: It ended for another reason.
        NoProcessError: It was not running.
    """
    if not is_exit_reason(reason):
        allowed = "'normal', 'shutdown', ('shutdown', x) or ('error', type, message, traceback)"
        raise ConfigError(f"{reason!r} is not an exit reason; allowed: {allowed}")
    session = self.session
    start = monotonic()
    monitor = yield from ask(session, "monitor", {"id": self.id}, QUICK_S)
    ref = int(monitor["ref"])
    try:
        try:
            yield from _module_op(self, "stop", {"reason": reason}, timeout)
        except BusyError:
            pass  # it does not answer, it ends; if it did not, the monitor has nothing to tell
        left_s = None if timeout is None else max(0.0, start + timeout - monotonic())
        down = yield from awaited_down(session, ref, left_s)
    finally:
        session.connection.demonitor(ref)
    if down is None:
        raise CallTimeoutError(f"{self.id!r} has not stopped after {timeout} s", id=self.id)
    if down.reason != reason:
        text = f"{self.id!r} was to stop with {describe(reason)}; it ended with {describe(down.reason)}"
        raise ProcessDownError(text, id=self.id, incarnation=down.incarnation, reason=down.reason)
