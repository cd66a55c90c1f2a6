"""References: addresses that you may keep, compare, pickle and pass around. Valid across restarts; own nothing.

A reference that arrives pickled in another process connects there at its first use.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from math import inf
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

from dspex_runtime.client import checkpoints, compiling, ref_ops
from dspex_runtime.client import replies as replies  # a client that has references can answer what `dx.reply` is given
from dspex_runtime.client.calls import call, cast
from dspex_runtime.client.channel_pool import ChannelPool
from dspex_runtime.client.deadline import SERVER_CALL_TIMEOUT_S
from dspex_runtime.client.session import Session, session_at
from dspex_runtime.client.steps import blocking, run
from dspex_runtime.errors import CallError

if TYPE_CHECKING:
    from dspex_runtime.client.async_stream import AsyncStream
    from dspex_runtime.client.edits import Edited
    from dspex_runtime.client.params import Params
    from dspex_runtime.client.request import Request
    from dspex_runtime.client.stream import Stream
    from dspex_runtime.modules.mirror.proxy import ModuleProxy

MODULE_CALL: Final = "__call__"
PREDICT: Final = "$predict"


class Ref:
    """The address of one child: a runtime and a full id. Equal addresses are equal references.

    Attributes:
        id: Full id of the child.
        socket_path: Of the runtime.
        params: The child's parameters, as a mapping.
    """

    __slots__ = ("_pool", "_session", "id", "params", "socket_path")

    params: Params

    def __init__(self, session: Session | None, id: str, socket_path: str | None = None) -> None:
        self._session = session
        self._pool: ChannelPool | None = None
        self.id = id
        self.socket_path = socket_path if socket_path is not None else (session.socket_path if session else "")

    @property
    def session(self) -> Session:
        """This process's connection to the runtime, made at the first use."""
        if self._session is None:
            self._session = session_at(self.socket_path)
        return self._session

    if not TYPE_CHECKING:  # a slot that is filled at its first use, and costs no call after that: reading is a hot path

        def __getattr__(self, name: str) -> Any:
            if name != "params":
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            self.params = self._parameters()
            return self.params

    def _parameters(self) -> Params:
        from dspex_runtime.client.params import Params

        return Params(self.session, self.id)

    def _bind(self) -> ChannelPool:
        pool = self._pool = self.session.pool(self.id)
        return pool

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, Ref) and (other.id, other.socket_path) == (self.id, self.socket_path)

    def __hash__(self) -> int:
        return hash((self.id, self.socket_path))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_arrived, (type(self), self.id, self.socket_path))

    info = blocking(ref_ops.info)
    checkpoint = blocking(checkpoints.of_ref)
    restore = blocking(checkpoints.restored_ref)
    checkpoints = blocking(checkpoints.all_of_ref)


def _arrived(cls: type[Ref], id: str, socket_path: str) -> Ref:
    return cls(None, id, socket_path)


P = ParamSpec("P")
T = TypeVar("T")


def _after_edits(method: Callable[Concatenate[ModuleRef, P], T]) -> Callable[Concatenate[ModuleRef, P], T]:
    """Have a method wait until the module has what was edited on the proxy."""

    @wraps(method)
    def pushed(self: ModuleRef, /, *args: P.args, **kwargs: P.kwargs) -> T:
        if self._pushes:
            self.push_edits()
        return method(self, *args, **kwargs)

    return pushed


