"""The asyncio twin of `requests`: a collection gives responses in completion order. Owns the waiting of a task."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from dspex_runtime.client import async_ref, ref
from dspex_runtime.client.async_request import Request
from dspex_runtime.client.collection import NO_REQUEST, Collection, Response
from dspex_runtime.client.deadline import remaining_s


class Requests(Collection[Request]):
    """Labelled requests under one absolute deadline; `async for` gives (label, reply or exception) in completion order.

    See `requests.Requests`; only the waiting differs, and synchronous references are targets, too.
    """

    _request = Request
    _servers = (async_ref.ServerRef, ref.ServerRef)
    _modules = (async_ref.ModuleRef, ref.ModuleRef)

    def __init__(self, timeout: float | None = None, *, deadline: float | None = None) -> None:
        super().__init__(timeout, deadline=deadline)
        self._event = asyncio.Event()

    def _sent(self, ref: ref.Ref, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], timeout: float | None) -> Request:
        return Request.sending(ref.session, ref.id, method, args, kwargs, timeout)

    def _changed(self) -> None:
        self._event.set()

    async def wait(self, timeout: float | None = None, *, delete: bool = True) -> Response | str:
        """Return (label, reply or exception) of the next request that ends, "no_request" when the collection is empty."""
        if not self._requests:
            return NO_REQUEST
        task = await self._next(self._until(timeout))
        if task is None:
            raise self._none_in_time()
        return self._response(task, delete=delete)

    async def receive(self, timeout: float | None = None, *, delete: bool = True) -> Response | str:
        """Return the next response as `wait` does; at the time-out all requests of the collection are abandoned."""
        try:
            return await self.wait(timeout, delete=delete)
        except BaseException:
            self.close()
            raise

    async def _next(self, until: float | None) -> asyncio.Task[Any] | None:
        """Wait for the next that ends, until a moment; None when none does."""
        while True:
            self._event.clear()
            task: asyncio.Task[Any] | None = self._take()
            if task is not None or not self._open:
                return task
            try:
                await asyncio.wait_for(self._event.wait(), remaining_s(until))
            except TimeoutError:
                return self._take()

    async def responses(self) -> list[Response]:
        """Wait for the next response, and return it alone; at the deadline the errors of all that are left, which are given up."""
        task = await self._next(self._deadline)
        return list(self._given_up()) if task is None else [self._response(task, delete=True)]

    async def __aiter__(self) -> AsyncIterator[Response]:
        try:
            while self._open:
                for response in await self.responses():
                    yield response
        finally:
            self.close()
