"""The caller's own objects that hosts keep for it (LMs, adapters): which they have, and in which version. Client side.

An object has one token as long as it lives, so that a host has one LM for one LM of the caller's, and what is told of it lands on
the caller's own. A version ends when an attribute, or an entry of `kwargs`, becomes another object; a scripted cursor is none.
"""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from collections.abc import Mapping
from functools import partial
from itertools import islice
from operator import length_hint
from typing import Any, Final

from dspex_runtime.errors import UnserialisableError
from dspex_runtime.modules.parts import OF_CALLS
from dspex_runtime.modules.relay import pickles as relay_pickles

CURSORS: Final[tuple[type, ...]] = (type(iter([])), type(iter(())), type(iter(range(0))))
_PLAIN: Final = (bool, int, float, str, bytes)
_MOST_ITEMS: Final = 64  # of a list or dict that are looked at, by identity


class Kept:
    """One object of this process.

    Attributes:
        token: Its name, the same in all hosts.
        version: Counts what it became.
        sent: The version that each host was given, by the hash of the reference: one host too few is asked for it, no harm.
    """

    __slots__ = ("_cursors", "_object", "_seen", "sent", "token", "version")

    def __init__(self, token: str, obj: Any) -> None:
        self.token = token
        self.version = 0
        self.sent: dict[int, int] = {}
        self._object = weakref.ref(obj, partial(_forget, id(obj), token))
        self._look(obj)

    def _look(self, obj: Any) -> None:
        state = _state(obj)
        self._seen = _print(state)
        self._cursors = {name: value for name, value in state.items() if isinstance(value, CURSORS)}

    @property
    def object(self) -> Any:
        """The object, or None when it is gone."""
        return self._object()

    def refresh(self) -> None:
        """Begin a new version if the object is not what it was."""
        obj = self.object
        if _print(_state(obj)) != self._seen:
            self._look(obj)
            self.version += 1

    def message(self, host: int, what: str) -> list[Any]:
        """Return what a host needs to have it; with its body where that host was not given this version."""
        self.refresh()
        body = None
        if self.sent.get(host) != self.version:
            obj = self.object
            try:
                body = relay_pickles.dumps(obj)
            except Exception as exc:
                text = f"{what}, a {type(obj).__module__}.{type(obj).__qualname__}, cannot be sent: {type(exc).__name__}: {exc}"
                raise UnserialisableError(text, path=what, hint="configure it in the module's own process (lm:, dspy:)") from exc
            self.sent[host] = self.version
        return [self.token, self.version, body, self.left()]

    def left(self) -> dict[str, int]:
        """Return how many scripted items are left, by attribute."""
        return {name: length_hint(cursor) for name, cursor in self._cursors.items()}

    def catch_up(self, left: Mapping[str, int]) -> None:
        """Skip the scripted items that were used elsewhere."""
        advance(self._cursors, left)


def advance(cursors: Mapping[str, Any], left: Mapping[str, int]) -> None:
    """Take items until no more are left than said."""
    for name, cursor in cursors.items():
        for _ in range(length_hint(cursor) - left.get(name, length_hint(cursor))):
            next(cursor, None)


_kept: dict[int, Kept] = {}
_by_token: dict[str, Kept] = {}
_numbers: Final = itertools.count(1)
_lock: Final = threading.Lock()


def _new_process() -> str:
    return f"{os.getpid()}.{os.urandom(6).hex()}"


_process = _new_process()


def kept(obj: Any) -> Kept:
    """Return what is known of an object; from now on it has a token.

    Raises:
        TypeError: There is no weak reference to it: a number, a list.
    """
    found = _kept.get(id(obj))
    if found is None or found.object is not obj:
        with _lock:
            found = Kept(f"{_process}.{next(_numbers)}", obj)
            _kept[id(obj)] = _by_token[found.token] = found
    return found


def by_token(token: str) -> Kept | None:
    """Return what is known under a token; None when its object is gone, or another process's."""
    return _by_token.get(token)


def _forget(key: int, token: str, _: Any) -> None:
    _by_token.pop(token, None)
    found = _kept.get(key)
    if found is not None and found.token == token:
        del _kept[key]


def _forked() -> None:
    # What the child does to its copies, the parent's tokens must not mean.
    global _process
    _process = _new_process()
    _kept.clear()
    _by_token.clear()


os.register_at_fork(after_in_child=_forked)


def _state(obj: Any) -> dict[str, Any]:
    return getattr(obj, "__dict__", {})


def _print(state: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what tells one version from another. Holds nothing that may lead back to the object: that is free to go."""
    own = [_mark(value) for name, value in state.items() if name not in OF_CALLS]
    options = state.get("kwargs")
    return (*own, *options, *map(_mark, options.values())) if type(options) is dict else tuple(own)


def _mark(value: Any) -> Any:
    if value is None or isinstance(value, _PLAIN):
        return value
    if type(value) is list:
        return id(value), len(value), *map(id, value[:_MOST_ITEMS])
    if type(value) is dict:
        return id(value), len(value), *map(id, islice(value.values(), _MOST_ITEMS))
    return id(value)
