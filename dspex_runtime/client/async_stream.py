"""A streamed call of a task: the items as `stream` has them, over the loop's multiplexed pipe."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any

from dspex_runtime.client.async_calls import Attempts, cancelling_this_task
from dspex_runtime.client.mux import MuxLink, MuxRequest
from dspex_runtime.client.session import Session
from dspex_runtime.client.stream import CREDIT_ITEMS
from dspex_runtime.host.context import current_request, waking
from dspex_runtime.wire.messages import CREDIT, REPLY


class AsyncStream(AsyncIterator[Any]):
    """The items of one streamed call, as `stream.Stream`; sent at the first item asked for."""

    def __init__(
        self, session: Session, id: str, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], timeout: float | None
    ) -> None:
        self._attempts = Attempts(session, id, method, timeout)
        self._request = ([*args], kwargs)
        self._current: tuple[MuxLink, MuxRequest] | None = None
        self._finished = False
        self._taken = 0
        self.value: Any = None

    def __aiter__(self) -> AsyncStream:
        return self

    async def __anext__(self) -> Any:
        served = current_request.get()
        if served is None or served.handed_over:
            return await self._next()
        with waking(served, cancelling_this_task()):
            return await self._next()

    async def _next(self) -> Any:
        while not self._finished:
            if self._current is None:
                self._current = await self._begun()
                if self._finished:  # closed by another task
                    await self.aclose()
                    break
            link, request = self._current
            if request.items:
                return self._take(link, request)
            if not request.ended.done():
                await self._wait(request)
                continue
            await self._ended(link, request)
        raise StopAsyncIteration

    async def _begun(self) -> tuple[MuxLink, MuxRequest]:
        try:
            return await self._attempts.begin(*self._request, credit=CREDIT_ITEMS)
        except BaseException:
            self._attempts.give_up()
            raise

    def _take(self, link: MuxLink, request: MuxRequest) -> Any:
        self._taken += 1
        if self._taken % (CREDIT_ITEMS // 2) == 0:
            link.say([CREDIT, request.number, CREDIT_ITEMS // 2])
        return request.items.popleft()

    async def _wait(self, request: MuxRequest) -> None:
        request.waiter = asyncio.get_running_loop().create_future()
        try:
            await request.waiter
        except asyncio.CancelledError:
            await self.aclose()
            raise

    async def _ended(self, link: MuxLink, request: MuxRequest) -> None:
        self._current = None
        self._finished = True
        try:
            message = request.ended.result()
        except BaseException as exc:
            self._attempts.give_up()
            if isinstance(exc, TimeoutError):
                raise self._attempts.timed_out() from None
            raise
        if message is not None and message[0] == REPLY:
            self._attempts.give_up()
            self.value = message[2]
            return
        await self._attempts.again(link, request, message, started=self._taken > 0)
        self._finished = False

    async def aclose(self) -> None:
        """Cancel what has not come yet. Closing twice is fine."""
        self._finished = True
        current, self._current = self._current, None
        if current is not None:
            current[0].cancel(current[1])
            self._attempts.give_up()

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    def __del__(self) -> None:
        # `async for ...: break` closes nothing, and the garbage collector may run in any thread.
        current = getattr(self, "_current", None)
        if current is not None:
            current[0].cancel_soon(current[1])
            self._attempts.give_up()
