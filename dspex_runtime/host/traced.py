"""A server's callbacks as they run while somebody watches: the same, with an event before and after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from dspex_runtime.host.debug import Debug
from dspex_runtime.host.hosted import NO_REPLY, Entry, ProcessEndedError
from dspex_runtime.host.mailbox import Request

_KINDS: Final = {"$call": "call", "$cast": "cast", "$info": "info"}


def traced(entry: Entry, debug: Debug, state: Callable[[], Any]) -> Entry:
    """Return the entry with its events; `state` gives the server's state."""

    def run(request: Request) -> Any:
        message = request.args[0] if len(request.args) == 1 else request.args
        debug.event(("in", _KINDS[entry.name], message, client_of(request)), state())
        try:
            value = entry.function(request)
        except ProcessEndedError as end:
            if end.reply is not NO_REPLY:
                sent(debug, request, end.reply, state())
            raise
        if value is NO_REPLY:
            debug.event(("noreply", state()), state())
        else:
            sent(debug, request, value, state())
        return value

    return replace(entry, function=run)


def sent(debug: Debug, request: Request, value: Any, state: Any) -> None:
    """Tell that an answer goes out."""
    debug.event(("out", value, client_of(request), state), state)


def client_of(request: Request) -> str:
    """Return who sent a request; "" for what the process sent to itself."""
    return request.peer.client if request.peer is not None else ""
