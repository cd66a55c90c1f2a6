"""The registry of names and the locks, as functions for code inside a module process: it speaks for itself.

What needs a reference (whereis, lookup) is in the client's `own_names`. Everything this process holds ends with it, before
anybody is told of its end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self

from dspex_runtime.core.keys import ANY, show, typed
from dspex_runtime.errors import CallTimeoutError, DspexError, RegistryError, RuntimeUnreachableError
from dspex_runtime.host.context import CallCancelledError, self_id
from dspex_runtime.host.parent import aask, ask, uplink

__all__ = ["Lock", "listen", "lock", "register", "unlisten", "unregister", "update_value"]

UNLOCK_TIMEOUT_S: Final = 5.0


def register(key: Any, value: Any = None, unique: bool = True) -> None:
    """Register this process under a key; in `init` too. The entry goes with the process, before its DOWN.

    Args:
        key: str, int, float, bool, None, bytes, or a tuple of these; compared with its type: 1, 1.0 and True differ.
        value: Anything; `lookup` returns it.
        unique: Whether the key has one holder at most. A duplicate key takes any number of entries, of one process too.

    Raises:
        RegistryError: "already_registered" (`.holder` says by whom, be it this process), or "duplicate_key".
    """
    typed(key)
    ask("register", {"key": key, "value": value, "unique": unique})


def unregister(key: Any, match: Any = ANY) -> int:
    """Remove all entries of this process of a key, with `match` those whose value fits; returns how many. None is no error."""
    typed(key)
    return int(ask("unregister", {"key": key, **({} if match is ANY else {"match": match})}))


def update_value(key: Any, function: Callable[[Any], Any]) -> tuple[Any, Any]:
    """Replace the value under which this process holds a unique key by `function(value)`; returns (new, old).

    Raises:
        RegistryError: "not_registered": this process does not hold it; "duplicate_key".
    """
    typed(key)
    while True:
        entries = ask("lookup", {"key": key})
        revision, old, new = -1, None, None  # no entry has that revision: the runtime says what is wrong
        if entries and entries[0]["unique"] and entries[0]["id"] == self_id():
            revision, old = entries[0]["revision"], entries[0]["value"]
            new = function(old)
        if ask("update_value", {"key": key, "value": new, "revision": revision}):
            return new, old


def listen() -> None:
    """Have every registration from now on delivered to handle_info as `dx.Registered`, every removal as `dx.Unregistered`.

    A removal is an explicit one: an entry that goes with its process tells nobody, monitors do.
    """
    ask("listen", {})


def unlisten() -> bool:
    """Have them delivered no more; returns whether they were."""
    return bool(ask("unlisten", {}))


def lock(key: Any, timeout: float | None = None) -> Lock:
    """Return a mutex of the whole runtime, for `with` or, in a task, `async with`.

    Served in the order they asked; released when the block is left, and when this process ends in any way. Not re-entrant: a
    thread or task that asks for what it holds gets RegistryError ("already_locked").

    Args:
        key: As of `register`; locks and names have nothing to do with one another.
        timeout: Seconds to wait, CallTimeoutError after that, as after the deadline of the request being served. 0 only tries.
    """
    return Lock(key, timeout)


class Lock:
    """What `lock` returns. One object may be entered by many threads or tasks: each waits for itself."""

    def __init__(self, key: Any, timeout: float | None) -> None:
        typed(key)
        self.key = key
        self._timeout = timeout
        self._held: set[str] = set()

    def __enter__(self) -> Self:
        try:
            ask("lock", self._asked(this_thread()), timeout_s=None)
        except BaseException as exc:
            self._not_entered(exc, this_thread())
            raise
        self._held.add(this_thread())
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._leave(this_thread())

    async def __aenter__(self) -> Self:
        try:
            await aask("lock", self._asked(this_task()), timeout_s=None)
        except BaseException as exc:
            self._not_entered(exc, this_task())
            raise
        self._held.add(this_task())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._leave(this_task())

    def _asked(self, token: str) -> dict[str, Any]:
        return {"key": self.key, "token": token, "timeout": self._timeout}

    def _not_entered(self, exc: BaseException, token: str) -> None:
        # Given up here: it may have been granted in this moment. Refused ("already_locked"), or not asked for because the request
        # being served was cancelled: this party may hold it, from a block further out, and must go on to.
        refused = isinstance(exc, DspexError) and not isinstance(exc, CallTimeoutError)
        if not refused and not isinstance(exc, CallCancelledError):
            self._unlock(token)

    def _leave(self, token: str) -> None:
        token = token_to_leave(self.key, self._held, token)
        self._held.discard(token)
        self._unlock(token)

    def _unlock(self, token: str) -> None:
        # Not `ask`: that obeys the deadline and the cancellation of the request being served, after which this must still be done.
        try:
            uplink().ask("unlock", {"key": self.key, "token": token}, monotonic() + UNLOCK_TIMEOUT_S)
        except (CallTimeoutError, RuntimeUnreachableError):
            pass  # sent, and carried out as soon as the runtime gets to it; or there is no runtime any more

    def __repr__(self) -> str:
        return f"<Lock {self.key!r}>"


def token_to_leave(key: Any, held: Collection[str], own: str) -> str:
    """Return by which of the tokens that hold a lock it is left: one's own, where that holds none another's.

    What is held by a token that never leaves is held until the process ends: a generator or a fixture may be closed on another
    thread or task than it was entered on.

    Raises:
        RegistryError: "not_locked": none holds it.
    """
    if not held:
        raise RegistryError("not_locked", f"lock {show(key)} is not held: it was left without having been entered")
    return own if own in held else next(iter(held))


def this_thread() -> str:
    """Return the token by which the runtime knows this thread from others of its process, in what they ask of locks."""
    return f"thread {threading.get_ident()}"


def this_task() -> str:
    """Return that of this asyncio task."""
    import asyncio

    return f"task {id(asyncio.current_task())}"
