"""The asyncio twins of `ref`: references whose operations are awaited. Own nothing.

Calls of one loop share one pipe per module, many in flight; cancelling a task cancels its call in the module.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from dspex_runtime.client import checkpoints, compiling, ref_ops
from dspex_runtime.client.async_calls import acall, acast
from dspex_runtime.client.async_request import Request
from dspex_runtime.client.async_stream import AsyncStream
from dspex_runtime.client.deadline import SERVER_CALL_TIMEOUT_S
from dspex_runtime.client.ref import MODULE_CALL, PREDICT, Ref
from dspex_runtime.client.steps import arun, awaitable
from dspex_runtime.errors import CallError

if TYPE_CHECKING:
    from dspex_runtime.client.async_params import AsyncParams


class AsyncRef(Ref):
    """What both kinds of awaitable reference share."""

    __slots__ = ()

    params: AsyncParams  # type: ignore[assignment]  # the awaitable twin

    def _parameters(self) -> AsyncParams:  # type: ignore[override]
        from dspex_runtime.client.async_params import AsyncParams

        return AsyncParams(self.session, self.id)

    info = awaitable(ref_ops.info)  # type: ignore[assignment]  # the awaitable twin
    checkpoint = awaitable(checkpoints.of_ref)  # type: ignore[assignment]
    restore = awaitable(checkpoints.restored_ref)  # type: ignore[assignment]
    checkpoints = awaitable(checkpoints.all_of_ref)  # type: ignore[assignment]


class ModuleRef(AsyncRef):
    """A module, for tasks; see `ref.ModuleRef`."""

    __slots__ = ()

    async def call(self, method: str = MODULE_CALL, /, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        """Call a public method and return its value; cancelling the task cancels the call."""
        return await acall(self.session, self.id, method, args, kwargs, timeout)

    async def cast(self, method: str = MODULE_CALL, /, *args: Any, **kwargs: Any) -> None:
        """Call a method and want no answer."""
        await acast(self.session, self.id, method, args, kwargs)

    def stream(self, method: str | None = None, /, *args: Any, timeout: float | None = None, **kwargs: Any) -> AsyncStream:
        """Call a method that yields and return an async iterator over its items; closing it early cancels the call."""
        return AsyncStream(self.session, self.id, method or MODULE_CALL, args, kwargs, timeout)

    async def predict(self, name: str, /, **inputs: Any) -> Any:
        """Call one predictor of the program, under the name dspy gives it, or that of the attribute it is in."""
        return await self.call(PREDICT, name, **inputs)

    async def train(self) -> None:
        """Switch the program to training, through all its dx.Modules; kept over restarts."""
        await self._in_all("train")

    async def eval(self) -> None:
        """Switch the program to evaluation, the mode it begins in."""
        await self._in_all("eval")

    async def _in_all(self, method: str) -> None:
        missed: dict[str, CallError] = {}
        for id in await arun(ref_ops.each_of(self)):
            try:
                await acall(self.session, id, method, (), {}, None)
            except CallError as exc:
                missed[id] = exc
        ref_ops.raise_for(missed, self, method)

    compile = awaitable(compiling.of_async_ref)
    metrics = awaitable(ref_ops.metrics)
    executions = awaitable(ref_ops.executions)


class ServerRef(AsyncRef):
    """A GenServer, for tasks; see `ref.ServerRef`."""

    __slots__ = ()

    async def call(self, request: Any, timeout: float | None = SERVER_CALL_TIMEOUT_S) -> Any:
        """Send a request to handle_call and return its reply; `timeout` None waits for ever."""
        return await acall(self.session, self.id, "$call", (request,), {}, inf if timeout is None else timeout)

    async def cast(self, request: Any) -> None:
        """Send a request to handle_cast."""
        await acast(self.session, self.id, "$cast", (request,), {})

    async def info_message(self, message: Any) -> None:
        """Send a message to handle_info."""
        await acast(self.session, self.id, "$info", (message,), {})

    def send_request(self, request: Any) -> Request:
        """Send a request to handle_call and return at once; needs a running loop."""
        return Request.of_server(self, request)

    stop = awaitable(ref_ops.stop)
    get_state = awaitable(ref_ops.get_state)
    replace_state = awaitable(ref_ops.replace_state)
    get_status = awaitable(ref_ops.get_status)
    suspend = awaitable(ref_ops.suspend)
    resume = awaitable(ref_ops.resume)
    statistics = awaitable(ref_ops.statistics)
    trace = awaitable(ref_ops.trace)
    log = awaitable(ref_ops.log)
    log_to_file = awaitable(ref_ops.log_to_file)
    install = awaitable(ref_ops.install)
    remove = awaitable(ref_ops.remove)
    no_debug = awaitable(ref_ops.no_debug)
