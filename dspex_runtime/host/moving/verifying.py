"""Whether a new version is fit to serve, before anything is moved: asked of the caller's function, of a method, of a command.

    {"pickled": function}   called with the module, or with a server's state; one that takes two gets (server, state)
    {"call": method}        a module's own method, without arguments; a server is sent that as a request: handle_call runs
    {"command": [argv]}     a program, in the module's folder; DSPEX_ID, DSPEX_VERSION and DSPEX_PID say who asks. Status 0 is well

What returns False, raises or does not answer refuses (SwapError "verify"); any other answer, None too, is well. A server's state
is a copy, of which nothing is kept. Runs on the main thread of a process in rehearsal. Undoes nothing: `rehearsing` does.
"""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.errors import SwapError
from dspex_runtime.host import commands
from dspex_runtime.host.behaviours import NoReply, Reply, Stop
from dspex_runtime.host.genserver import ServerHost
from dspex_runtime.host.mailbox import Request
from dspex_runtime.host.moving import migration
from dspex_runtime.host.moving.copied import Copied

if TYPE_CHECKING:
    from dspex_runtime.host.hosted import Hosted
    from dspex_runtime.wire.codec import Codec

__all__ = ["VERIFY", "verify"]

VERIFY: Final = "verify"  # code of the SwapError
TIMEOUT_S: Final = 3600.0  # of a command that nobody gave one: the swap itself has a shorter one


def verify(how: Mapping[str, Any], hosted: Hosted, codec: Codec, *, id: str) -> None:
    """Return when the new version is fit to serve.

    Args:
        how: See the module docstring; "timeout_s" may say how long a command has.
        hosted: The new version, with its state.
        codec: Of this process.
        id: Of the module.

    Raises:
        SwapError: It is not; says who says so.
    """
    match how:
        case {"pickled": bytes(data)}:
            function = migration.opened(data, "verify", id, code=VERIFY)
            _ask(lambda: function(*_arguments(function, hosted, codec)), "verify", id)
        case {"call": str(method)} if isinstance(hosted, ServerHost):
            _ask(lambda: _request(hosted, method, codec), f"handle_call({method!r}, ...)", id)
        case {"call": str(method)}:
            _ask(lambda: _method(hosted, method), f"{method}()", id)
        case {"command": command}:
            _command(command, float(how.get("timeout_s") or TIMEOUT_S), hosted, id)
        case _:
            raise SwapError(f"nothing is known of this way to verify {id!r}: {sorted(how)}", code=VERIFY, id=id)


def _ask(question: Callable[[], Any], what: str, id: str) -> None:
    answer = migration.run(question, f"{what} of the new version of {id!r}", id, code=VERIFY)
    if answer is False:
        raise SwapError(f"{what} of the new version of {id!r} returned False", code=VERIFY, id=id)


def _arguments(function: Any, hosted: Hosted, codec: Codec) -> tuple[Any, ...]:
    if not isinstance(hosted, ServerHost):
        return (hosted.program[0],)  # type: ignore[attr-defined] # a ModuleHost, which is of another layer
    state = Copied(hosted.get_state(), codec).one()
    try:
        inspect.signature(function).bind(hosted.server, state)
    except (TypeError, ValueError):
        return (state,)
    return hosted.server, state


def _method(hosted: Hosted, method: str) -> Any:
    entry = hosted.find(method)
    answer = entry.function()
    return asyncio.run(_awaited(answer)) if inspect.isawaitable(answer) else answer


async def _awaited(answer: Any) -> Any:
    return await answer


def _request(hosted: ServerHost, request: Any, codec: Codec) -> Any:
    """Return what a server answers to a request, in a copy of its state."""
    handle_call = getattr(hosted.server, "handle_call", None)
    if handle_call is None:
        raise SwapError(f"{hosted.name} has no handle_call to be asked with {request!r}", code=VERIFY)
    match handle_call(request, Request(None, 0, "$call", [request], {}), Copied(hosted.get_state(), codec).one()):
        case Reply(value=value):
            return value
        case NoReply():
            raise SwapError(f"{hosted.name} kept back its answer to {request!r} (dx.NoReply)", code=VERIFY)
        case Stop(reason=reason):
            raise SwapError(f"{hosted.name} stops when it is asked {request!r}: {reason!r}", code=VERIFY)
        case other:
            raise SwapError(f"{hosted.name}.handle_call returned {other!r:.300}; expected dx.Reply", code=VERIFY)


def _command(command: Any, timeout_s: float, hosted: Hosted, id: str) -> None:
    env = {"DSPEX_ID": id, "DSPEX_VERSION": hosted.version or "", "DSPEX_PID": str(os.getpid())}
    try:
        commands.run(command, timeout_s, env=env)
    except commands.CommandError as exc:
        text = f"the command {commands.shown(command)!r}, which verifies the new version of {id!r}, {exc}"
        raise SwapError(text, code=VERIFY, id=id) from None
