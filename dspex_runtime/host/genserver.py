"""A hosted GenServer: turns requests into callbacks, and what callbacks return into the next state or the end.

Owns the state. Never sends, never waits, knows no channel: the loop does. Source: OTP gen_server (otp-semantics §2.3, §2.4).
"""

from __future__ import annotations

import inspect
import logging
import sys
import time
from collections.abc import Callable, Mapping
from math import inf
from typing import TYPE_CHECKING, Any

from dspex_runtime.errors import StartError
from dspex_runtime.exit_reason import ExitReason, own_reason
from dspex_runtime.host import sub_modules
from dspex_runtime.host.behaviours import NOTHING, Fail, GenServer, Ignore, NoReply, Reply, Stop
from dspex_runtime.host.debug import Debug
from dspex_runtime.host.hosted import NO_REPLY, NO_STATE, Declared, Entry, ProcessEndedError, QuietStartError, UnknownMethodError
from dspex_runtime.host.mailbox import Request
from dspex_runtime.host.status import formatted
from dspex_runtime.host.traced import traced
from dspex_runtime.types import Kind

if TYPE_CHECKING:
    from dspex_runtime.params.containers import Container

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
        self.debug: Debug | None = None
        self.continuing: Any = NOTHING  # what handle_continue is at, for the report of its end
        self._containers: list[Container] = []  # parameters that callbacks can change in place
        self._action: tuple[Any, float | None] | None = None  # what the last callback asked for: (continue_, timeout)
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

    def build(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Nothing: the server was made already, and the arguments are those of its init."""

    def parameters(self) -> list[Declared]:
        """Return the parameters declared in the class."""
        if "dspex_runtime.params.parameter" not in sys.modules:
            return []  # nobody can have declared one
        from dspex_runtime.host.server_cells import cells_of, watched

        found = cells_of(self.server)
        self._containers = watched(found)
        return found

    @property
    def changes_unsaid(self) -> bool:
        """Return whether there is a list or dict to watch."""
        return bool(self._containers)

    def changed(self) -> bool:
        """Return whether a list or dict may have been changed in place; of all else a cell tells its owner itself."""
        return any(container.changed() for container in self._containers)

    @property
    def mode(self) -> str:
        """A server has one mode."""
        return "eval"

    def set_mode(self, mode: str) -> None:
        """Nothing to switch."""

    @property
    def keeps_user_state(self) -> bool:
        """Return whether the class defines set_state(saved, state)."""
        return callable(getattr(type(self.server), "set_state", None))

    @property
    def keeps_state_itself(self) -> bool:
        """Return whether what is kept is the state as it is: there is no get_state(state) that makes something else of it."""
        return self.keeps_user_state and getattr(self.server, "get_state", None) is None

    def get_user_state(self) -> Any:
        """Return what the class's get_state(state) makes of the state, or the state itself."""
        if not self.keeps_user_state:
            return NO_STATE
        get_state = getattr(self.server, "get_state", None)
        return self.state if get_state is None else get_state(self.state)

    def set_user_state(self, saved: Any) -> None:
        """Go on with what the class's set_state(saved, state) returns."""
        if self.keeps_user_state:
            self.state = self.server.set_state(saved, self.state)  # type: ignore[attr-defined]

    @property
    def changes_code(self) -> bool:
        """Return whether the class defines code_change(old_version, state, extra)."""
        return callable(getattr(type(self.server), "code_change", None))

    def code_change(self, old_version: Any, state: Any, extra: Any) -> Any:
        """Return what the class's code_change makes of a state."""
        return self.server.code_change(old_version, state, extra)  # type: ignore[attr-defined]

    def get_rest(self) -> dict[str, Any]:
        """Return nothing: what a server has is its state."""
        return {}

    def set_rest(self, rest: Mapping[str, Any]) -> None:
        """Nothing was taken."""

    def start(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Run init; False for Ignore."""
        match self._init()(*args, **kwargs):
            case Ignore():
                return False
            case Stop() as stop:
                raise StartError(f"{self.name}.init stopped: {stop.reason!r}", reason=own_reason(stop.reason, "Stop"))
            case Fail() as failed:
                raise QuietStartError(f"{self.name}.init failed: {failed.reason!r}", reason=own_reason(failed.reason, "Stop"))
            case NoReply() as go_on:
                self._take("init", go_on)
            case Reply() as result:
                raise self._bad_start(result)
            case result if hasattr(result, "__await__"):
                raise self._bad_start(result)
            case state:
                self.state = state
        return True

    def check_start(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Instead of `start`, for one whose state comes from elsewhere: refuse what the next start could not do.

        Raises:
            StartError: There is no init, or it does not take these arguments.
        """
        init = self._init()
        try:
            inspect.signature(init).bind(*args, **kwargs)
        except TypeError as exc:
            raise StartError(f"{self.name}.init cannot be called with what it is given: {exc}") from None
        except ValueError:
            pass  # no signature to be had, of a callable written in C

    def has_more(self) -> bool:
        """Return whether a callback asked to continue, or to be told when nothing comes."""
        return self._action is not None

    def after_call(self) -> float | None:
        """Run handle_continue until none is asked for, before anything queued; return the plain time-out asked for last."""
        while (action := self._action) is not None:
            self._action = None
            value, timeout_s = action
            if value is NOTHING:
                return None if timeout_s == inf else timeout_s
            self.continuing = value
            self._without_reply("handle_continue", self._handle_continue, value)
            if self.debug is not None:
                self.debug.event(("noreply", self.state), self.state)
            self.continuing = NOTHING
        return None

    def find(self, method: str) -> Entry:
        """Return one of the three ways to reach a server."""
        entry = self._entries.get(method)
        if entry is None:
            raise UnknownMethodError(
                f"{self.name} is a GenServer and has no method {method!r}: send it a request with .call, .cast or .info_message"
            )
        return entry if self.debug is None else traced(entry, self.debug, lambda: self.state)

    @property
    def degrades(self) -> bool:
        """Return False: it takes another server to answer in its place."""
        return False

    def find_degraded(self, method: str, fallback: str | None) -> Entry | None:
        """Return how another server answers calls; casts and messages are handled as ever."""
        if method != "$call" or fallback is None:
            return None

        def ask(request: Request) -> Any:
            request.degraded = True
            timeout_s = None if request.deadline is None else max(0.0, request.deadline - time.monotonic())
            return sub_modules.fallback(fallback, self.kind).call(payload(request), timeout=timeout_s)

        return Entry(method, ask, takes_request=True, idempotent=self._entries[method].idempotent)

    def idempotent_methods(self) -> list[str]:
        """Return ["$call"] when handle_call is declared idempotent."""
        return [name for name, entry in self._entries.items() if entry.idempotent]

    def call_facts(self) -> dict[str, Any]:
        """Return that a request is one value, taken one by one."""
        return {"takes": None, "awaited": False}

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
        """Return the class, and the state and the log as `format_status` shows them."""
        return {"module": self.name, **formatted(self.server, {"state": self.state, "log": self._log()})}

    def report(self, message: Any, reason: ExitReason) -> dict[str, Any]:
        """Return what a crash report may show: state, last message, reason and log, as `format_status` shows them."""
        facts = {"state": self.state, "message": message, "reason": reason, "log": self._log()}
        return {"module": self.name, **formatted(self.server, facts)}

    def debugging(self, id: str, command: str, args: dict[str, Any]) -> Any:
        """Carry out a debug command; callbacks are watched from the next on, or no more."""
        debug = self.debug or Debug(id)
        answer = debug.command(command, args)
        self.debug = debug or None
        return answer

    def _init(self) -> Callable[..., Any]:
        init: Callable[..., Any] | None = getattr(self.server, "init", None)
        if init is None:
            raise StartError(f"{self.name}.init(...) is not defined: a GenServer's init returns its state")
        return init

    def _log(self) -> list[Any]:
        return self.debug.log if self.debug is not None else []

    def _on_call(self, request: Request) -> Any:
        if self._handle_call is None:
            raise self._undefined("handle_call(request, from_, state)", request)
        result = self._handle_call(payload(request), request, self.state)
        if type(result) is Reply:
            if result.action is not None and not _is_action(result.action):
                raise self._bad_action("handle_call", result)
            self.state = result.state
            self._action = result.action
            return result.value
        return self._other("handle_call", result)

    def _on_cast(self, request: Request) -> Any:
        return self._without_reply("handle_cast", self._handle_cast, payload(request))

    def _on_info(self, request: Request) -> Any:
        if self._handle_info is None:
            log.warning("%s has no handle_info: dropped the message %.200r", self.name, payload(request))
            return NO_REPLY
        return self._without_reply("handle_info", self._handle_info, payload(request))

    def _without_reply(self, name: str, callback: Callable[[Any, Any], Any] | None, value: Any) -> Any:
        if callback is None:
            raise self._undefined(f"{name}(...)", value)
        result = callback(value, self.state)
        if isinstance(result, Reply):
            raise self._bad_return(name, result, "dx.NoReply or dx.Stop")
        return self._other(name, result)

    def _other(self, name: str, result: Any) -> Any:
        """Take a result that is not the common Reply."""
        match result:
            case NoReply():
                self._take(name, result)
                return NO_REPLY
            case Stop():
                if result.state is not NOTHING:
                    self.state = result.state
                reply = NO_REPLY if result.reply is NOTHING else result.reply
                raise ProcessEndedError(own_reason(result.reason, "Stop"), reply=reply)
            case Reply():
                self._take(name, result)
                return result.value
            case _:
                expected = "dx.Reply, dx.NoReply or dx.Stop" if name == "handle_call" else "dx.NoReply or dx.Stop"
                raise self._bad_return(name, result, expected)

    def _take(self, name: str, result: Reply | NoReply) -> None:
        if result.action is not None and not _is_action(result.action):
            raise self._bad_start(result) if name == "init" else self._bad_action(name, result)
        self.state, self._action = result.state, result.action

    def _bad_return(self, name: str, result: Any, expected: str) -> ProcessEndedError:
        hint = "; callbacks are not async: use a thread, or a dspy module" if hasattr(result, "__await__") else ""
        if hasattr(result, "close"):
            result.close()  # a coroutine that is never awaited would warn later, far from here
        text = f"{self.name}.{name} returned {result!r:.300}; expected {expected}{hint}"
        return ProcessEndedError(("error", "BadReturnValue", text, ""))

    def _bad_action(self, name: str, result: Reply | NoReply) -> ProcessEndedError:
        return self._bad_return(name, result, f"continue_ or a timeout of 0 s and more, not {_action_text(result)}")

    def _bad_start(self, result: Any) -> StartError:
        expected = "the state, dx.NoReply(state, continue_=... or timeout=...), dx.Ignore, dx.Stop or dx.Fail"
        reason = self._bad_return("init", result, expected).reason
        return StartError(str(reason[2]), reason=reason)

    def _undefined(self, signature: str, value: Any) -> ProcessEndedError:
        text = f"{self.name}.{signature} is not defined; it was to handle {_shown(value)}"
        return ProcessEndedError(("error", "UndefinedFunctionError", text, ""))


def payload(request: Request) -> Any:
    """The one argument of "$call", "$cast" and "$info"; anything else is the client's mistake, never the server's end."""
    if len(request.args) == 1 and not request.kwargs:
        return request.args[0]
    return tuple(request.args) if not request.kwargs else (tuple(request.args), request.kwargs)


def _is_action(action: tuple[Any, Any]) -> bool:
    """One of the two, and a time-out that is one (NaN is not)."""
    value, timeout_s = action
    if value is not NOTHING:
        return timeout_s is None
    return type(timeout_s) in (int, float) and timeout_s >= 0


def _action_text(result: Reply | NoReply) -> str:
    assert result.action is not None
    value, timeout_s = result.action
    return f"timeout={timeout_s!r}" if value is NOTHING else f"both (timeout={timeout_s!r})"


def _shown(value: Any) -> str:
    return f"{payload(value) if isinstance(value, Request) else value!r:.200}"


def _is_idempotent(callback: Any) -> bool:
    return bool(getattr(callback, "__dspex_idempotent__", False))