class ModuleRef(Ref):
    """A module: `proxy.dx`. Imports no dspy until a Prediction arrives."""

    __slots__ = ("_pushes",)

    def __init__(self, session: Session | None, id: str, socket_path: str | None = None) -> None:
        super().__init__(session, id, socket_path)
        self._pushes = True

    def raw(self) -> ModuleRef:
        """Return the same reference for a proxy's own use: it sends nothing but what it is given."""
        twin = ModuleRef(self._session, self.id, self.socket_path)
        twin._pushes = False
        return twin

    def part(self, id: str) -> ModuleProxy:
        """Return a part of the module, a process of its own, as the proxy that stands for it."""
        from dspex_runtime.client.proxies import module_proxy

        return module_proxy(self.session, id)

    def track(self, mirror: Edited) -> None:
        """Know of the mirror of a proxy; see `Edits`."""
        self.session.edits.track(self.id, mirror)

    def push_edits(self) -> None:
        """Send what was edited on this client's proxies of the module."""
        self.session.edits.push(self.id)

    @property
    def has_edits(self) -> bool:
        """Whether that is anything."""
        return self.session.edits.waiting(self.id)

    def call(self, method: str = MODULE_CALL, /, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        """Call a public method and return its value.

        Args:
            method: Name of the method; the module itself by default.
            *args: Its arguments.
            timeout: Seconds; None is the module's own `call_timeout`, math.inf none, 0 fails without asking.
            **kwargs: Its arguments by keyword.

        Raises:
            CallTimeoutError: No answer in time; the module is told to give up.
            ProcessDownError: The process ended with the call in flight; `.reason` says why.
            NoProcessError: Nothing runs under this id and nothing is coming.
            OverloadedError: The mailbox is full; nothing was queued.
            Exception: What the method raised, with RemoteError as its `__cause__`.
        """
        if self._pushes:
            self.push_edits()
        return call(self._pool or self._bind(), method, args, kwargs, timeout)

    @_after_edits
    def cast(self, method: str = MODULE_CALL, /, *args: Any, **kwargs: Any) -> None:
        """Call a method and want no answer; what it raises shows in the module's log only."""
        cast(self._pool or self._bind(), method, args, kwargs)

    @_after_edits
    def stream(self, method: str | None = None, /, *args: Any, timeout: float | None = None, **kwargs: Any) -> Stream:
        """Call a method that yields and return an iterator over its items; closing it early cancels the call.

        Args:
            method: Name of the method; the module itself by default.
            *args: Its arguments.
            timeout: Seconds for the whole stream, as for `call`.
            **kwargs: Its arguments by keyword.
        """
        from dspex_runtime.client.stream import Stream

        return Stream(self._pool or self._bind(), method or MODULE_CALL, args, kwargs, timeout)

    async def acall(self, method: str = MODULE_CALL, /, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        """`call` for tasks: many in flight over one pipe, no thread. Cancelling the task cancels the call."""
        from dspex_runtime.client.async_calls import acall

        if self._pushes and self.has_edits:
            from asyncio import to_thread

            await to_thread(self.push_edits)
        return await acall(self.session, self.id, method, args, kwargs, timeout)

    def predict(self, name: str, /, **inputs: Any) -> Any:
        """Call one predictor of the program, under the name dspy gives it, or that of the attribute it is in."""
        return self.call(PREDICT, name, **inputs)

    def train(self) -> None:
        """Switch the program to training, through all its dx.Modules, of a group in each replica; kept over restarts.

        Raises:
            CallError: It did not reach all replicas; says which. The others are switched.
        """
        self._in_all("train")

    def eval(self) -> None:
        """Switch the program to evaluation, the mode it begins in."""
        self._in_all("eval")

    def _in_all(self, method: str) -> None:
        """Call a method of the module, of a group in each of its replicas: one that cannot have it keeps no other from it."""
        ids = run(ref_ops.each_of(self))
        missed: dict[str, CallError] = {}
        if self._pushes:
            self.push_edits()
        for id in ids:
            try:
                call(self.session.pool(id), method, (), {}, None)
            except CallError as exc:
                missed[id] = exc
        ref_ops.raise_for(missed, self, method)

    @_after_edits
    def astream(self, method: str | None = None, /, *args: Any, timeout: float | None = None, **kwargs: Any) -> AsyncStream:
        """`stream` for tasks: an async iterator; closing it early, or cancelling the task, cancels the call."""
        from dspex_runtime.client.async_stream import AsyncStream

        return AsyncStream(self.session, self.id, method or MODULE_CALL, args, kwargs, timeout)

    compile = blocking(compiling.of_ref)
    metrics = blocking(ref_ops.metrics)
    executions = blocking(ref_ops.executions)


class ServerRef(Ref):
    """A GenServer."""

    __slots__ = ()

    def call(self, request: Any, timeout: float | None = SERVER_CALL_TIMEOUT_S) -> Any:
        """Send a request to handle_call and return its reply; `timeout` None waits for ever. Raises as `ModuleRef.call`."""
        return call(self._pool or self._bind(), "$call", (request,), {}, inf if timeout is None else timeout)

    def cast(self, request: Any) -> None:
        """Send a request to handle_cast."""
        cast(self._pool or self._bind(), "$cast", (request,), {})

    def info_message(self, message: Any) -> None:
        """Send a message to handle_info."""
        cast(self._pool or self._bind(), "$info", (message,), {})

    def send_request(self, request: Any) -> Request:
        """Send a request to handle_call and return at once; wait for the reply with `Request.wait`."""
        from dspex_runtime.client.request import Request

        return Request.of_server(self, request)

    stop = blocking(ref_ops.stop)
    get_state = blocking(ref_ops.get_state)
    replace_state = blocking(ref_ops.replace_state)
    get_status = blocking(ref_ops.get_status)
    suspend = blocking(ref_ops.suspend)
    resume = blocking(ref_ops.resume)
    statistics = blocking(ref_ops.statistics)
    trace = blocking(ref_ops.trace)
    log = blocking(ref_ops.log)
    log_to_file = blocking(ref_ops.log_to_file)
    install = blocking(ref_ops.install)
    remove = blocking(ref_ops.remove)
    no_debug = blocking(ref_ops.no_debug)
