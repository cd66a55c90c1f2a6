"""A relayed call in the host: the program runs with its caller's settings, and what it leaves goes back with its value.

One entry of the hosted module for each of `relay.protocol.METHODS`. Counted, recorded and repeated as "__call__". Owns the order of
the steps; what is noted and told is the business of `relayed.record` and `relayed.events`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from dspy.utils.callback import ACTIVE_CALL_ID

from dspex_runtime.host.context import current_request
from dspex_runtime.host.hosted import Entry
from dspex_runtime.host.streams import is_special, needs_stream
from dspex_runtime.host.tally import UNCOUNTED
from dspex_runtime.modules.degraded import note
from dspex_runtime.modules.dspy_settings import overrides
from dspex_runtime.modules.relay.protocol import ARELAY
from dspex_runtime.modules.relayed import context as relayed_context
from dspex_runtime.modules.relayed.objects import guests
from dspex_runtime.modules.relayed.record import Record
from dspex_runtime.modules.variants import module_for

CALL: Final = "__call__"  # what metrics and executions know a relayed call as
_settings_of: Final = relayed_context.settings_of


def entry(
    method: str, root: Any, *, has_forward: bool, has_aforward: bool, idempotent: bool, seen: Callable[[Any], Any] | None = None
) -> Entry:
    """Return how the program is called for a caller who waits, or who awaits (`ARELAY`).

    `seen` gives what is called of the program, or of a copy of it, where that is degraded.
    """
    awaited = has_aforward and (method == ARELAY or not has_forward)
    return Entry(method, partial(arun if awaited else run, _Program(root, seen)), on_loop=awaited, idempotent=idempotent)


class _Program:
    """What calls are for; see `entry`."""

    __slots__ = ("root", "seen")

    def __init__(self, root: Any, seen: Callable[[Any], Any] | None) -> None:
        self.root = root
        self.seen = seen

    def for_call(self, overlay: Any) -> Any:
        """Return the program, or a client's private copy of it."""
        module = self.root if overlay is None else module_for(self.root, overlay)
        if self.seen is None:
            return module
        note()
        return self.seen(module)


def run(program: _Program, args: list[Any], kwargs: dict[str, Any], overlay: Any, context: Any, want: int, live: Any) -> Any:
    """Run the program on this thread. For the arguments and the answer see `relay.protocol`."""
    if (missing := _missing(context)) is not None:
        return [None, None, missing]
    record = _record(program, kwargs, overlay, context, want)
    if live is not None:
        return _run_live(record, args, kwargs, context, live)
    token = overrides.set(_settings_of(context, record))
    try:
        value = record.module(*args, **kwargs)
    except BaseException as exc:
        record.attach(exc)
        raise
    finally:
        overrides.reset(token)
    return _answer(record, value)


async def arun(program: _Program, args: list[Any], kwargs: dict[str, Any], overlay: Any, context: Any, want: int, live: Any) -> Any:
    """`run` on the loop thread, in a task of its own: what it sets in its context ends with it."""
    if (missing := _missing(context)) is not None:
        return [None, None, missing]
    record = _record(program, kwargs, overlay, context, want)
    if live is not None:
        return await _arun_live(record, args, kwargs, context, live)
    overrides.set(_settings_of(context, record))
    try:
        value = await record.module.acall(*args, **kwargs)
    except BaseException as exc:
        record.attach(exc)
        raise
    return _answer(record, value)


def _missing(context: Mapping[str, Any] | None) -> list[str] | None:
    """Take the caller's objects; returns the tokens of those that the caller takes for known and that are not here."""
    missing = guests.take(context["objects"]) or None if context is not None else None
    request = current_request.get()
    if request is not None:
        request.method = CALL if missing is None else UNCOUNTED
    return missing


def _record(program: _Program, kwargs: dict[str, Any], overlay: Any, context: Mapping[str, Any] | None, want: int) -> Record:
    """Return the record that a call begins with; its arguments get what was given by token."""
    module = program.for_call(overlay)
    if context is None:
        return Record(module, want)
    kwargs.update((name, guests.get(token)) for name, token in context["given"].items())
    return Record(module, want, [told[0] for told in context["objects"]])


def _answer(record: Record, value: Any) -> Any:
    """Return the answer for a value; an awaitable one is awaited by whoever called us."""
    if is_special(value):
        if hasattr(type(value), "__await__"):
            return _awaited(record, value)
        raise needs_stream(CALL, value)
    return [value, record.packed(value)]


async def _awaited(record: Record, value: Any) -> Any:
    return [await value, record.packed(None)]


# -- live


def _run_live(record: Record, args: list[Any], kwargs: dict[str, Any], context: Any, live: Mapping[str, Any]) -> Any:
    from dspex_runtime.modules.relayed.channel import ThreadChannel, heard

    with heard():
        made = _live_settings(record, live, ThreadChannel(_request()).tell)
        token, around = overrides.set(_settings_of(context, record, made)), ACTIVE_CALL_ID.set(live["call_id"])
        try:
            call = _on_own_loop if live["stream"] is not None else _call
            value = call(record.module, args, kwargs)
        except BaseException as exc:
            record.attach(exc)
            raise
        finally:
            ACTIVE_CALL_ID.reset(around)
            overrides.reset(token)
    return _answer(record, value)


async def _arun_live(record: Record, args: list[Any], kwargs: dict[str, Any], context: Any, live: Mapping[str, Any]) -> Any:
    from dspex_runtime.modules.relayed.channel import LoopChannel

    channel = LoopChannel(_request())
    overrides.set(_settings_of(context, record, _live_settings(record, live, channel.tell)))
    ACTIVE_CALL_ID.set(live["call_id"])
    try:
        try:
            value = await record.module.acall(*args, **kwargs)
        except BaseException as exc:
            record.attach(exc)
            if isinstance(exc, Exception):
                await channel.finish()
            raise
        await channel.finish()
    finally:
        channel.close()
    return _answer(record, value)


def _live_settings(record: Record, live: Mapping[str, Any], tell: Any) -> dict[str, Any]:
    """Return the settings through which a call tells what happens in it."""
    from dspex_runtime.modules.relayed import events as relayed_events
    from dspex_runtime.modules.relayed import logs as relayed_logs

    made: dict[str, Any] = {}
    record.tell, record.logs = tell, live["logs"]
    if live["logs"] is not None:
        relayed_logs.listen()
    if live["kinds"]:
        callbacks = relayed_events.Callbacks(record.module, record.names, live, tell)
        record.number_of = callbacks.number_of
        made["callbacks"] = [*relayed_context.own_callbacks(), callbacks]
    if live["stream"] is not None:
        listened = [record.names.part(name) if name is not None else None for name in live["stream"]["listeners"]]
        made["send_stream"] = relayed_events.SendStream(record.names, tell)
        made["stream_listeners"] = [relayed_events.Listener(part) for part in listened]
    return made


def _call(module: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
    return module(*args, **kwargs)


def _on_own_loop(module: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """Run a program as dspy's `streamify` runs a sync one: in a worker thread of a loop, through which it sends its chunks."""
    import anyio
    import anyio.to_thread

    async def main() -> Any:
        return await anyio.to_thread.run_sync(partial(module, *args, **kwargs))

    return anyio.run(main)


def _request() -> Any:
    request = current_request.get()
    if request is None or not request.credit:
        raise TypeError("a relayed call that tells what happens is read item by item: it was asked for as a plain call")
    return request
