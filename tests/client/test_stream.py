"""Streams: items in order, credit, early ends, deaths."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from dspex_runtime.client.ref import ModuleRef
from dspex_runtime.client.stream import CREDIT_ITEMS
from dspex_runtime.errors import CallTimeoutError, ProcessDownError
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.faults import to_fault
from dspex_runtime.wire.messages import CANCEL, CREDIT, FAULT, ITEM, REPLY


def counting(n: int, seen: list[Any]) -> Any:
    """A module that streams range(n) and never sends more than it has credit for."""

    def serve(pipe: Any) -> None:
        message = pipe.next()
        number, credit = message[1], message[7]
        for item in range(n):
            while credit == 0:
                message = pipe.next()
                if message is None:
                    return
                seen.append(message)
                credit += message[2] if message[0] == CREDIT else 0
            pipe.say(ITEM, number, item)
            credit -= 1
        pipe.say(REPLY, number, "end")
        while (message := pipe.next()) is not None:
            seen.append(message)

    return serve


def test_items_come_in_order_with_credit_renewed_at_half(runtime: Any, session: Any, module: Any) -> None:
    seen: list[Any] = []
    runtime.start("qa", module(counting(100, seen)))
    stream = ModuleRef(session, "qa").stream("words")
    assert list(stream) == list(range(100))
    assert stream.value == "end"
    assert all(message[0] == CREDIT and message[2] == CREDIT_ITEMS // 2 for message in seen)
    assert len(session.pool("qa").idle) == 1


def test_closing_early_cancels_the_call(runtime: Any, session: Any, module: Any) -> None:
    cancelled = threading.Event()

    def serve(pipe: Any) -> None:
        number = pipe.next()[1]
        pipe.say(ITEM, number, 0)
        while (message := pipe.next()) is not None:
            if message == [CANCEL, number]:
                cancelled.set()

    runtime.start("qa", module(serve))
    with ModuleRef(session, "qa").stream("words") as stream:
        assert next(stream) == 0
    assert cancelled.wait(20)
    assert list(stream) == []


def test_a_stream_that_is_dropped_cancels_the_call(runtime: Any, session: Any, module: Any) -> None:
    cancelled = threading.Event()
    runtime.start("qa", module(lambda pipe: (pipe.next(), pipe.next(), cancelled.set())))
    stream = ModuleRef(session, "qa").stream("words")
    del stream
    assert cancelled.wait(20)


def test_an_error_in_the_middle_is_raised_after_the_items_before_it(runtime: Any, session: Any, module: Any) -> None:
    def serve(pipe: Any) -> None:
        number = pipe.next()[1]
        pipe.say(ITEM, number, 0)
        pipe.say(FAULT, number, to_fault(ValueError("half way"), id="qa", incarnation=1, codec=Codec(pickle=True)))
        pipe.next()

    runtime.start("qa", module(serve))
    stream = ModuleRef(session, "qa").stream("words")
    assert next(stream) == 0
    with pytest.raises(ValueError, match="half way"):
        next(stream)
    assert list(stream) == []


@pytest.mark.parametrize("idempotent", [(), ("words",)], ids=["once", "idempotent"])
def test_a_stream_that_gave_items_is_never_begun_again(runtime: Any, session: Any, module: Any, idempotent: Any) -> None:
    def serve(pipe: Any) -> None:
        pipe.say(ITEM, pipe.next()[1], 0)
        pipe.die()

    runtime.start("qa", module(serve, idempotent=idempotent))
    stream = ModuleRef(session, "qa").stream("words", timeout=20)
    assert next(stream) == 0
    with pytest.raises(ProcessDownError):
        next(stream)


def test_the_time_out_covers_the_whole_stream(runtime: Any, session: Any, module: Any) -> None:
    runtime.start("qa", module(lambda pipe: (pipe.say(ITEM, pipe.next()[1], 0), pipe.next())))
    stream = ModuleRef(session, "qa").stream("words", timeout=1.0)
    assert next(stream) == 0
    with pytest.raises(CallTimeoutError):
        next(stream)
