"""Items go out as far as the client's credit goes, and no generator is left open."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from dspex_runtime.host.context import CallCancelledError
from dspex_runtime.host.mailbox import Request
from dspex_runtime.host.streams import (
    LoopWindow,
    ThreadWindow,
    is_special,
    is_stream,
    needs_stream,
    send_async_items,
    send_items,
)
from dspex_runtime.wire import messages as m
from helpers.waiting import wait_until


class Reader:
    """A client that takes items until it goes away; as a `Peer`."""

    def __init__(self, *, leaves_after: int = 1000) -> None:
        self.items: list[Any] = []
        self.leaves_after = leaves_after

    def send(self, message: list[Any]) -> bool:
        if len(self.items) == self.leaves_after:
            return False
        assert message[:2] == [m.ITEM, 1]
        self.items.append(message[2])
        return True


def request(reader: Reader) -> Request:
    return Request(reader, 1, "method", [], {})  # type: ignore[arg-type]


class Source:
    """A generator that tells how far it went and whether it was closed; sync and async."""

    def __init__(self, n: int, *, error: BaseException | None = None) -> None:
        self.n = n
        self.error = error
        self.produced = 0
        self.closed = False

    def items(self) -> Iterator[int]:
        try:
            for number in range(1, self.n + 1):
                self.produced = number
                yield number
            if self.error is not None:
                raise self.error
            return "the end"
        finally:
            self.closed = True

    async def async_items(self) -> AsyncIterator[int]:
        try:
            for number in range(1, self.n + 1):
                self.produced = number
                yield number
            if self.error is not None:
                raise self.error
        finally:
            self.closed = True


def run(source: Source, reader: Reader, credit: int, *, asynchronous: bool) -> Any:
    """Send a whole source; return what the sender returns."""
    if not asynchronous:
        return send_items(request(reader), source.items(), ThreadWindow(credit))

    async def send() -> Any:
        window = LoopWindow(credit, asyncio.get_running_loop())
        return await send_async_items(request(reader), source.async_items(), window)

    return asyncio.run(send())


both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


@both
def test_the_end_of_a_stream_needs_no_credit(asynchronous: bool) -> None:
    reader, source = Reader(), Source(3)
    assert run(source, reader, 3, asynchronous=asynchronous) == (None if asynchronous else "the end")
    assert reader.items == [1, 2, 3]
    assert source.closed


@both
def test_an_error_comes_after_the_items_before_it(asynchronous: bool) -> None:
    reader, source = Reader(), Source(2, error=LookupError("mid-stream"))
    with pytest.raises(LookupError, match="mid-stream"):
        run(source, reader, 5, asynchronous=asynchronous)
    assert reader.items == [1, 2]
    assert source.closed


@both
def test_a_client_that_is_gone_closes_the_generator(asynchronous: bool) -> None:
    reader, source = Reader(leaves_after=1), Source(9)
    with pytest.raises(CallCancelledError):
        run(source, reader, 9, asynchronous=asynchronous)
    assert reader.items == [1]
    assert (source.produced, source.closed) == (2, True)


@both
def test_a_cancelled_request_sends_nothing_more(asynchronous: bool) -> None:
    reader, source = Reader(), Source(9)
    given_up = request(reader)
    given_up.cancelled = True

    async def send() -> None:
        await send_async_items(given_up, source.async_items(), LoopWindow(9, asyncio.get_running_loop()))

    with pytest.raises(CallCancelledError):
        asyncio.run(send()) if asynchronous else send_items(given_up, source.items(), ThreadWindow(9))
    assert reader.items == []
    assert source.closed


def test_a_call_thread_waits_for_credit() -> None:
    reader, source, window = Reader(), Source(4), ThreadWindow(1)
    thread = threading.Thread(target=send_items, args=(request(reader), source.items(), window))
    thread.start()
    wait_until(lambda: source.produced == 2, what="one item is made ahead of its credit")
    assert reader.items == [1]
    window.add(2)
    wait_until(lambda: source.produced == 4)
    assert reader.items == [1, 2, 3]
    window.add(1)
    thread.join(20)
    assert reader.items == [1, 2, 3, 4]


def test_whoever_waits_for_credit_ends_with_its_reader() -> None:
    source, window, raised = Source(9), ThreadWindow(1), []

    def send() -> None:
        try:
            send_items(request(Reader()), source.items(), window)
        except CallCancelledError as exc:
            raised.append(str(exc))

    thread = threading.Thread(target=send)
    thread.start()
    wait_until(lambda: source.produced == 2)
    window.close()
    thread.join(20)
    assert raised == ["the client ended the stream"]
    assert source.closed


def test_a_closed_window_gives_nothing_although_credit_is_left() -> None:
    window = ThreadWindow(5)
    window.close()
    with pytest.raises(CallCancelledError):
        window.take()


def test_a_task_waits_for_credit_given_on_any_thread() -> None:
    reader, source = Reader(), Source(4)

    async def send() -> None:
        window = LoopWindow(1, asyncio.get_running_loop())
        task = asyncio.create_task(send_async_items(request(reader), source.async_items(), window))
        while source.produced < 2:
            await asyncio.sleep(0)
        assert reader.items == [1]
        await asyncio.to_thread(window.add, 3)
        await asyncio.wait_for(task, 20)

    asyncio.run(send())
    assert reader.items == [1, 2, 3, 4]


def test_a_cancelled_task_closes_its_generator() -> None:
    source = Source(9)

    async def send() -> None:
        window = LoopWindow(1, asyncio.get_running_loop())
        task = asyncio.create_task(send_async_items(request(Reader()), source.async_items(), window))
        while source.produced < 2:
            await asyncio.sleep(0)
        window.close()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(send())
    assert source.closed


def test_an_iterator_without_close_is_read_to_its_end() -> None:
    reader = Reader()
    assert send_items(request(reader), iter([1, 2]), ThreadWindow(2)) is None
    assert reader.items == [1, 2]


async def coroutine() -> None:
    """Never awaited: only looked at."""


KINDS: dict[str, tuple[Any, bool, bool]] = {  # value, a stream, not yet a value
    "text": ("abc", False, False),
    "a list": ([1], False, False),
    "None": (None, False, False),
    "an object": (object(), False, False),
    "a range": (range(3), False, False),
    "an iterator": (iter([1]), True, True),
    "a generator": (Source(1).items(), True, True),
    "an async generator": (Source(1).async_items(), True, True),
}


@pytest.mark.parametrize(("value", "stream", "special"), KINDS.values(), ids=KINDS.keys())
def test_only_what_is_read_item_by_item_is_a_stream(value: Any, stream: bool, special: bool) -> None:
    assert (is_stream(value), is_special(value)) == (stream, special)


def test_an_awaitable_is_no_stream_and_not_yet_a_value() -> None:
    value = coroutine()
    assert (is_stream(value), is_special(value)) == (False, True)
    value.close()


def test_a_stream_asked_for_as_a_call_is_told_how_to_be_read() -> None:
    assert "use .stream(...)" in str(needs_stream("tokens", iter([1])))
