"""The callers' LMs and adapters that this process keeps for them, by token. Host side.

Owns the last few: one that is not used for long is forgotten, and comes again when it is needed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Container, Sequence
from operator import length_hint
from typing import Any, Final

from dspex_runtime.modules.relay import pickles as relay_pickles
from dspex_runtime.modules.relay.objects import CURSORS, advance

MOST: Final = 64  # objects; an LM with its connections is some 100 kB


class _Guest:
    """One object of a caller: as of which version, and its scripted cursors."""

    __slots__ = ("cursors", "object", "version")

    def __init__(self, obj: Any, version: int) -> None:
        self.object = obj
        self.version = version
        self.cursors = {name: value for name, value in getattr(obj, "__dict__", {}).items() if isinstance(value, CURSORS)}


class Guests:
    """The objects, by token; and the tokens, by object."""

    def __init__(self) -> None:
        self._guests: OrderedDict[str, _Guest] = OrderedDict()
        self._tokens: dict[int, str] = {}
        self._lock = threading.Lock()

    def take(self, messages: Sequence[Any]) -> list[str]:
        """Take what a call brings, and let scripted cursors catch up; returns the tokens of what is missing.

        Raises:
            Exception: Whatever unpickling raises: its class cannot be imported here, say.
        """
        missing = []
        needed = {token for token, *_ in messages}
        for token, version, body, left in messages:
            with self._lock:
                guest = self._guests.get(token)
                if body is not None and (guest is None or guest.version != version):
                    guest = self._keep(token, _Guest(relay_pickles.loads(body), version), needed)
                if guest is None or guest.version != version:
                    missing.append(token)
                    continue
                self._guests.move_to_end(token)
                advance(guest.cursors, left)
        return missing

    def _keep(self, token: str, guest: _Guest, needed: Container[str]) -> _Guest:
        before = self._guests.pop(token, None)
        if before is not None:
            self._tokens.pop(id(before.object), None)
        self._guests[token] = guest
        self._tokens[id(guest.object)] = token
        for oldest in [known for known in self._guests if known not in needed][: max(0, len(self._guests) - MOST)]:
            self._tokens.pop(id(self._guests.pop(oldest).object), None)
        return guest

    def get(self, token: str) -> Any:
        """Return an object that was taken."""
        return self._guests[token].object

    def all(self) -> list[Any]:
        """Return all of them, the last used first."""
        with self._lock:
            return [guest.object for guest in reversed(self._guests.values())]

    def token_of(self, obj: Any) -> str | None:
        """Return the token of one of them, None for what is this process's own."""
        return self._tokens.get(id(obj))

    def left(self, tokens: Sequence[str]) -> dict[str, dict[str, int]]:
        """Return how many scripted items are left, of those that have any."""
        found = {}
        for token in tokens:
            guest = self._guests.get(token)
            if guest is not None and guest.cursors:
                found[token] = {name: length_hint(cursor) for name, cursor in guest.cursors.items()}
        return found


guests: Final = Guests()
