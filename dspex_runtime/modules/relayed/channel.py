"""How a running call tells its caller something: items of its stream, in the order in which things happened. Host side.

As far as the caller has given credit: whoever tells more waits. From any thread of the call.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from dspex_runtime.host.context import CallCancelledError, Process
from dspex_runtime.host.streams import LoopWindow, ThreadWindow
from dspex_runtime.modules.relay import codec as relay_codec
from dspex_runtime.wire import messages as m

if TYPE_CHECKING:
    from dspex_runtime.host.mailbox import Request


class Channel(Protocol):
    """Takes what is told."""

    def tell(self, item: list[Any]) -> None:
        """Send an item.

        Raises:
            CallCancelledError: Nobody hears it any more.
        """
        ...


class ThreadChannel:
    """Of a call on a call thread: whoever tells something sends it."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._lock = threading.Lock()  # one at a time: a window wakes one of those who wait
        request.stream = self._window = ThreadWindow(request.credit)
        request.cancel = self._window.close
        if request.cancelled:  # before there was a window to close
            self._window.close()

    def tell(self, item: list[Any]) -> None:
        """Send an item, as soon as there is credit for it."""
        data = relay_codec.pack(item)
        with self._lock:
            self._window.take()
            send(self._request, data)


class LoopChannel:
    """Of a call on the loop thread, where nothing may wait: a task sends what was told."""

    def __init__(self, request: Request) -> None:
        import asyncio

        self._request = request
        self._loop = asyncio.get_running_loop()
        self._items: deque[bytes | None] = deque()
        self._more = asyncio.Event()
        request.stream = self._window = LoopWindow(request.credit, self._loop)
        self._task = self._loop.create_task(self._send_all())

    def tell(self, item: list[Any]) -> None:
        """Queue an item."""
        if self._task.done():
            raise CallCancelledError("the client of the stream is gone")
        self._put(relay_codec.pack(item))

    def _put(self, data: bytes | None) -> None:
        self._items.append(data)
        self._loop.call_soon_threadsafe(self._more.set)

    async def _send_all(self) -> None:
        while True:
            while self._items:
                data = self._items.popleft()
                if data is None:
                    return
                await self._window.take()
                send(self._request, data)
            self._more.clear()
            await self._more.wait()

    async def finish(self) -> None:
        """Return when all is sent."""
        self._put(None)
        await self._task

    def close(self) -> None:
        """Send nothing more."""
        self._task.cancel()


def send(request: Request, data: bytes) -> None:
    """Send one item of a request's stream; raises CallCancelledError when nobody takes it."""
    assert request.peer is not None
    if request.cancelled or not request.peer.send([m.ITEM, request.id, data]):
        raise CallCancelledError("the client of the stream is gone")


@contextmanager
def heard() -> Iterator[None]:
    """While a call tells something, the credit for it is read without delay."""
    if Process.loop is None:
        yield
    else:
        with Process.loop.streaming():
            yield
