"""The asyncio twins of `requests`: a request is a task, a collection gives responses in completion order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Hashable
from math import inf
from time import monotonic
from typing import Any, Self

from dspex_runtime.client.async_calls import Attempts
from dspex_runtime.client.deadline import deadline_after, remaining_s
from dspex_runtime.client.ref import MODULE_CALL, Ref
from dspex_runtime.client.request import NO_REPLY
from dspex_runtime.client.requests import NO_REQUEST
from dspex_runtime.client.session import Session
from dspex_runtime.errors import CallTimeoutError, ConfigError


class Request:
    """One request on its way, a task; see `request.Request`."""

    def __init__(self, id: str, work: Coroutine[Any, Any, Any]) -> None:
        self.id = id
        self.task: asyncio.Task[Any] = asyncio.ensure_future(work)

    @classmethod
    def sending(
        cls, session: Session, id: str, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], timeout: float | None
    ) -> Self:
        """Send a request at once: before whatever the caller sends next, without waiting for a target that is not ready."""
        try:
            attempts = Attempts(session, id, method, timeout)
            attempts.send_now([*args], kwargs)
        except Exception as exc:  # it comes as the answer
            return cls(id, _failed(exc))
        request = cls(id, attempts.answer([*args], kwargs))
        request.task.add_done_callback(lambda _: attempts.give_up())  # it may be cancelled before it has begun to wait
        return request

    def __repr__(self) -> str:
        return f"<Request to {self.id!r}, {'done' if self.done else 'open'}>"

    async def wait(self, timeout: float | None = None) -> Any:
        """Return the reply, or raise what the call raised; after a time-out (CallTimeoutError) it may be waited for again."""
        done, _ = await asyncio.wait({self.task}, timeout=timeout)
        if not done:
            raise CallTimeoutError(f"{self.id!r} did not answer within {timeout:.3g} s", id=self.id)
        if self.task.cancelled():
            raise CallTimeoutError(f"the request to {self.id!r} was cancelled", id=self.id)
        return self.task.result()

    async def receive(self, timeout: float | None = None) -> Any:
        """Return the reply as `wait` does; at the time-out the request is abandoned."""
        try:
            return await self.wait(timeout)
        except BaseException:
            self.cancel()
            raise

    def check(self, default: Any = NO_REPLY) -> Any:
        """Return the reply if it is here, or raise what the call raised; else `default`."""
        if self.task.cancelled():
            raise CallTimeoutError(f"the request to {self.id!r} was cancelled", id=self.id)
        return self.task.result() if self.done else default

    @property
    def done(self) -> bool:
        """Whether `wait` would return or raise at once."""
        return self.task.done()

    @property
    def answered(self) -> bool:
        """Whether there is a reply, and no error."""
        return self.task.done() and not self.task.cancelled() and self.task.exception() is None

    def outcome(self) -> Any:
        """Return the reply, or the exception it ended with, of a request that is done."""
        if self.task.cancelled():
            return CallTimeoutError(f"the request to {self.id!r} was cancelled", id=self.id)
        error = self.task.exception()
        return error if error is not None else self.task.result()

    def cancel(self) -> None:
        """Abandon it: the module is told, a late reply is dropped."""
        self.task.cancel()


async def _failed(error: Exception) -> Any:
    raise error


class Requests:
    """Labelled requests under one absolute deadline; `async for` gives (label, reply or exception) in completion order.

    See `requests.Requests`; only the waiting differs.
    """

    def __init__(self, timeout: float | None = None, *, deadline: float | None = None) -> None:
        own = deadline_after(timeout, monotonic())
        self._deadline = deadline if own is None else own if deadline is None else min(own, deadline)
        self._requests: dict[asyncio.Task[Any], tuple[Hashable, Request]] = {}
        self._handled: set[asyncio.Task[Any]] = set()
        self._done: deque[asyncio.Task[Any]] = deque()
        self._changed = asyncio.Event()

    def send(self, server: Any, request: Any, label: Hashable = None) -> Request:
        """Send a request to a GenServer (of `dx.aio`); the label is the server's id when left out."""
        left_s = self.left_s()
        sent = Request.sending(server.session, server.id, "$call", (request,), {}, inf if left_s is None else left_s)
        return self.add(sent, label)

    def call(self, module: Ref, method: str = MODULE_CALL, /, *args: Any, label: Hashable = None, **kwargs: Any) -> Request:
        """Call a module's method; the label is the module's id when left out."""
        return self.add(Request.sending(module.session, module.id, method, args, kwargs, self.left_s()), label)

    def add(self, request: Request, label: Hashable = None) -> Request:
        """Add a request that is on its way; ConfigError when it is in this collection already."""
        if request.task in self._requests:
            raise ConfigError(f"{request!r} is in this collection already")
        self._requests[request.task] = (request.id if label is None else label, request)
        request.task.add_done_callback(self._finished)
        return request

    def left_s(self) -> float | None:
        """Return the seconds left for what is sent now, None for no deadline."""
        return None if self._deadline is None else max(0.0, self._deadline - monotonic())

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._done.append(task)
        self._changed.set()

    def __len__(self) -> int:
        return len(self._requests)

    async def wait(self, timeout: float | None = None, *, delete: bool = True) -> tuple[Hashable, Any] | str:
        """Return (label, reply or exception) of the next request that ends, "no_request" when the collection is empty."""
        if not self._requests:
            return NO_REQUEST
        own = deadline_after(timeout, monotonic())
        task = await self._next(own if self._deadline is None else self._deadline if own is None else min(own, self._deadline))
        if task is None:
            raise CallTimeoutError(f"none of {len(self._requests) - len(self._handled)} requests was answered in time")
        return self._response(task, delete=delete)

    async def receive(self, timeout: float | None = None, *, delete: bool = True) -> tuple[Hashable, Any] | str:
        """Return the next response as `wait` does; at the time-out all requests of the collection are abandoned."""
        try:
            return await self.wait(timeout, delete=delete)
        except BaseException:
            self.close()
            raise

    def check(self, *, delete: bool = True) -> tuple[Hashable, Any] | str:
        """Return the next response if it is here, "no_reply" when none is, "no_request" when the collection is empty."""
        if not self._requests:
            return NO_REQUEST
        task = self._take_done()
        return NO_REPLY if task is None else self._response(task, delete=delete)

    def _take_done(self) -> asyncio.Task[Any] | None:
        while self._done:
            task = self._done.popleft()
            if task in self._requests:  # not one that was abandoned
                return task
        return None

    async def _next(self, until: float | None) -> asyncio.Task[Any] | None:
        while True:
            self._changed.clear()
            task = self._take_done()
            if task is not None or len(self._handled) == len(self._requests):
                return task
            try:
                await asyncio.wait_for(self._changed.wait(), remaining_s(until))
            except TimeoutError:
                return self._take_done()

    def _response(self, task: asyncio.Task[Any], *, delete: bool) -> tuple[Hashable, Any]:
        label, request = self._requests[task]
        if delete:
            del self._requests[task]
        else:
            self._handled.add(task)
        return label, request.outcome()

    async def __aiter__(self) -> AsyncIterator[tuple[Hashable, Any]]:
        try:
            while len(self._requests) > len(self._handled):
                task = await self._next(self._deadline)
                if task is None:
                    break
                yield self._response(task, delete=True)
            for label, request in self._abandon():
                yield label, CallTimeoutError(f"{request.id!r} did not answer before the deadline", id=request.id)
        finally:
            self.close()

    def _abandon(self) -> list[tuple[Hashable, Request]]:
        handled, requests = self._handled, self._requests
        self._handled, self._requests = set(), {}
        left = [labelled for task, labelled in requests.items() if task not in handled]
        for _, request in left:
            request.cancel()
        return left

    def close(self) -> None:
        """Abandon what is not answered yet. Closing twice is fine."""
        self._abandon()
