"""The asyncio client: awaitable twins of everything in `runtime` and `ref`, made from the same operations.

Calls of one loop share one pipe per module, many in flight; cancelling a task cancels its call in the module.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine, Generator, Iterable, Mapping, Sequence
from math import inf
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from dspex_runtime.client import address, ops, ref_ops
from dspex_runtime.client.async_calls import AsyncStream, acall, acast
from dspex_runtime.client.boot_config import boot_config
from dspex_runtime.client.connection import OnProgress
from dspex_runtime.client.deadline import SERVER_CALL_TIMEOUT_S
from dspex_runtime.client.events import Event, EventFeed
from dspex_runtime.client.logs import POLL_S, LogFollower, last_lines
from dspex_runtime.client.monitor import Monitoring
from dspex_runtime.client.proxies import module_proxy
from dspex_runtime.client.ref import MODULE_CALL, Ref
from dspex_runtime.client.requests import call_arguments
from dspex_runtime.client.runtime import RuntimeCore
from dspex_runtime.client.session import Session
from dspex_runtime.client.steps import arun, awaitable

if TYPE_CHECKING:
    from dspex_runtime.modules.proxy import ModuleProxy

__all__ = ["Events", "ModuleRef", "Monitor", "Request", "Requests", "Runtime", "ServerRef", "connect"]


class AsyncRef(Ref):
    """What both kinds of awaitable reference share."""

    __slots__ = ()

    info = awaitable(ref_ops.info)  # type: ignore[assignment]  # the awaitable twin


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
        return Request(self.id, self.call(request, timeout=None))

    stop = awaitable(ref_ops.stop)
    get_state = awaitable(ref_ops.get_state)
    replace_state = awaitable(ref_ops.replace_state)
    suspend = awaitable(ref_ops.suspend)
    resume = awaitable(ref_ops.resume)
    statistics = awaitable(ref_ops.statistics)


class Request:
    """One request on its way, a task; `wait` may be called again after a time-out, `cancel` abandons it."""

    def __init__(self, id: str, work: Coroutine[Any, Any, Any]) -> None:
        self.id = id
        self.task: asyncio.Task[Any] = asyncio.ensure_future(work)

    async def wait(self, timeout: float | None = None) -> Any:
        """Return the reply, or raise what the call raised; CallTimeoutError when it is not there after `timeout`."""
        from dspex_runtime.errors import CallTimeoutError

        done, _ = await asyncio.wait({self.task}, timeout=timeout)
        if not done:
            raise CallTimeoutError(f"{self.id!r} did not answer within {timeout:.3g} s", id=self.id)
        return self.task.result()

    def cancel(self) -> None:
        """Abandon it: the module is told, a late reply is dropped."""
        self.task.cancel()


class Requests:
    """Labelled requests under one absolute deadline; `async for` gives (label, reply or exception) in completion order."""

    def __init__(self, timeout: float | None = None) -> None:
        self._deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
        self._waiting: dict[asyncio.Task[Any], tuple[Any, str]] = {}

    def send(self, server: ServerRef, request: Any, label: Any = None) -> None:
        """Send a request to a GenServer; the label is the server's id when left out."""
        self._add(server.id, server.call(request, timeout=self._left()), label)

    def call(self, module: ModuleRef, method: str = MODULE_CALL, /, *args: Any, label: Any = None, **kwargs: Any) -> None:
        """Call a module's method; the label is the module's id when left out."""
        self._add(module.id, acall(module.session, module.id, method, args, kwargs, self._left()), label)

    def _left(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - asyncio.get_running_loop().time())

    def _add(self, id: str, work: Coroutine[Any, Any, Any], label: Any) -> None:
        self._waiting[asyncio.ensure_future(work)] = (id if label is None else label, id)

    async def __aiter__(self) -> AsyncIterator[tuple[Any, Any]]:
        from dspex_runtime.errors import CallTimeoutError

        try:
            while self._waiting:
                done, _ = await asyncio.wait(self._waiting, timeout=self._left(), return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    break
                for task in done:
                    label, id = self._waiting.pop(task)
                    yield label, _outcome(task, id)
            for label, id in list(self._waiting.values()):
                yield label, CallTimeoutError(f"{id!r} did not answer before the deadline", id=id)
        finally:
            for task in self._waiting:
                task.cancel()
            self._waiting.clear()


def _outcome(task: asyncio.Task[Any], id: str) -> Any:
    from dspex_runtime.errors import CallTimeoutError

    if task.cancelled():
        return CallTimeoutError(f"the request to {id!r} was cancelled", id=id)
    error = task.exception()
    return task.result() if error is None else error


class Monitor(Monitoring):
    """What `rt.monitor` returns."""

    wait = awaitable(Monitoring.awaiting)


class Events(AsyncIterator[Event]):
    """Events until the runtime ends, this connection is closed, or `aclose`."""

    def __init__(self, session: Session, since: int | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._feed = EventFeed(session, since)
        self._feed.on_change(self._wake)

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._changed.set)
        except RuntimeError:
            pass  # the loop was closed: nobody iterates

    async def __anext__(self) -> Event:
        while True:
            self._changed.clear()
            try:
                event = self._feed.take()
            except EOFError:
                raise StopAsyncIteration from None
            if event is not None:
                return event
            await self._changed.wait()

    async def aclose(self) -> None:
        """Follow no longer. Closing twice is fine."""
        self._feed.close()
        self._changed.set()


class Runtime(RuntimeCore):
    """A supervision tree in the background, for tasks; see `runtime.Runtime` for the arguments.

    `async with dx.aio.Runtime(...) as rt`, or `rt = await dx.aio.Runtime(...)` and `await rt.close()`.
    """

    def __init__(
        self,
        tree: str | os.PathLike[str] | Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        state_dir: str | os.PathLike[str] | None = None,
        preload: Sequence[str] | None = None,
        detach: bool = False,
        on_progress: OnProgress | None = None,
    ) -> None:
        config = boot_config(tree, name=name, state_dir=state_dir, preload=preload)
        self._begin = self.starting(config, detach=detach, on_progress=on_progress)

    async def _begun(self) -> Self:
        if self._session is None:
            await arun(self._begin)
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        return self._begun().__await__()

    async def __aenter__(self) -> Self:
        return await self._begun()

    async def __aexit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    def reference(self, id: str, kind: str) -> Any:
        """Return an awaitable reference for a child."""
        match kind:
            case "server":
                return ServerRef(self.session, id)
            case "module":
                return ModuleRef(self.session, id)
            case _:
                return id

    start = awaitable(ops.start)
    stop = awaitable(ops.stop)
    restart = awaitable(ops.restart)
    kill = awaitable(ops.kill)
    delete = awaitable(ops.delete)
    shutdown = awaitable(ops.shutdown)
    info = awaitable(ops.info)
    modules = awaitable(ops.modules)
    tree = awaitable(ops.tree)
    status = awaitable(ops.status)
    wait = awaitable(ops.wait)
    log_path = awaitable(ops.log_path)
    start_supervisor = awaitable(ops.start_supervisor)
    start_child = awaitable(ops.start_child)
    terminate_child = awaitable(ops.terminate_child)
    restart_child = awaitable(ops.restart_child)
    delete_child = awaitable(ops.delete_child)
    which_children = awaitable(ops.which_children)
    count_children = awaitable(ops.count_children)
    get_childspec = awaitable(ops.get_childspec)
    close = awaitable(RuntimeCore.ending)

    async def module(self, id: str) -> ModuleProxy:
        """Return a module as a `dspy.Module`, to be awaited with `acall`. Imports dspy."""
        return module_proxy(self.session, await arun(ops.identify(self, id, "module")))

    async def ref(self, id: str) -> ModuleRef:
        """Return an awaitable reference to a module; imports no dspy."""
        return ModuleRef(self.session, await arun(ops.identify(self, id, "module")))

    async def server(self, id: str) -> ServerRef:
        """Return an awaitable reference to a GenServer."""
        return ServerRef(self.session, await arun(ops.identify(self, id, "server")))

    async def monitor(self, id: str) -> Monitor:
        """Watch the running incarnation of a child: a module, a server or a supervisor."""
        ref, down = await arun(ops.monitored(self, id))
        return Monitor(self.session, id, ref, down)

    async def demonitor(self, monitor: Monitor, flush: bool = False) -> None:
        """Watch no longer; with `flush` a notice that came already is dropped too."""
        await arun(monitor.ending(flush=flush))

    def events(self, since: int | None = None) -> Events:
        """Return an async iterator over structured events, a snapshot of all children first; it ends with the runtime."""
        return Events(self.session, since)

    async def logs(self, id: str, n: int = 100, follow: bool = False) -> AsyncIterator[str]:
        """Iterate over the last n lines of a child's log, then, with `follow`, what is added until you stop or the runtime ends."""
        path = await self.log_path(id)
        lines, offset = last_lines(path, n)
        for line in lines:
            yield line
        follower = LogFollower(path, offset)
        try:
            while follow:
                ended = self.session.connection.closed
                added = follower.read()
                for line in added:
                    yield line
                if not added and ended:
                    return
                if not added:
                    await asyncio.sleep(POLL_S)
        finally:
            follower.close()

    async def gather(self, calls: Iterable[tuple[Any, ...]], timeout: float | None = None) -> AsyncIterator[tuple[Any, Any]]:
        """Call many modules at once: yields (label, result or exception) in completion order, under one deadline."""
        requests = Requests(timeout)
        for call in calls:
            label, target, inputs = call if len(call) == 3 else (None, *call)
            if isinstance(target, ServerRef):
                requests.send(target, inputs, label)
            else:
                ref = ModuleRef(self.session, target if isinstance(target, str) else getattr(target, "dx", target).id)
                args, kwargs = call_arguments(inputs)
                requests.call(ref, MODULE_CALL, *args, label=label, **kwargs)
        async for label, result in requests:
            yield label, result


async def connect(name_or_path: str | os.PathLike[str] | None = None, *, plain: bool = False) -> Runtime:
    """Attach to a runtime by name or socket path, as `runtime.connect`; closing it only disconnects."""
    runtime = Runtime.__new__(Runtime)
    await arun(runtime.attaching(address.find(name_or_path), plain=plain))
    return runtime
