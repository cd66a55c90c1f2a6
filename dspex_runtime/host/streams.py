"""Streams: items go out only as far as the client has given credit for; a client that stops reading stops the generator.

Owns the credit windows. An item is produced before its credit is waited for, so that the end of a stream needs none.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, Final, Protocol

from dspex_runtime.host.context import CallCancelledError
from dspex_runtime.wire import messages as m

if TYPE_CHECKING:
    import asyncio

    from dspex_runtime.host.mailbox import Request


_PLAIN: Final = frozenset((str, int, float, bool, dict, list, tuple, bytes, type(None)))


class CreditWindow(Protocol):
    """Where a CREDIT or CANCEL frame goes; both methods are safe from any thread."""

    def add(self, n: int) -> None:
        """Allow n more items."""
        ...

    def close(self) -> None:
        """Nobody reads any more."""
        ...


class ThreadWindow:
    """Credit that a call thread waits for."""

    def __init__(self, credit: int) -> None:
        self._credit = credit
        self._closed = False
        self._changed = threading.Condition()

    def add(self, n: int) -> None:
        """Allow n more items."""
        with self._changed:
            self._credit += n
            self._changed.notify()

    def close(self) -> None:
        """Nobody reads any more: end whoever waits."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def take(self) -> None:
        """Wait for credit for one item; raise `CallCancelledError` when nobody reads any more."""
        with self._changed:
            while not self._credit and not self._closed:
                self._changed.wait()
            if self._closed:
                raise CallCancelledError("the client ended the stream")
            self._credit -= 1


class LoopWindow:
    """Credit that a task on the loop thread waits for; closing it is done by cancelling the task."""

    def __init__(self, credit: int, loop: asyncio.AbstractEventLoop) -> None:
        import asyncio

        self._credit = credit
        self._loop = loop
        self._changed = asyncio.Event()

    def add(self, n: int) -> None:
        """Allow n more items."""
        self._loop.call_soon_threadsafe(self._add, n)

    def close(self) -> None:
        """Nothing to do: the task is cancelled."""

    def _add(self, n: int) -> None:
        self._credit += n
        self._changed.set()

    async def take(self) -> None:
        """Wait for credit for one item."""
        while not self._credit:
            self._changed.clear()
            await self._changed.wait()
        self._credit -= 1


def is_stream(value: Any) -> bool:
    """Return whether a method's result is an iterator or async iterator, which only `.stream` can take."""
    kind = type(value)
    return hasattr(kind, "__next__") or hasattr(kind, "__anext__")


def is_special(value: Any) -> bool:
    """Return whether a method's result is not yet its value: an iterator, an awaitable, an async iterator."""
    kind = type(value)
    return kind not in _PLAIN and (hasattr(kind, "__next__") or hasattr(kind, "__await__") or hasattr(kind, "__anext__"))


def needs_stream(method: str, value: Any) -> TypeError:
    """Return the error for a generator that was asked for as a plain call."""
    return TypeError(f"{method} returned {type(value).__name__!r}, which is read item by item: use .stream(...) instead of a call")


def send_items(request: Request, items: Iterator[Any], window: ThreadWindow) -> Any:
    """Send every item of an iterator, on a call thread; return the generator's own return value."""
    try:
        while True:
            try:
                item = next(items)
            except StopIteration as stop:
                return stop.value
            window.take()
            _send(request, item)
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            close()


async def send_async_items(request: Request, items: AsyncIterator[Any], window: LoopWindow) -> None:
    """Send every item of an async iterator, on the loop thread."""
    try:
        async for item in items:
            await window.take()
            _send(request, item)
    finally:
        close = getattr(items, "aclose", None)
        if close is not None:
            await close()


def _send(request: Request, item: Any) -> None:
    assert request.peer is not None
    if request.cancelled or not request.peer.send([m.ITEM, request.id, item]):
        raise CallCancelledError("the client of the stream is gone")
