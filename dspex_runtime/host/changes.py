"""Changes of parameters on their way to the parent, while somebody watches. Owns what is not told yet.

Never holds up whoever writes: what the control pipe does not take at once is remembered by name, with the latest version, and
told by the control thread later. Versions of one name are told in order; the watcher counts those that it never saw.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from dspex_runtime.errors import UnserialisableError
from dspex_runtime.params import values
from dspex_runtime.types import Change
from dspex_runtime.wire.codec import Codec

MAX_VALUE_BYTES: Final = 1024  # a larger value is read from the table by whoever wants it
RETRY_S: Final = 0.01  # how soon a pipe that was full is tried again

# True: sent. False: the pipe is full.
Send = Callable[[dict[str, Any]], bool]


class Changes:
    """What is to be told of one module's parameters.

    Args:
        codec: Writes the values.
        send: Sends an event without waiting.
        wake: Makes the control thread look at `flush`.
    """

    def __init__(self, codec: Codec, send: Send, wake: Callable[[], None]) -> None:
        self._codec = codec
        self._send = send
        self._wake = wake
        self._lock = threading.Lock()
        self._patterns: tuple[str, ...] = ()
        self._told: dict[str, int] = {}
        self._waiting: dict[str, dict[str, Any]] = {}

    def watch(self, names: bool | list[str]) -> None:
        """Tell changes of these names or patterns (fnmatch) from now on: True is all, False or none is nobody's interest."""
        with self._lock:
            self._patterns = (("*",) if names else ()) if isinstance(names, bool) else tuple(map(str, names))
            if not self._patterns:
                self._waiting.clear()

    def contents(self) -> dict[str, Any]:
        """Return what another process of this incarnation needs to go on from here, as plain data."""
        with self._lock:
            return {"patterns": list(self._patterns), "told": dict(self._told), "waiting": dict(self._waiting)}

    def adopt(self, contents: Mapping[str, Any]) -> None:
        """Go on where another process was."""
        with self._lock:
            self._patterns = tuple(contents["patterns"])
            self._told, self._waiting = dict(contents["told"]), dict(contents["waiting"])
        if self._waiting:
            self._wake()

    @property
    def waiting(self) -> bool:
        """Whether there is something that could not be told at once."""
        return bool(self._waiting)

    def tell(self, change: Change) -> None:
        """Tell a change, now or later; on any thread, without waiting."""
        if not self._patterns:
            return
        event = self._event(change)
        with self._lock:
            name = change.name
            if change.version <= self._told.get(name, 0) or not any(fnmatchcase(name, one) for one in self._patterns):
                return
            self._told[name] = change.version
            if not self._waiting and self._send(event):
                return
            self._waiting[name] = event
        self._wake()

    def flush(self) -> None:
        """Tell what waits, as far as the pipe takes it."""
        with self._lock:
            while self._waiting:
                name = next(iter(self._waiting))
                if not self._send(self._waiting[name]):
                    return
                del self._waiting[name]

    def _event(self, change: Change) -> dict[str, Any]:
        return {
            "type": "changed",
            "name": change.name,
            "version": change.version,
            "when": change.when,
            "who": change.who,
            "value": self._small(change.value),
        }

    def _small(self, value: Any) -> bytes | None:
        """Return a value as bytes while it is small; None: read it from the table."""
        size = getattr(value, "nbytes", None) or (len(value) if isinstance(value, str | bytes) else 0)
        if size > MAX_VALUE_BYTES:
            return None
        try:
            data = bytes(values.encode(self._codec, value))
        except UnserialisableError:  # the table has what its owner made of it
            return None
        return data if len(data) <= MAX_VALUE_BYTES else None
