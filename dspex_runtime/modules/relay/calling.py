"""A call of a proxy: made in its module's process, and everything comes out here as if it had run here. Client side.

Owns the order of the steps. A call of which nothing is to be told while it runs is one round trip; what is to be told (callbacks,
chunks, log records) comes as items of a stream before the answer.
"""

from __future__ import annotations

from typing import Any, NoReturn

from dspex_runtime.modules.relay import stragglers as relay_stragglers
from dspex_runtime.modules.relay.context import Context, context_of, kept_of_call, settings_now
from dspex_runtime.modules.relay.events import Hearing, live_of
from dspex_runtime.modules.relay.protocol import ARELAY, RELAY, Mirror, Ref
from dspex_runtime.modules.relay.record import Landing


class _Call:
    """One call of which something is to be told, or with settings of the caller's, until its answer is in its places."""

    __slots__ = ("_context", "_message", "hearing", "landing", "live", "streams")

    def __init__(self, mirror: Mirror, now: dict[str, Any], message: list[Any], context: Context | None) -> None:
        self._message = message
        self._context = context
        self.live = message[5] is not None
        self.streams = self.live and message[5]["stream"] is not None
        self.landing = Landing(now, mirror)
        self.hearing = Hearing(now, mirror, self.landing) if self.live else None

    def message(self) -> list[Any]:
        """Return the arguments of the hosted method."""
        if self._context is not None:
            self._message[3] = self._context.message()
        return self._message

    def is_answered(self, answer: list[Any]) -> bool:
        """Return whether the call was run: a host that misses objects of the caller's asks for them once."""
        if len(answer) == 2:
            return True
        assert self._context is not None
        self._context.forget_sent(answer[2])
        return False

    def failed(self, error: BaseException) -> BaseException:
        """Return what is to be raised for what the call raised."""
        return self.landing.error(error, self.hearing.told if self.hearing is not None else {})


def call(ref: Ref, mirror: Mirror, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a call of a proxy.

    Raises:
        UnserialisableError: A setting or an argument cannot cross.
        Exception: What the module raised, and what `ref.call` raises.

    Cost: 5 us more than `ref.call`, here and in the host together, where nothing is to be told.
    """
    now = settings_now()
    message, context = _message(now, ref, mirror, args, kwargs)
    item = relay_stragglers.item_of_caller()
    if item is not None:
        return relay_stragglers.run(item, lambda racer: _made(_Call(mirror, now, message, context), ref, racer))
    if context is not None or message[5] is not None:
        return _made(_Call(mirror, now, message, context), ref, None)
    try:
        value, record = ref.call(RELAY, *message)
    except Exception as error:
        _raise(error, Landing(now, mirror).error(error, {}))
    return value if record is None else Landing(now, mirror).value(value, record)


def _message(
    now: dict[str, Any], ref: Ref, mirror: Mirror, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[list[Any], Context | None]:
    """Return the arguments of the hosted method but for the context, and that."""
    overlay = mirror.overlay()
    context = context_of(now, kwargs, ref)
    return [[*args], kwargs, overlay, None, kept_of_call(now), live_of(now, mirror, context)], context


def _raise(error: Exception, raised: BaseException) -> NoReturn:
    if raised is error:
        raise error
    raise raised from raised.__cause__


def _made(call: _Call, ref: Ref, racer: relay_stragglers.Racer | None) -> Any:
    try:
        while True:
            if racer is None and not call.live:
                answer = ref.call(RELAY, *call.message())
            else:
                with ref.stream(RELAY, *call.message()) as stream:
                    if racer is not None:
                        racer.stream = stream  # from here on another thread closes it when this one has lost
                        if racer.lost:
                            stream.close()
                    answer = _heard(call, stream)
            if call.is_answered(answer):
                return call.landing.value(*answer)
    except Exception as error:
        _raise(error, call.failed(error))


def _heard(call: _Call, stream: Any) -> list[Any]:
    if not call.streams:
        for told in stream:
            assert call.hearing is not None
            call.hearing.hear(told)
    else:
        from dspex_runtime.modules.relay import consumer  # imports asyncio

        with consumer.watched(stream.close):
            for told in stream:
                assert call.hearing is not None
                send = call.hearing.hear(told)
                if send is not None:
                    consumer.send(send)
    answer: list[Any] = stream.value
    return answer


async def acall(ref: Ref, mirror: Mirror, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`call` for tasks; cancelling the task cancels the call."""
    now = settings_now()
    message, context = _message(now, ref, mirror, args, kwargs)
    call = _Call(mirror, now, message, context)
    try:
        while True:
            if not call.live:
                answer = await ref.acall(ARELAY, *call.message())
            else:
                answer = await _astreamed(ref, call)
            if call.is_answered(answer):
                return call.landing.value(*answer)
    except Exception as error:
        _raise(error, call.failed(error))


async def _astreamed(ref: Ref, call: _Call) -> list[Any]:
    async with ref.astream(ARELAY, *call.message()) as stream:
        async for told in stream:
            assert call.hearing is not None
            send = call.hearing.hear(told)
            if send is not None:
                await send()
        answer: list[Any] = stream.value
        return answer
