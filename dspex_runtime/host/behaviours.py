"""The GenServer behaviour: the base class, what callbacks return, and the functions they may call.

Owns the public words only; what a returned value leads to is decided in `genserver.py`.
Source: OTP gen_server; callback results as Elixir's GenServer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.host.context import Process, self_id
from dspex_runtime.host.timers import Timer

__all__ = ["GenServer", "Ignore", "NoReply", "Reply", "Stop", "cancel_timer", "idempotent", "reply", "self_id", "send_after"]

F = TypeVar("F", bound=Callable[..., Any])


class _Nothing:
    """Marks an argument that was not given; None is a value."""

    def __repr__(self) -> str:
        return "<nothing>"


NOTHING: Final = _Nothing()


# Plain classes with slots: one is made for every call, and a frozen dataclass costs three times as much to build.
class Reply:
    """handle_call: answer `value`, go on with `state`; then run handle_continue(continue_) before anything queued."""

    __slots__ = ("continue_", "state", "value")

    def __init__(self, value: Any, state: Any, *, continue_: Any = NOTHING) -> None:
        self.value = value
        self.state = state
        self.continue_ = continue_

    def __repr__(self) -> str:
        return f"Reply({self.value!r}, {self.state!r})"


class NoReply:
    """Go on with `state`; a call stays open until somebody answers it with `dx.reply(from_, value)`."""

    __slots__ = ("continue_", "state")

    def __init__(self, state: Any, *, continue_: Any = NOTHING) -> None:
        self.state = state
        self.continue_ = continue_

    def __repr__(self) -> str:
        return f"NoReply({self.state!r})"


class Stop:
    """End the process with `reason`: terminate(reason, state) runs, then `reply` is sent, then it exits.

    From `init` it means that the start failed.
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


class GenServer:
    """A process with a state and a mailbox; callbacks run one at a time, on one thread.

    A subclass defines `init(*args, **kwargs)`, which returns the state, and those of handle_call(request, from_, state),
    handle_cast(request, state), handle_info(message, state), handle_continue(x, state) that it wants. An exception in a
    callback ends the process; `terminate` then gets the state from before that callback.
    """

    def terminate(self, reason: ExitReason, state: Any) -> None:
        """Clean up. Runs once when the process ends in any way but a kill; not when init failed."""

    def format_status(self, status: dict[str, Any]) -> dict[str, Any]:
        """Return the status as it may be shown (reports, `dspex info`): hide secrets, shorten."""
        return status


def idempotent(function: F) -> F:
    """Declare that a method may be retried: a call in flight when the process dies is sent again with the same key.

    Within one process a key is never run twice: the recorded answer is given.
    """
    function.__dspex_idempotent__ = True  # type: ignore[attr-defined]
    return function


def reply(from_: Any, value: Any) -> bool:
    """Answer a call whose handle_call returned `NoReply`; exactly one answer wins, from any thread of the process.

    Returns:
        False when it was answered before or its client is gone.
    """
    loop = Process.loop
    if loop is None:
        raise RuntimeError("reply() works inside the process that got the call")
    return loop.calls.answer_later(from_, value)


def send_after(seconds: float, message: Any) -> Timer:
    """Send a message to this server's own handle_info after so many seconds; safe from any thread of the process."""
    loop, server = Process.loop, Process.server
    if loop is None or server is None:
        raise RuntimeError("send_after() works inside a GenServer's process")
    return loop.start_timer(seconds, message)


def cancel_timer(timer: Timer) -> float | None:
    """Cancel a timer; return the seconds it had left, or None when its message is already queued or delivered."""
    loop = Process.loop
    return loop.cancel_timer(timer) if loop is not None else None
