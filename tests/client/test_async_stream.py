"""Streams of tasks: credit, the value, early ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from dspex_runtime.client import aio
from dspex_runtime.wire.messages import CANCEL, CREDIT, ITEM, REPLY
from helpers.looped import go


def test_a_stream_renews_its_credit_and_ends_with_a_value(runtime: Any, session: Any, module: Any) -> None:
    def serve(pipe: Any) -> None:
        message = pipe.next()
        number, credit = message[1], message[7]
        for item in range(100):
            while credit == 0:
                message = pipe.next()
                credit += message[2] if message[0] == CREDIT else 0
            pipe.say(ITEM, number, item)
            credit -= 1
        pipe.say(REPLY, number, "end")
        pipe.next()

    runtime.start("qa", module(serve))

    async def main() -> Any:
        stream = aio.ModuleRef(session, "qa").stream("words")
        return [item async for item in stream], stream.value

    assert go(session, main()) == (list(range(100)), "end")


async def closes(ref: aio.ModuleRef) -> Any:
    async with ref.stream("words") as stream:
        return await anext(stream)


async def leaves(ref: aio.ModuleRef) -> Any:
    items = []
    async for item in ref.stream("words"):
        items.append(item)
        break
    return items[0]


@pytest.mark.parametrize("leave", [closes, leaves])
def test_a_stream_that_is_left_early_is_cancelled(
    runtime: Any, session: Any, module: Any, leave: Callable[[aio.ModuleRef], Coroutine[Any, Any, Any]]
) -> None:
    cancelled = threading.Event()

    def serve(pipe: Any) -> None:
        number = pipe.next()[1]
        pipe.say(ITEM, number, 0)
        if pipe.next() == [CANCEL, number]:
            cancelled.set()
        pipe.next()

    runtime.start("qa", module(serve))

    async def main() -> Any:
        first = await leave(aio.ModuleRef(session, "qa"))
        return first, await asyncio.to_thread(cancelled.wait, 20)

    assert go(session, main()) == (0, True)
