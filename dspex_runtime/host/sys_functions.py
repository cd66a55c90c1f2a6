"""OTP's sys functions in the process they are about: state, suspend, status, debug; and answers given elsewhere.

System messages do not queue with the others: they run on the main thread between two callbacks, behind what the same client
has sent and before all else, also while the server is suspended. Decides nothing about the end of the process.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, Final

from dspex_runtime.errors import CallError, UnserialisableError
from dspex_runtime.host.causes import error_text
from dspex_runtime.host.genserver import ServerHost
from dspex_runtime.host.hosted import Hosted
from dspex_runtime.host.loop_control import ControlledLoop
from dspex_runtime.host.mailbox import Request
from dspex_runtime.host.status import readable
from dspex_runtime.host.traced import sent
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.framing import frame

SYS_OPS: Final = frozenset({"get_state", "replace_state", "suspend", "resume", "status", "debug", "reply"})

Answer = Callable[[Callable[[], Any]], None]


class SysFunctions:
    """Serves them for one process.

    Args:
        loop: The loop.
        hosted: What it hosts.
        facts: Who this is: id, incarnation, pid.
        codec: Says what can be sent.
    """

    def __init__(self, loop: ControlledLoop, hosted: Hosted, facts: dict[str, Any], codec: Codec) -> None:
        self._loop = loop
        self._hosted = hosted
        self._facts = facts
        self._codec = codec

    def serve(self, op: str, args: dict[str, Any], answer: Answer) -> None:
        """Carry out one of SYS_OPS; `answer` is called with what gives the answer, now or on the main thread."""
        loop, hosted = self._loop, self._hosted

        def serve_on_main() -> None:
            answer(lambda: shielded(op, lambda: self._between_callbacks(op, args)))

        match op:
            case "reply":
                answer(lambda: self._reply(args["number"], args["value"]))
            case "resume":
                answer(lambda: loop.suspend(False))
            case "suspend" if not hosted.serial:  # calls that run on go on; a module has no "between two callbacks"
                answer(lambda: loop.suspend(True))
            case _ if hosted.serial:
                loop.run_behind(str(args.get("client", "")), serve_on_main)
            case _:
                loop.run_on_main(serve_on_main)

    def _between_callbacks(self, op: str, args: dict[str, Any]) -> Any:
        match op:
            case "suspend":
                return self._loop.suspend(True)
            case "get_state":
                return self._hosted.get_state()
            case "replace_state":
                return self._replace_state(_function(args["function"]))
            case "status":
                return self._status()
            case _:
                return self._debug(str(args["command"]), args)

    def _status(self) -> dict[str, Any]:
        counts = self._loop.counts()
        status = "suspended" if counts["suspended"] else "running"
        return {**self._facts, "status": status, **counts, **self._hosted.status()}

    def _reply(self, number: int, value: Any) -> bool:
        request = self._loop.deferred.find(number)
        return request is not None and self._loop.calls.answer_later(request, value)

    def watch(self) -> None:
        """Something was switched on or off: callbacks run watched, or unwatched, from now on."""
        hosted, calls = self._hosted, self._loop.calls
        if isinstance(hosted, ServerHost):
            calls.forget_entries()
            calls.on_reply = self._replied if hosted.debug is not None else None

    def _debug(self, command: str, args: dict[str, Any]) -> Any:
        hosted = self._hosted
        if not isinstance(hosted, ServerHost):
            raise CallError(f"{command} is for a GenServer; {self._facts['id']!r} is a module", id=self._facts["id"])
        if "function" in args:
            args = {**args, "function": _function(args["function"])}
        value = hosted.debugging(self._facts["id"], command, args)
        self.watch()
        return [self._sendable(event) for event in value] if isinstance(value, list) else value

    def _replace_state(self, function: Callable[[Any], Any]) -> Any:
        return self._hosted.replace_state(lambda state: self._answerable(function(state)))

    def _answerable(self, state: Any) -> Any:
        """Return a new state that its asker can be told; one that it cannot is not taken."""
        try:
            frame(self._codec.pack([m.REPLY, 0, state]))
        except UnserialisableError as exc:
            text = f"the state is as it was: the new one could not be sent back: {exc.message}"
            raise UnserialisableError(text, path=exc.path, hint=exc.hint) from None
        return state

    def _replied(self, request: Request, value: Any) -> None:
        hosted = self._hosted
        if isinstance(hosted, ServerHost) and hosted.debug is not None:
            sent(hosted.debug, request, value, hosted.state)

    def _sendable(self, event: tuple[Any, ...]) -> tuple[Any, ...]:
        try:
            self._codec.pack([event])
        except Exception:  # a lock in the state, a __reduce__ that raises: it is shown as text
            return tuple(map(readable, event))
        return event


def shielded(op: str, function: Callable[[], Any]) -> Any:
    """Run what may be the asker's or the user's code: it may fail, and not end the process (exit(), an interrupt)."""
    try:
        return function()
    except Exception:
        raise
    except BaseException as exc:
        error = CallError(f"{op} failed: {error_text(exc)}")
        error.code = "callback_failed"
        raise error from None


def _function(pickled: Any) -> Callable[..., Any]:
    """The client's function, as the codec already rebuilt it or as the bytes that cloudpickle made."""
    if callable(pickled):
        return pickled  # type: ignore[no-any-return]
    function: Callable[..., Any] = pickle.loads(pickled)
    return function
