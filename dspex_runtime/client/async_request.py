"""The asyncio twin of `request`: a request that is sent now and waited for later is a task. Never starts a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from math import inf
from typing import Any, Self

from dspex_runtime.client.async_calls import Attempts, answered
from dspex_runtime.client.ref import Ref
from dspex_runtime.client.request import NO_REPLY, RequestCore, unanswered
from dspex_runtime.client.session import Session


class Request(RequestCore[asyncio.Task[Any]]):
    """One request on its way, a task; see `request.Request`."""

    def __init__(self, id: str, work: Coroutine[Any, Any, Any]) -> None:
        super().__init__(id, asyncio.ensure_future(work))

    @classmethod
    def sending(
        cls,
        session: Session,
        id: str,
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        timeout: float | None,
        *,
        waits: bool = False,
    ) -> Self:
        """Send a request at once: before whatever the caller sends next, without waiting for a target that is not ready."""
        attempts: Attempts | None = None
        try:
            attempts = Attempts(session, id, method, timeout, waits=waits)
            attempts.send_now([*args], kwargs)
        except Exception as exc:  # it comes as the answer
            if attempts is not None:
                attempts.give_up()
            return cls(id, _failed(exc))
        request = cls(id, answered(attempts, [*args], kwargs))
        request.task.add_done_callback(lambda _: attempts.give_up())  # it may be cancelled before it has begun to wait
        return request

    @classmethod
    def of_server(cls, ref: Ref, request: Any, timeout: float | None = None) -> Self:
        """Send a GenServer request; it has no time-out of its own, as OTP's send_request."""
        return cls.sending(ref.session, ref.id, "$call", (request,), {}, inf if timeout is None else timeout)

    @property
    def task(self) -> asyncio.Task[Any]:
        """The task: its `future`."""
        return self.future

    async def wait(self, timeout: float | None = None) -> Any:
        """Return the reply, or raise what the call raised; after a time-out (CallTimeoutError) it may be waited for again."""
        done, _ = await asyncio.wait({self.task}, timeout=timeout)
        if not done:
            assert timeout is not None  # only what has an end can time out
            raise unanswered(self.id, timeout)
        return self._result()

    async def receive(self, timeout: float | None = None) -> Any:
        """Return the reply as `wait` does; at the time-out the request is abandoned."""
        try:
            return await self.wait(timeout)
        except BaseException:
            self.cancel()
            raise

    def check(self, default: Any = NO_REPLY) -> Any:
        """Return the reply if it is here, or raise what the call raised; else `default`."""
        return self._result() if self.done else default

    def _result(self) -> Any:
        if self.task.cancelled():
            raise self.was_cancelled()
        return self.task.result()


async def _failed(error: Exception) -> Any:
    raise error
