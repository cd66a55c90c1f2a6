"""The asyncio client: awaitable twins of everything in `runtime` and `ref`, made from the same operations.

Calls of one loop share one pipe per module, many in flight; cancelling a task cancels its call in the module.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Generator, Iterable, Mapping, Sequence
from math import inf
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, overload

from dspex_runtime.client import address, alarm_ops, naming, ops, ref_ops
from dspex_runtime.client import ref as sync_ref
from dspex_runtime.client.async_calls import AsyncStream, acall, acast
from dspex_runtime.client.async_requests import Request, Requests
from dspex_runtime.client.boot_config import boot_config
from dspex_runtime.client.connection import OnProgress
from dspex_runtime.client.deadline import SERVER_CALL_TIMEOUT_S
from dspex_runtime.client.events import Event, EventFeed
from dspex_runtime.client.ids import Child, Via
from dspex_runtime.client.logs import POLL_S, LogFollower, last_lines
from dspex_runtime.client.monitor import Monitoring
from dspex_runtime.client.proxies import module_proxy
from dspex_runtime.client.ref import MODULE_CALL, Ref
from dspex_runtime.client.requests import call_arguments
from dspex_runtime.client.runtime import RuntimeCore
from dspex_runtime.client.session import Session
from dspex_runtime.client.steps import arun, awaitable
from dspex_runtime.client.via import AsyncNamedRef, named_proxy
from dspex_runtime.core.keys import show
from dspex_runtime.errors import ConfigError

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
        return Request.sending(self.session, self.id, "$call", (request,), {}, inf)

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


class Monitor(Monitoring):
    """What `rt.monitor` returns."""

    wait = awaitable(Monitoring.awaiting)


class Events(AsyncIterator[Event]):
    """Events until the runtime has stopped, this connection is closed, or `aclose`; or, not to `follow`, those known by now."""

    def __init__(self, session: Session, since: int | None, *, follow: bool = True) -> None:
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._feed = EventFeed(session, since, follow=follow)
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
    which_child = awaitable(ops.which_child)
    which_children = awaitable(ops.which_children)
    count_children = awaitable(ops.count_children)
    get_childspec = awaitable(ops.get_childspec)
    unlink = awaitable(ops.unlink)
    exit = awaitable(ops.exit)
    register = awaitable(naming.register)
    unregister = awaitable(naming.unregister)
    update_value = awaitable(naming.update_value)
    whereis = awaitable(naming.whereis)
    lookup = awaitable(naming.lookup)
    registered = awaitable(naming.registered)
    keys = awaitable(naming.keys)
    select = awaitable(naming.select)
    set_alarm = awaitable(alarm_ops.set_alarm)
    clear_alarm = awaitable(alarm_ops.clear_alarm)
    alarms = awaitable(alarm_ops.alarms)
    close = awaitable(RuntimeCore.ending)

    async def module(self, id: Child | Via) -> ModuleProxy:
        """Return a module as a `dspy.Module`, to be awaited with `acall`. Imports dspy."""
        if isinstance(id, Via):
            return named_proxy(self.session, id)
        return module_proxy(self.session, await arun(ops.identify(self, id, "module")))

    async def ref(self, id: Child | Via) -> ModuleRef:
        """Return an awaitable reference to a module; imports no dspy."""
        if isinstance(id, Via):
            return AsyncNamedRef(self.session, id, "module")  # type: ignore[return-value]
        return ModuleRef(self.session, await arun(ops.identify(self, id, "module")))

    async def server(self, id: Child | Via) -> ServerRef:
        """Return an awaitable reference to a GenServer."""
        if isinstance(id, Via):
            return AsyncNamedRef(self.session, id, "server")  # type: ignore[return-value]
        return ServerRef(self.session, await arun(ops.identify(self, id, "server")))

    async def monitor(self, id: Child) -> Monitor:
        """Watch the running incarnation of a child: a module, a server or a supervisor, "root" too."""
        return Monitor(self.session, *await arun(ops.monitored(self, id)))

    async def demonitor(self, monitor: Monitor, flush: bool = False) -> bool:
        """Watch no longer; True when it was still active. With `flush` a notice that came, not yet waited for, is dropped too."""
        if not isinstance(monitor, Monitoring):
            raise ConfigError(f"expected what rt.monitor or rt.link returned; got {show(monitor)}")
        return await arun(monitor.ending(flush=flush))

    @overload
    async def link(self, a: Child) -> Monitor: ...

    @overload
    async def link(self, a: Child, b: Child) -> None: ...

    async def link(self, a: Child, b: Child | None = None) -> Monitor | None:
        """Link two children, or one with this client; see `runtime.Runtime.link`."""
        link = await arun(ops.linked(self, a, b))
        return None if link is None else Monitor(self.session, *link)

    def lock(self, key: Any, timeout: float | None = None) -> naming.AsyncLock:
        """Return a mutex of the whole runtime, for `async with`; a task that asks for what it holds gets RegistryError."""
        return naming.AsyncLock(self.session, key, timeout)

    def events(self, since: int | None = None, follow: bool = True) -> Events:
        """Return an async iterator over structured events; see `runtime.Runtime.events`."""
        return Events(self.session, since, follow=follow)

    async def logs(self, id: Child, n: int = 100, follow: bool = False) -> AsyncIterator[str]:
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
        """Call many children at once: yields (label, result or exception); see `runtime.Runtime.gather`."""
        requests = Requests(timeout)
        kinds: dict[str, str] = {}
        for call in calls:
            label, target, inputs = call if len(call) == 3 else (None, *call)
            callee = await arun(ops.callee(self, target, kinds))
            if isinstance(callee, sync_ref.ServerRef | ServerRef):
                requests.send(ServerRef(self.session, callee.id), inputs, label)
            else:
                args, kwargs = call_arguments(inputs)
                requests.call(callee, MODULE_CALL, *args, label=label, **kwargs)
        async for label, result in requests:
            yield label, result

    async def multi_call(
        self, targets: Iterable[str | Ref], request: Any, timeout: float | None = SERVER_CALL_TIMEOUT_S
    ) -> tuple[list[tuple[str, Any]], list[str]]:
        """Call many servers with one request and one deadline; see `runtime.Runtime.multi_call`."""
        from dspex_runtime.client.multi import amulti_call

        return await amulti_call(self.session, targets, request, timeout)

    async def abcast(self, targets: Iterable[str | Ref], request: Any) -> None:
        """Cast a request to many servers."""
        from dspex_runtime.client.multi import aabcast

        await aabcast(self.session, targets, request)


async def connect(name_or_path: str | os.PathLike[str] | None = None, *, plain: bool = False) -> Runtime:
    """Attach to a runtime by name or socket path, as `runtime.connect`; closing it only disconnects."""
    runtime = Runtime.__new__(Runtime)
    await arun(runtime.attaching(address.find(name_or_path), plain=plain))
    return runtime
