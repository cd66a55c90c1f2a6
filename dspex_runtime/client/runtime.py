"""What users hold: a running tree, started here or attached to.

Every operation's body is in `*_ops` and `naming`, written once for this and for `aio`; a runtime only waits for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from dspex_runtime.client.boot_config import boot_config
from dspex_runtime.client.deadline import SERVER_CALL_TIMEOUT_S
from dspex_runtime.client.events import Events
from dspex_runtime.client.ids import Child, Via
from dspex_runtime.client.incoming import OnProgress
from dspex_runtime.client.logs import POLL_S, LogFollower, last_lines
from dspex_runtime.client.monitor import Monitoring
from dspex_runtime.client.orchestration import Orchestration
from dspex_runtime.client.proxies import module_proxy
from dspex_runtime.client.ref import ModuleRef, Ref, ServerRef
from dspex_runtime.client.runtime_core import RuntimeCore
from dspex_runtime.client.session import Session
from dspex_runtime.client.steps import Pause, Steps, blocking, run
from dspex_runtime.client.via import named, named_proxy
from dspex_runtime.core.keys import show
from dspex_runtime.errors import ConfigError
from dspex_runtime.state.protocol import SHARED
from dspex_runtime.types import Change

if TYPE_CHECKING:
    from dspex_runtime.client.param_watch import Subscribed, Watch
    from dspex_runtime.client.params import Params
    from dspex_runtime.modules.mirror.proxy import ModuleProxy


class Monitor(Monitoring):
    """What `rt.monitor` returns."""

    wait = blocking(Monitoring.awaiting)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        run(self.ending(flush=True))


class Runtime(RuntimeCore, Orchestration):
    """A supervision tree in the background.

    Starts the runtime process and waits until the whole tree is ready; closing it, leaving its `with` block or the end of
    this process in any way, kill -9 included, stops everything, unless it is to `detach`.

    Args:
        tree: A YAML file, a dict with the YAML's keys, or None for an empty root supervisor.
        name: Name to connect by; the file's by default.
        state_dir: Where state and logs are kept; the file's by default, else a temporary directory.
        fresh: Forget what an earlier runtime left in the state directory: parameters, history, checkpoints.
        preload: Modules imported once, before any child is started.
        detach: Leave it running when this object is closed.
        on_progress: Called with each event while the tree comes up, in another thread.

    Raises:
        StartError: A child did not become ready; carries the child's own traceback. Nothing is left behind.
        ConfigError: The configuration is wrong (`.problems` has all of it), or the name is taken.
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
        run(self.starting(config, fresh=fresh, detach=detach, on_progress=on_progress))

    def reference(self, id: str, kind: str) -> Any:
        """Return a reference of the right class for a child."""
        match kind:
            case "server":
                return ServerRef(self.session, id)
            case "module":
                return self._proxy(id)
            case _:
                return id

    def _proxy(self, id: str) -> ModuleProxy | ModuleRef:
        return ModuleRef(self.session, id) if self.session.plain else module_proxy(self.session, id)

    start = blocking(lifecycle_ops.start)
    stop = blocking(lifecycle_ops.stop)
    restart = blocking(lifecycle_ops.restart)
    kill = blocking(lifecycle_ops.kill)
    delete = blocking(lifecycle_ops.delete)
    scale = blocking(lifecycle_ops.scale)
    shutdown = blocking(lifecycle_ops.shutdown)
    info = blocking(inspection_ops.info)
    modules = blocking(inspection_ops.modules)
    tree = blocking(inspection_ops.tree)
    analyze = blocking(inspection_ops.analyze)
    status = blocking(inspection_ops.status)
    wait = blocking(inspection_ops.wait)
    log_path = blocking(inspection_ops.log_path)
    past_events = blocking(inspection_ops.past_events)
    start_supervisor = blocking(supervisor_ops.start_supervisor)
    start_child = blocking(supervisor_ops.start_child)
    terminate_child = blocking(supervisor_ops.terminate_child)
    restart_child = blocking(supervisor_ops.restart_child)
    delete_child = blocking(supervisor_ops.delete_child)
    which_child = blocking(supervisor_ops.which_child)
    which_children = blocking(supervisor_ops.which_children)
    count_children = blocking(supervisor_ops.count_children)
    get_childspec = blocking(supervisor_ops.get_childspec)
    unlink = blocking(signal_ops.unlink)
    exit = blocking(signal_ops.exit)
    register = blocking(naming.register)
    unregister = blocking(naming.unregister)
    update_value = blocking(naming.update_value)
    whereis = blocking(naming.whereis)
    lookup = blocking(naming.lookup)
    registered = blocking(naming.registered)
    keys = blocking(naming.keys)
    select = blocking(naming.select)
    set_alarm = blocking(alarm_ops.set_alarm)
    clear_alarm = blocking(alarm_ops.clear_alarm)
    alarms = blocking(alarm_ops.alarms)
    checkpoint = blocking(checkpoints.checkpoint)
    restore = blocking(checkpoints.restore)
    prune_checkpoints = blocking(checkpoints.prune_checkpoints)
    inspect_checkpoint = blocking(checkpoints.inspect_checkpoint)
    diff_checkpoints = blocking(checkpoints.diff_checkpoints)
    export_checkpoint = blocking(checkpoints.export_checkpoint)
    import_checkpoint = blocking(checkpoints.import_checkpoint)
    checkpoints = blocking(checkpoints.checkpoints)
    compile = blocking(compiling.compile)
    swap = blocking(swapping.swap)
    abort_swap = blocking(swapping.abort_swap)
    versions = blocking(swapping.versions)
    rollback = blocking(swapping.rollback)
    reload = blocking(reloading.reload)
    changed_sources = blocking(reloading.changed_sources)

    def module(self, id: Child | Via) -> ModuleProxy:
        """Return a module as a `dspy.Module`; valid across restarts. Imports dspy."""
        if isinstance(id, Via):
            return named_proxy(self.session, id)
        return module_proxy(self.session, run(inspection_ops.identify(self, id, "module")))

    def ref(self, id: Child | Via) -> ModuleRef:
        """Return a module without importing dspy: what `rt.module(id).dx` is."""
        if isinstance(id, Via):
            return named(self.session, id, "module")  # type: ignore[no-any-return]
        return ModuleRef(self.session, run(inspection_ops.identify(self, id, "module")))

    def server(self, id: Child | Via) -> ServerRef:
        """Return a GenServer; valid across restarts."""
        if isinstance(id, Via):
            return named(self.session, id, "server")  # type: ignore[no-any-return]
        return ServerRef(self.session, run(inspection_ops.identify(self, id, "server")))

    def monitor(self, id: Child) -> Monitor:
        """Watch the running incarnation of a child: a module, a server or a supervisor, "root" too."""
        return Monitor(self.session, *run(signal_ops.monitored(self, id)))

    def demonitor(self, monitor: Monitor, flush: bool = False) -> bool:
        """Watch no longer; True when it was still active. With `flush` a notice that came, not yet waited for, is dropped too."""
        if not isinstance(monitor, Monitoring):
            raise ConfigError(f"expected what rt.monitor or rt.link returned; got {show(monitor)}")
        return run(monitor.ending(flush=flush))

    @overload
    def link(self, a: Child) -> Monitor: ...

    @overload
    def link(self, a: Child, b: Child) -> None: ...

    def link(self, a: Child, b: Child | None = None) -> Monitor | None:
        """Link two children, or one with this client: when one ends the other gets an exit signal. Linking twice is linking once.

        A client gets the signal as the notice of the `Monitor` returned here, whatever the reason. When the client ends, the child
        gets "normal" if this object was closed, else ("error", "ClientLost", ...). What is not there ends at once with "noproc".
        """
        link = run(signal_ops.linked(self, a, b))
        return None if link is None else Monitor(self.session, *link)

    @cached_property
    def params(self) -> Params:
        """The runtime's own parameters (`shared:` in YAML), which every module can read as `dx.Shared`."""
        from dspex_runtime.client.params import Params

        return Params(self.session, SHARED)

    def subscribe(self, pattern: str, callback: Callable[[Change], Any]) -> Subscribed:
        """Call a function with changes of parameters from now on, of all modules; see `Params.subscribe`.

        Args:
            pattern: "qa.temperature", "qa" for everything of a module, "qa.*", "*.temperature", "*"; the runtime's own are
                "$shared.name". Modules and parameters that are not there yet are told of when they come; when nothing has a
                name that is no pattern, a warning is logged.
            callback: Takes a `dx.Change`.
        """
        from dspex_runtime.client.param_watch import Subscribed

        return Subscribed(self.watch(pattern), callback)

    def watch(self, pattern: str = "*") -> Watch:
        """Return an iterator over changes of parameters from now on, of all modules; see `subscribe`."""
        from dspex_runtime.client.param_watch import Watch
        from dspex_runtime.client.patterns import awaited

        run(awaited(self.session, pattern))
        return Watch(self.session, pattern)

    def lock(self, key: Any, timeout: float | None = None) -> naming.Lock:
        """Return a mutex of the whole runtime: `with rt.lock(key):`.

        Served in the order they asked; released when the block is left, and when this client or its process ends in any way. Not
        re-entrant: a thread that asks for what it holds gets RegistryError ("already_locked").

        Args:
            key: As of `register`; locks and names have nothing to do with one another.
            timeout: Seconds to wait; CallTimeoutError after that. 0 only tries.
        """
        return naming.Lock(self.session, key, timeout)

    def events(self, since: int | None = None, follow: bool = True) -> Events:
        """Return an iterator over structured events, a snapshot of all children first; it ends when the runtime has stopped.

        Args:
            since: The `seq` of an event: the kept ones after it come before what happens; 0 for all that are kept.
            follow: Whether to go on with what happens; False ends after what is known now.

        Raises:
            RuntimeUnreachableError: (while iterating) The runtime is gone without having stopped: it was killed.
        """
        return Events(self.session, since, follow=follow)

    def logs(self, id: Child, n: int = 100, follow: bool = False) -> Iterator[str]:
        """Iterate over the last n lines of a child's log, then, with `follow`, what is added until you stop or the runtime ends."""
        return _lines(self.session, self.log_path(id), n, follow)

    def multi_call(
        self, targets: Iterable[str | Ref], request: Any, timeout: float | None = SERVER_CALL_TIMEOUT_S
    ) -> tuple[list[tuple[str, Any]], list[str]]:
        """Call many servers with one request and one deadline (OTP multi_call).

        Args:
            targets: Ids or references.
            request: What handle_call of each gets.
            timeout: Seconds for all of them together; None waits for ever.

        Returns:
            (id, reply) of those that answered, and the ids of those that did not, are dead or unknown. A late answer is
            dropped.
        """
        from dspex_runtime.client.multi import multi_call

        return multi_call(self.session, targets, request, timeout)

    def abcast(self, targets: Iterable[str | Ref], request: Any) -> None:
        """Cast a request to many servers and wait for none of them (OTP abcast)."""
        from dspex_runtime.client.multi import abcast

        abcast(self.session, targets, request)

    def close(self) -> None:
        """Stop the tree and wait until all of it is gone, where this process started it; else only disconnect."""
        run(self.ending())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def connect(name_or_path: str | os.PathLike[str] | None = None, *, plain: bool = False) -> Runtime:
    """Attach to a runtime by name or socket path; closing it only disconnects.

    Without a name: inside a module the runtime it belongs to, else the only one that runs.

    Args:
        name_or_path: Name or socket path.
        plain: Give Predictions as dicts and never import dspy.

    Raises:
        RuntimeUnreachableError: None answers there; lists those that run.
        ProtocolError: It speaks another version.
    """
    runtime = Runtime.__new__(Runtime)
    run(runtime.attaching(address.find(name_or_path), plain=plain))
    return runtime


def _lines(session: Session, path: str, n: int, follow: bool) -> Iterator[str]:
    lines, offset = last_lines(path, n)
    yield from lines
    if not follow:
        return
    follower = LogFollower(path, offset)
    try:
        while True:
            ended = session.connection.closed  # asked before the last look: what a module wrote while it stopped is read, too
            added = follower.read()
            yield from added
            if not added and ended:
                return
            if not added:
                run(_pause(POLL_S))
    finally:
        follower.close()


def _pause(seconds: float) -> Steps[None]:
    yield Pause(seconds)
