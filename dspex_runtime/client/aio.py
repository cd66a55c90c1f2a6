"""The asyncio client, `dx.aio`: awaitable twins of everything in `runtime` and `ref`, made from the same operations."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Mapping, Sequence
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, overload

from dspex_runtime.client import (
    address,
    alarm_ops,
    checkpoints,
    compiling,
    inspection_ops,
    lifecycle_ops,
    naming,
    reloading,
    signal_ops,
    supervisor_ops,
    swapping,
)
from dspex_runtime.client.async_orchestration import AsyncOrchestration, gather, map, pipeline
from dspex_runtime.client.async_ref import ModuleRef, ServerRef
from dspex_runtime.client.async_request import Request
from dspex_runtime.client.async_requests import Requests
from dspex_runtime.client.boot_config import boot_config
from dspex_runtime.client.deadline import SERVER_CALL_TIMEOUT_S
from dspex_runtime.client.events import Event, EventFeed
from dspex_runtime.client.ids import Child, Via
from dspex_runtime.client.incoming import OnProgress
from dspex_runtime.client.logs import POLL_S, LogFollower, last_lines
from dspex_runtime.client.monitor import Monitoring
from dspex_runtime.client.proxies import module_proxy
from dspex_runtime.client.ref import Ref
from dspex_runtime.client.runtime_core import RuntimeCore
from dspex_runtime.client.session import Session
from dspex_runtime.client.steps import arun, awaitable
from dspex_runtime.client.via import AsyncNamedRef, named_proxy
from dspex_runtime.core.keys import show
from dspex_runtime.errors import ConfigError
from dspex_runtime.state.protocol import SHARED
from dspex_runtime.types import Change

if TYPE_CHECKING:
    from dspex_runtime.client.async_params import AsyncParams
    from dspex_runtime.client.async_watch import AsyncSubscribed, AsyncWatch
    from dspex_runtime.modules.mirror.proxy import ModuleProxy

__all__ = [
    "Events", "ModuleRef", "Monitor", "Request", "Requests", "Runtime", "ServerRef", "connect", "gather", "map", "pipeline",
]  # fmt: skip


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


class Runtime(RuntimeCore, AsyncOrchestration):
    """A supervision tree in the background, for tasks; see `runtime.Runtime` for the arguments.

    `async with dx.aio.Runtime(...) as rt`, or `rt = await dx.aio.Runtime(...)` and `await rt.close()`.
    """

    def __init__(
        self,
        tree: str | os.PathLike[str] | Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        state_dir: str | os.PathLike[str] | None = None,
        fresh: bool = False,
        preload: Sequence[str] | None = None,
        detach: bool = False,
        on_progress: OnProgress | None = None,
    ) -> None:
        config = boot_config(tree, name=name, state_dir=state_dir, preload=preload)
        self._begin = self.starting(config, fresh=fresh, detach=detach, on_progress=on_progress)

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

    start = awaitable(lifecycle_ops.start)
    stop = awaitable(lifecycle_ops.stop)
    restart = awaitable(lifecycle_ops.restart)
    kill = awaitable(lifecycle_ops.kill)
    delete = awaitable(lifecycle_ops.delete)
    scale = awaitable(lifecycle_ops.scale)
    shutdown = awaitable(lifecycle_ops.shutdown)
    info = awaitable(inspection_ops.info)
    modules = awaitable(inspection_ops.modules)
    tree = awaitable(inspection_ops.tree)
    analyze = awaitable(inspection_ops.analyze)
    status = awaitable(inspection_ops.status)
    wait = awaitable(inspection_ops.wait)
    log_path = awaitable(inspection_ops.log_path)
    past_events = awaitable(inspection_ops.past_events)
    start_supervisor = awaitable(supervisor_ops.start_supervisor)
    start_child = awaitable(supervisor_ops.start_child)
    terminate_child = awaitable(supervisor_ops.terminate_child)
    restart_child = awaitable(supervisor_ops.restart_child)
    delete_child = awaitable(supervisor_ops.delete_child)
    which_child = awaitable(supervisor_ops.which_child)
    which_children = awaitable(supervisor_ops.which_children)
    count_children = awaitable(supervisor_ops.count_children)
    get_childspec = awaitable(supervisor_ops.get_childspec)
    unlink = awaitable(signal_ops.unlink)
    exit = awaitable(signal_ops.exit)
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
    checkpoint = awaitable(checkpoints.checkpoint)
    restore = awaitable(checkpoints.restore)
    prune_checkpoints = awaitable(checkpoints.prune_checkpoints)
    inspect_checkpoint = awaitable(checkpoints.inspect_checkpoint)
    diff_checkpoints = awaitable(checkpoints.diff_checkpoints)
    export_checkpoint = awaitable(checkpoints.export_checkpoint)
    import_checkpoint = awaitable(checkpoints.import_checkpoint)
    checkpoints = awaitable(checkpoints.checkpoints)
    compile = awaitable(compiling.compile_async)
    swap = awaitable(swapping.swap)
    abort_swap = awaitable(swapping.abort_swap)
    versions = awaitable(swapping.versions)
    rollback = awaitable(swapping.rollback)
    reload = awaitable(reloading.reload)
    changed_sources = awaitable(reloading.changed_sources)
    close = awaitable(RuntimeCore.ending)

    async def module(self, id: Child | Via) -> ModuleProxy:
        """Return a module as a `dspy.Module`, to be awaited with `acall`. Imports dspy."""
        if isinstance(id, Via):
            return named_proxy(self.session, id)
        return module_proxy(self.session, await arun(inspection_ops.identify(self, id, "module")))

    async def ref(self, id: Child | Via) -> ModuleRef:
        """Return an awaitable reference to a module; imports no dspy."""
        if isinstance(id, Via):
            return AsyncNamedRef(self.session, id, "module")  # type: ignore[return-value]
        return ModuleRef(self.session, await arun(inspection_ops.identify(self, id, "module")))

    async def server(self, id: Child | Via) -> ServerRef:
        """Return an awaitable reference to a GenServer."""
        if isinstance(id, Via):
            return AsyncNamedRef(self.session, id, "server")  # type: ignore[return-value]
        return ServerRef(self.session, await arun(inspection_ops.identify(self, id, "server")))

    async def monitor(self, id: Child) -> Monitor:
        """Watch the running incarnation of a child: a module, a server or a supervisor, "root" too."""
        return Monitor(self.session, *await arun(signal_ops.monitored(self, id)))

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
        link = await arun(signal_ops.linked(self, a, b))
        return None if link is None else Monitor(self.session, *link)

    @cached_property
    def params(self) -> AsyncParams:
        """The runtime's own parameters; see `runtime.Runtime.params`."""
        from dspex_runtime.client.async_params import AsyncParams

        return AsyncParams(self.session, SHARED)

    async def subscribe(self, pattern: str, callback: Callable[[Change], Any]) -> AsyncSubscribed:
        """Call a function, or await a coroutine function, with changes of parameters of all modules; see `runtime.Runtime`."""
        from dspex_runtime.client.async_watch import subscribed

        return await subscribed(self.watch(pattern), callback)

    def watch(self, pattern: str = "*") -> AsyncWatch:
        """Return an async iterator over changes of parameters of all modules; see `AsyncParams.watch`."""
        from dspex_runtime.client.async_watch import AsyncWatch
        from dspex_runtime.client.patterns import awaited, checked

        return AsyncWatch(self.session, checked(pattern), first=awaited(self.session, pattern))

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
