"""A hosted GenServer: turns requests into callbacks, and what callbacks return into the next state or the end.

Owns the state. Never sends, never waits, knows no channel: the loop does. Source: OTP gen_server (otp-semantics §2.3, §2.4).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from dspex_runtime.errors import StartError
from dspex_runtime.exit_reason import ExitReason, is_exit_reason
from dspex_runtime.host.behaviours import NOTHING, GenServer, Ignore, NoReply, Reply, Stop
from dspex_runtime.host.hosted import NO_REPLY, Entry, ProcessEndedError, UnknownMethodError
from dspex_runtime.host.mailbox import Request
from dspex_runtime.types import Kind

log = logging.getLogger("dspex_runtime.server")


class ServerHost:
    """Hosts one GenServer."""

    kind = Kind.SERVER
    serial = True

    def __init__(self, server: GenServer) -> None:
        self.server = server
        self.name = type(server).__qualname__
        version = getattr(type(server), "__version__", None)
        self.version: str | None = version if isinstance(version, str) else None
        self.state: Any = None
        self._continue: Any = NOTHING
        # Looked up once: an attribute of the instance set later by a callback is not a callback.
        self._handle_call = getattr(server, "handle_call", None)
        self._handle_cast = getattr(server, "handle_cast", None)
        self._handle_info = getattr(server, "handle_info", None)
        self._handle_continue = getattr(server, "handle_continue", None)
        self._entries = {
            "$call": Entry("$call", self._on_call, takes_request=True, idempotent=_is_idempotent(self._handle_call)),
            "$cast": Entry("$cast", self._on_cast, takes_request=True),
            "$info": Entry("$info", self._on_info, takes_request=True),
        }

    def start(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Run init; False for Ignore."""
        init = getattr(self.server, "init", None)
        if init is None:
            raise StartError(f"{self.name}.init(...) is not defined: a GenServer's init returns its state")
        match init(*args, **kwargs):
            case Ignore():
                return False
            case Stop() as stop:
                reason = checked_reason(stop.reason)
                raise StartError(f"{self.name}.init stopped: {stop.reason!r}", reason=reason)
            case NoReply() as go_on:
                self.state, self._continue = go_on.state, go_on.continue_
            case state:
                self.state = state
        return True

    def after_start(self) -> None:
        """Run handle_continue where init asked for it."""
        self.after_call()

    def has_more(self) -> bool:
        """Return whether a callback asked to continue."""
        return self._continue is not NOTHING

    def after_call(self) -> None:
        """Run handle_continue until none is asked for; it goes before anything queued."""
        while self._continue is not NOTHING:
            value, self._continue = self._continue, NOTHING
            self._without_reply("handle_continue", self._handle_continue, value)

    def find(self, method: str) -> Entry:
        """Return one of the three ways to reach a server."""
        entry = self._entries.get(method)
        if entry is None:
            raise UnknownMethodError(
                f"{self.name} is a GenServer and has no method {method!r}: send it a request with .call, .cast or .info_message"
            )
        return entry

    def idempotent_methods(self) -> list[str]:
        """Return ["$call"] when handle_call is declared idempotent."""
        return [name for name, entry in self._entries.items() if entry.idempotent]

    def terminate(self, reason: ExitReason) -> None:
        """Run terminate with the state of the last callback that returned."""
        self.server.terminate(reason, self.state)

    def get_state(self) -> Any:
        """Return the state."""
        return self.state

    def replace_state(self, function: Callable[[Any], Any]) -> Any:
        """Set the state to function(state); when that raises the state stays."""
        self.state = function(self.state)
        return self.state

    def status(self) -> dict[str, Any]:
        """Return the state as `format_status` shows it."""
        return self.server.format_status({"module": self.name, "state": self.state})

    def _on_call(self, request: Request) -> Any:
        if self._handle_call is None:
            raise self._undefined("handle_call(request, from_, state)", request)
        result = self._handle_call(_payload(request), request, self.state)
        if type(result) is Reply:
            self.state = result.state
            self._continue = result.continue_
            return result.value
        return self._other("handle_call", result)

    def _on_cast(self, request: Request) -> Any:
        return self._without_reply("handle_cast", self._handle_cast, _payload(request))

    def _on_info(self, request: Request) -> Any:
        if self._handle_info is None:
            log.warning("%s has no handle_info: dropped the message %.200r", self.name, _payload(request))
            return NO_REPLY
        return self._without_reply("handle_info", self._handle_info, _payload(request))

    def _without_reply(self, name: str, callback: Callable[[Any, Any], Any] | None, value: Any) -> Any:
        if callback is None:
            raise self._undefined(f"{name}(...)", value)
        result = callback(value, self.state)
        if type(result) is Reply:
            raise self._bad_return(name, result, "dx.NoReply or dx.Stop")
        return self._other(name, result)

    def _other(self, name: str, result: Any) -> Any:
        """Take a result that is not the common Reply."""
        match result:
            case NoReply():
                self.state, self._continue = result.state, result.continue_
                return NO_REPLY
            case Stop():
                if result.state is not NOTHING:
                    self.state = result.state
                reply = NO_REPLY if result.reply is NOTHING else result.reply
                raise ProcessEndedError(checked_reason(result.reason), reply=reply)
            case Reply():
                self.state, self._continue = result.state, result.continue_
                return result.value
            case _:
                raise self._bad_return(name, result, "dx.Reply, dx.NoReply or dx.Stop")

    def _bad_return(self, name: str, result: Any, expected: str) -> ProcessEndedError:
        hint = "; callbacks are not async: use a thread, or a dspy module" if hasattr(result, "__await__") else ""
        if hasattr(result, "close"):
            result.close()  # a coroutine that is never awaited would warn later, far from here
        text = f"{self.name}.{name} returned {result!r:.300}; expected {expected}{hint}"
        return ProcessEndedError(("error", "BadReturnValue", text, ""))

    def _undefined(self, signature: str, value: Any) -> ProcessEndedError:
        text = f"{self.name}.{signature} is not defined; it was to handle {_shown(value)}"
        return ProcessEndedError(("error", "UndefinedFunctionError", text, ""))


def checked_reason(reason: Any) -> ExitReason:
    """Return a reason that every peer understands; any other term becomes an error with that term as its message."""
    if isinstance(reason, list):
        reason = tuple(reason)
    return reason if is_exit_reason(reason) else ("error", "Stop", reason if isinstance(reason, str) else repr(reason), "")


def _payload(request: Request) -> Any:
    """The one argument of "$call", "$cast" and "$info"; anything else is the client's mistake, never the server's end."""
    if len(request.args) == 1 and not request.kwargs:
        return request.args[0]
    return tuple(request.args) if not request.kwargs else (tuple(request.args), request.kwargs)


def _shown(value: Any) -> str:
    return f"{_payload(value) if isinstance(value, Request) else value!r:.200}"


def _is_idempotent(callback: Any) -> bool:
    return bool(getattr(callback, "__dspex_idempotent__", False))
