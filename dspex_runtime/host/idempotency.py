"""The record of idempotent calls: a key seen in this incarnation is answered from here, never run again.

Bounded by number and by size; the oldest answers go first. Only methods declared `@dx.idempotent` are recorded.
The caller holds the loop's lock for everything but `record`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from dspex_runtime.host.mailbox import Request
    from dspex_runtime.wire.codec import Codec

MAX_ANSWERS: Final = 512
MAX_BYTES: Final = 8 * 2**20


class Answers:
    """Replies by key, and who waits for a key that is queued or running."""

    __slots__ = ("_bytes", "_codec", "_done", "_lock", "_methods", "_waiting")

    def __init__(self, codec: Codec, methods: Iterable[str]) -> None:
        self._codec = codec
        self._methods = frozenset(methods)
        self._done: OrderedDict[str, bytes] = OrderedDict()
        self._waiting: dict[str, list[Request]] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def covers(self, request: Request) -> bool:
        """Return whether this request's answer is to be recorded."""
        return request.key is not None and request.method in self._methods

    def meet(self, request: Request) -> list[Any] | bool:
        """Say what is known of a request's key, in one step: what runs may end at any moment, on another thread.

        Returns:
            [value] when it was answered before: what was sent then, not what became of it. True when it is on its way
            already: this one waits for its answer. False when this is the first: it is to run.
        """
        assert request.key is not None
        with self._lock:
            packed = self._done.get(request.key)
            if packed is None:
                if request.key in self._waiting:
                    self._waiting[request.key].append(request)
                    return True
                self._waiting[request.key] = []
                return False
        return self._codec.unpack(packed)

    def record(self) -> tuple[list[tuple[str, bytes]], dict[str, list[Request]]]:
        """Return the answers, oldest first and packed, and by key who waits for one that is queued, or owed."""
        with self._lock:
            return list(self._done.items()), {key: list(waiting) for key, waiting in self._waiting.items()}

    def adopt(self, done: Sequence[tuple[str, bytes]], waiting: Mapping[str, list[Request]], methods: Iterable[str]) -> None:
        """Go on with another process's record; `methods` are of the keys that wait: declared here or not, they are settled."""
        with self._lock:
            self._done.update(done)
            self._bytes = sum(map(len, self._done.values()))
            self._waiting.update(waiting)
            self._methods |= frozenset(methods)

    def settle(self, request: Request, value: list[Any] | None) -> list[Request]:
        """End a key: record [value] (None: it failed, and may run again); return the others who waited for it."""
        key = request.key
        if key is None or request.method not in self._methods:
            return []
        packed = self._codec.pack(value) if value is not None else b""
        with self._lock:
            if packed and len(packed) <= MAX_BYTES // 8:
                self._done[key] = packed
                self._bytes += len(packed)
                while len(self._done) > MAX_ANSWERS or self._bytes > MAX_BYTES:
                    self._bytes -= len(self._done.popitem(last=False)[1])
            return self._waiting.pop(key, [])
