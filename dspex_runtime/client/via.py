"""Addresses by key: looked up in the registry at every use, as OTP does with `{via, ...}` names."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from dspex_runtime.client.ids import Via, holder
from dspex_runtime.client.ref import MODULE_CALL, ModuleRef, ServerRef
from dspex_runtime.client.session import Session, session_at
from dspex_runtime.client.steps import Steps, arun, run

if TYPE_CHECKING:
    from dspex_runtime.client.async_request import Request
    from dspex_runtime.modules.mirror.proxy import ModuleProxy

__all__ = ["AsyncNamedRef", "NamedRef", "Via", "named", "named_proxy"]


class _Named:
    """What both kinds of reference to whoever holds a key share."""

    __slots__ = ("_kind", "_session", "_socket_path", "via")

    def __init__(self, session: Session | None, via: Via, kind: str, socket_path: str = "") -> None:
        self.via = via
        self._kind = kind
        self._session = session
        self._socket_path = session.socket_path if session is not None else socket_path

    def _found(self) -> Steps[tuple[Session, str]]:
        if self._session is None:
            self._session = session_at(self._socket_path)
        return self._session, (yield from holder(self._session, self.via, self._kind))

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, _Named) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> tuple[Any, ...]:
        return self.via, self._kind, self._socket_path

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.via.key!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (None, *self._identity()))


class NamedRef(_Named):
    """A reference to whoever holds a key: has every attribute of a ServerRef (of a ModuleRef), taken from the present holder's."""

    __slots__ = ()

    def current(self) -> ServerRef | ModuleRef:
        """Return a reference to the child that holds the key now.

        Raises:
            NoProcessError: Nobody does.
            ConfigError: It is of another kind.
            RegistryError: "duplicate_key": the key names no single process.
        """
        return (ServerRef if self._kind == "server" else ModuleRef)(*run(self._found()))

    async def acall(self, method: str = MODULE_CALL, /, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        """Call the module that holds the key now, for tasks; see `ModuleRef.acall`."""
        return await ModuleRef(*await arun(self._found())).acall(method, *args, timeout=timeout, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # what copy and pickle look for; ours are in the slots
            raise AttributeError(name)
        return getattr(self.current(), name)


class AsyncNamedRef(_Named):
    """`NamedRef` for tasks: every method of `aio.ServerRef` (of `aio.ModuleRef`) is one of the child that holds the key then."""

    __slots__ = ()

    async def current(self) -> Any:
        """Return an awaitable reference to the child that holds the key now; raises as `NamedRef.current`."""
        from dspex_runtime.client import aio

        return (aio.ServerRef if self._kind == "server" else aio.ModuleRef)(*await arun(self._found()))

    def __getattr__(self, name: str) -> Any:
        from dspex_runtime.client import aio

        if name.startswith("_") or not callable(getattr(aio.ServerRef if self._kind == "server" else aio.ModuleRef, name, None)):
            raise AttributeError(f"{self!r} has no {name!r}: `await ref.current()` is the reference to who holds the key now")

        async def method(*args: Any, **kwargs: Any) -> Any:
            return await getattr(await self.current(), name)(*args, **kwargs)

        return method

    def send_request(self, request: Any) -> Request:
        """Send a request to handle_call and return at once; needs a running loop."""
        from dspex_runtime.client.async_request import Request

        return Request(repr(self.via), self.__getattr__("call")(request, timeout=None))

    async def stream(
        self, method: str | None = None, /, *args: Any, timeout: float | None = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        """Call a method that yields and iterate over its items; closing it early cancels the call."""
        async with (await self.current()).stream(method, *args, timeout=timeout, **kwargs) as items:
            async for item in items:
                yield item


def named(session: Session, via: Via, kind: str) -> Any:
    """Return a reference that is looked up at every use; `kind` is what the holder must be then."""
    return NamedRef(session, via, kind)


def named_proxy(session: Session, via: Via) -> ModuleProxy:
    """Return a `dspy.Module` whose calls go to whoever holds the key then. Imports dspy."""
    from dspex_runtime.client.proxies import proxy_of

    return proxy_of(session, NamedRef(session, via, "module"))
