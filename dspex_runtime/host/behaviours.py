"""The GenServer behaviour: the base class, what callbacks return, and the functions they may call.

Owns the public words only; what a returned value leads to is decided in `genserver.py`.
Source: OTP gen_server; callback results as Elixir's GenServer.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final, TypeVar

from dspex_runtime.errors import CallError, RuntimeUnreachableError
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.host import deferred, parent
from dspex_runtime.host.context import Process, self_id
from dspex_runtime.host.timers import Timer

__all__ = [
    "Fail", "GenServer", "Ignore", "NoReply", "Reply", "Stop", "cancel_timer", "idempotent", "reply", "self_id", "send_after",
]  # fmt: skip

F = TypeVar("F", bound=Callable[..., Any])


class _Nothing:
    """Marks an argument that was not given; None is a value."""

    def __repr__(self) -> str:
        return "<nothing>"


NOTHING: Final = _Nothing()


# Plain classes with slots: one is made for every call, and a frozen dataclass costs three times as much to build.
class Reply:
    """handle_call: answer `value` and go on with `state`.

    Then, before anything queued, run handle_continue(continue_); or, with `timeout`, handle_info("timeout") when no message
    has come for so many seconds: one that waits already comes first, also before a time-out of 0, and ends the wait. System
    messages (get_state, suspend) do not.
    """

    __slots__ = ("action", "state", "value")

    def __init__(self, value: Any, state: Any, *, continue_: Any = NOTHING, timeout: float | None = None) -> None:
        self.value = value
        self.state = state
        self.action = None if continue_ is NOTHING and timeout is None else (continue_, timeout)

    def __repr__(self) -> str:
        return f"Reply({self.value!r}, {self.state!r})"


class NoReply:
    """Go on with `state`; a call stays open until somebody answers it with `dx.reply(from_, value)`, from any process.

    `continue_` and `timeout` as in `Reply`. From `init` it is the state together with one of them.
    """

    __slots__ = ("action", "state")

    def __init__(self, state: Any, *, continue_: Any = NOTHING, timeout: float | None = None) -> None:
        self.state = state
        self.action = None if continue_ is NOTHING and timeout is None else (continue_, timeout)

    def __repr__(self) -> str:
        return f"NoReply({self.state!r})"


class Stop:
    """End the process with `reason`: terminate(reason, state) runs, then `reply` is sent, then it exits.

    From `init` it means that the start failed. Exit reasons are a closed set; code may give "normal", "shutdown", ("shutdown", x)
    with any x, or ("error", type, message, traceback). Any other term becomes ("error", "Stop", the term or its repr, ""), also
    "killed" and the others that say what was seen to happen.
    """

    __slots__ = ("reason", "reply", "state")

    def __init__(self, reason: ExitReason = "normal", state: Any = NOTHING, *, reply: Any = NOTHING) -> None:
        self.reason = reason
        self.state = state
        self.reply = reply

    def __repr__(self) -> str:
        return f"Stop({self.reason!r})"


class Ignore:
    """From `init`: do not start me, and that is no failure."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Ignore()"


class Fail:
    """From `init`: the start failed, and that is nothing to report (OTP {error, Reason}).

    Whoever starts it gets `reason`; the process ends "normal", without a word in its log.
    """

    __slots__ = ("reason",)

    def __init__(self, reason: ExitReason) -> None:
        self.reason = reason

    def __repr__(self) -> str:
        return f"Fail({self.reason!r})"


class GenServer:
    """A process with a state and a mailbox; callbacks run one at a time, on one thread.

    A subclass defines `init(*args, **kwargs)`, which returns the state, and those of handle_call(request, from_, state),
    handle_cast(request, state), handle_info(message, state), handle_continue(x, state) that it wants. An exception in a
    callback ends the process; `terminate` then gets the state from before that callback.

    Declared `Parameter`s are attributes of the server. A class that defines `set_state(saved, state)`, which returns the state to
    go on with, has its state kept in checkpoints and given back at a start; `get_state(state)` may say what is kept instead.

    In a hot swap the new version goes on with the state of the old one, and its `init` is not run. `code_change(old_version, state,
    extra)`, where the class defines it, returns what that state is in this version; an exception in it refuses the swap. Of a
    class with `set_state` init is run, and what `get_state` of the old one returned is given to `set_state` first. On the way back
    the old version comes from the class that is left: its `code_change(("down", version), state, extra)` is run, on a copy (with
    `set_state`: of what `get_state` returned). A state that was kept by another version goes through code_change, too. Queued
    messages and timers of the old one move; code_change may start new ones, those of an init that is run here are dropped.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "dspex_runtime.params.parameter" in sys.modules:  # else nobody can have declared one
            from dspex_runtime.host.server_cells import check_class

            check_class(cls)

    def terminate(self, reason: ExitReason, state: Any) -> None:
        """Clean up. Runs once when the process ends in any way but a kill; not when init failed."""

    def format_status(self, status: dict[str, Any]) -> dict[str, Any]:
        """Return what may be shown, in crash reports and by `get_status`: hide secrets, shorten. Change nothing in place.

        Args:
            status: Those of "state", "message" (the last one), "reason" and "log" that are there. What is left out of the
                result is not shown. When this raises, or returns anything else, the report says that instead.
        """
        return status


def idempotent(function: F) -> F:
    """Declare that a method may be retried: a call in flight when the process dies is sent again with the same key.

    Within one process a key is never run twice: the recorded answer is given.
    """
    function.__dspex_idempotent__ = True  # type: ignore[attr-defined]
    return function


def reply(from_: Any, value: Any) -> bool:
    """Answer a call whose handle_call returned `NoReply`; exactly one answer wins, from any thread of any process.

    `from_` may be sent to others: cast to another server, returned to a client, kept in a state. An answer from another
    process goes to the one that got the call, which passes it on even while it is busy or suspended.

    Returns:
        False when it was answered before, its client is gone, or the process that got the call is.
    """
    if isinstance(from_, deferred.From) and not from_.is_here:
        return _reply_elsewhere(from_, value)
    loop = Process.loop
    if loop is None:
        raise RuntimeError("reply() needs the from_ of a handle_call")
    return loop.calls.answer_later(from_, value)


def _reply_elsewhere(from_: deferred.From, value: Any) -> bool:
    if not from_.is_of_our_runtime:
        if deferred.elsewhere is None:
            raise RuntimeError(f"nothing here knows the way to {from_.id!r}: connect to its runtime first")
        return deferred.elsewhere(from_, value)
    try:
        return bool(parent.ask("module_op", deferred.question(from_, value)))
    except (CallError, RuntimeUnreachableError):
        return False


def send_after(seconds: float, message: Any) -> Timer:
    """Send a message to this server's own handle_info after so many seconds; safe from any thread of the process.

    In `init` too: the time counts from there, the message is handled after it (and after the handle_continue it asks for).
    """
    mail = Process.mail
    if mail is None or Process.server is None:
        raise RuntimeError("send_after() works inside a GenServer's process, from its init on")
    return mail.start_timer(seconds, message)


def cancel_timer(timer: Timer) -> float | None:
    """Cancel a timer; return the seconds it had left, or None when its message is already queued or delivered."""
    mail = Process.mail
    return mail.cancel_timer(timer) if mail is not None else None
