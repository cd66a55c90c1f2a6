"""The registry of names and the locks, for clients: each operation written once, as `*_ops` have the others.

A client has no name of its own: it speaks for the process it names, and holds locks itself, until its connection ends.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from dspex_runtime.client.asking import QUICK_S, Client, ask, module_info
from dspex_runtime.client.ids import Child, looked_up
from dspex_runtime.client.session import Session
from dspex_runtime.client.steps import Steps, arun, run
from dspex_runtime.client.values import as_received, as_sent
from dspex_runtime.core.keys import ANY, typed
from dspex_runtime.errors import DspexError, RuntimeUnreachableError
from dspex_runtime.host.names import this_task, this_thread, token_to_leave
from dspex_runtime.types import ModuleInfo

__all__ = [
    "AsyncLock", "Lock", "keys", "lookup", "register", "registered", "select", "unregister", "update_value", "whereis",
]  # fmt: skip


def register(self: Client, key: Any, id: Child, value: Any = None, unique: bool = True) -> Steps[None]:
    """Register the running incarnation of a child under a key; the entry goes with that incarnation, before its DOWN.

    Args:
        self: The runtime.
        key: str, int, float, bool, None, bytes, or a tuple of these; compared with its type: 1, 1.0 and True differ.
        id: The child.
        value: Anything; `lookup` returns it.
        unique: Whether the key has one holder at most. A duplicate key takes any number of entries, of one process too.

    Raises:
        RegistryError: "already_registered" (`.holder` says by whom, be it the same child), or "duplicate_key".
        NoProcessError: The child is not running.
    """
    typed(key)
    wanted = yield from looked_up(self.session, id)
    asked = {"key": key, "id": wanted, "value": as_sent(self.session.codec, value), "unique": unique}
    yield from ask(self.session, "register", asked, QUICK_S)


def unregister(self: Client, key: Any, id: Child | None = None, match: Any = ANY) -> Steps[int]:
    """Remove a child's entries of a key, without an id everybody's; returns how many. None to remove is no error.

    With `match` only entries whose value fits (see `lookup`) are removed.
    """
    wanted = None if id is None else (yield from looked_up(self.session, id))
    asked = {"key": key, "id": wanted, **_matching(self.session, match)}
    return int((yield from ask(self.session, "unregister", asked, QUICK_S)))


def update_value(self: Client, key: Any, function: Callable[[Any], Any]) -> Steps[tuple[Any, Any]]:
    """Replace the value of a unique key by `function(value)`; returns (new, old). No update in between is lost.

    The function runs here, again when the value has changed meanwhile.

    Raises:
        RegistryError: "not_registered": nobody holds the key; "duplicate_key".
    """
    while True:
        entries = yield from _entries(self, key)
        revision, old, new = -1, None, None  # no entry has that revision: the runtime says what is wrong
        if entries and entries[0]["unique"]:
            revision, old = entries[0]["revision"], entries[0]["value"]
            new = function(old)
        asked = {"key": key, "value": as_sent(self.session.codec, new), "revision": revision}
        if (yield from ask(self.session, "update_value", asked, QUICK_S)):
            return new, old


def whereis(self: Client, key: Any) -> Steps[Any]:
    """Return a reference to the living holder of a unique key, None when nobody holds it.

    It stays with that child; `dx.Via(key)` is an address that is looked up at every call.

    Raises:
        RegistryError: "duplicate_key": the key names no single process.
    """
    typed(key)
    found = yield from ask(self.session, "whereis", {"key": key}, QUICK_S)
    return None if found is None else self.reference(found["id"], found["kind"])


def lookup(self: Client, key: Any, match: Any = ANY) -> Steps[list[tuple[Any, Any]]]:
    """Return (reference, value) of each entry of a key, in the order they were made.

    Args:
        self: The runtime.
        key: The key.
        match: Only entries whose value fits: a dict by the pairs it names, lists and tuples item by item, all else by type and
            value. A process that died this moment may still be there.
    """
    entries = yield from _entries(self, key, match)
    return [(self.reference(entry["id"], entry["kind"]), entry["value"]) for entry in entries]


def registered(self: Client, key: Any = ANY, match: Any = ANY) -> Steps[list[dict[str, Any]]]:
    """Return entries of the registry, of a key or of all, as dicts: key, id, incarnation, kind, value, unique, revision."""
    if key is not ANY:
        return (yield from _entries(self, key, match))
    entries = yield from ask(self.session, "lookup", _matching(self.session, match), QUICK_S)
    return [as_received(self.session.codec, entry) for entry in entries]


def keys(self: Client, id: Child) -> Steps[list[Any]]:
    """Return the keys a child is registered under, a key of several entries so many times."""
    found: list[Any] = yield from ask(self.session, "keys", {"id": (yield from looked_up(self.session, id))}, QUICK_S)
    return found


def select(self: Client, /, version: str | None = None, **metadata: Any) -> Steps[list[ModuleInfo]]:
    """Return all children that have this version and whose metadata has every given value."""
    wanted = {"metadata": metadata, "version": version}
    return [module_info(data) for data in (yield from ask(self.session, "select", wanted, QUICK_S))]


def _entries(self: Client, key: Any, match: Any = ANY) -> Steps[list[dict[str, Any]]]:
    typed(key)
    entries = yield from ask(self.session, "lookup", {"key": key, **_matching(self.session, match)}, QUICK_S)
    return [as_received(self.session.codec, entry) for entry in entries]


def _matching(session: Session, match: Any) -> dict[str, Any]:
    return {} if match is ANY else {"match": as_sent(session.codec, match)}


# -- locks ---------------------------------------------------------------------------------------------------------------


class _Lock:
    """A mutex of the whole runtime. One object may be entered by many threads or tasks: each waits for itself."""

    def __init__(self, session: Session, key: Any, timeout: float | None) -> None:
        typed(key)
        self.key = key
        self._session = session
        self._timeout = timeout
        self._held: set[str] = set()

    def _entering(self, token: str) -> Steps[None]:
        asked = {"key": self.key, "token": token, "timeout": self._timeout}
        try:
            yield from ask(self._session, "lock", asked)
        except DspexError:
            raise  # not granted
        except BaseException:
            # Interrupted: it may have been granted in this moment.
            self._session.connection.hint("unlock", {"key": self.key, "token": token})
            raise
        self._held.add(token)

    def _leaving(self, token: str) -> Steps[None]:
        token = token_to_leave(self.key, self._held, token)
        self._held.discard(token)
        try:
            yield from ask(self._session, "unlock", {"key": self.key, "token": token}, QUICK_S)
        except RuntimeUnreachableError:
            pass  # whatever this client held went with the connection

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.key!r}>"


class Lock(_Lock):
    """What `rt.lock` returns, for `with`."""

    def __enter__(self) -> Self:
        run(self._entering(this_thread()))
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        run(self._leaving(this_thread()))


class AsyncLock(_Lock):
    """What `dx.aio` runtimes' `lock` returns, for `async with`."""

    async def __aenter__(self) -> Self:
        await arun(self._entering(this_task()))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        await arun(self._leaving(this_task()))
