"""What was edited on proxies and not sent yet: sent before this client uses the module in any way, and before it closes.

dspy lets anybody write into its objects, so a proxy sees an edit when it looks. The last proxies that were filled are kept here,
those too that nobody else holds any more: `rt.module("qa").predict.demos = []` is an edit like any other.
"""

from __future__ import annotations

import atexit
import logging
import threading
import weakref
from collections import deque
from concurrent.futures import Future
from typing import Final, Protocol

from dspex_runtime.client.steps import Await, Steps
from dspex_runtime.errors import DspexError

__all__ = ["Edited", "Edits"]

log = logging.getLogger("dspex_runtime.client")

MOST_KEPT: Final = 64  # proxies that are kept alive for their edits; the one that was filled first goes first


class Edited(Protocol):
    """A mirror, as far as this is concerned."""

    @property
    def has_edits(self) -> bool:
        """Whether there is something to send; a microsecond a part."""
        ...

    def push(self) -> None:
        """Send it."""
        ...


class Edits:
    """Those of one session. Safe to use from many threads."""

    def __init__(self) -> None:
        self._of: dict[str, tuple[Edited, ...]] = {}  # by id: a call asks for those of one module
        self._order: deque[tuple[str, Edited]] = deque()
        self._lock = threading.Lock()  # of the two; nothing is sent under it

    def track(self, id: str, mirror: Edited) -> None:
        """Know of a mirror from now on: it was filled, and may be changed."""
        with self._lock:
            _with_some.add(self)
            self._order.append((id, mirror))
            self._of[id] = (*self._of.get(id, ()), mirror)
            oldest = self._first() if len(self._order) > MOST_KEPT else None
        if oldest is not None:
            _send(*oldest)

    def _first(self) -> tuple[str, Edited]:
        id, mirror = self._order.popleft()
        left = tuple(other for other in self._of[id] if other is not mirror)
        if left:
            self._of[id] = left
        else:
            del self._of[id]
        return id, mirror

    def waiting(self, id: str) -> bool:
        """Whether something of a module is to be sent."""
        return any(mirror.has_edits for mirror in self._of.get(id, ()))

    def push(self, id: str) -> None:
        """Send what was edited of a module; raises what `Edited.push` does. Costs nothing where no proxy was filled."""
        for mirror in self._of.get(id, ()):
            mirror.push()

    def pushed(self, id: str) -> Steps[None]:
        """Do the same in steps: it waits for the module, and an event loop must not."""
        if self.waiting(id):
            done: Future[None] = Future()
            threading.Thread(target=self._push_into, args=(done, id), name="dspex-edits", daemon=True).start()
            yield Await(done)

    def _push_into(self, done: Future[None], id: str) -> None:
        try:
            self.push(id)
        except BaseException as exc:
            done.set_exception(exc)
        else:
            done.set_result(None)

    def close(self) -> None:
        """Send what there is, of all modules, and keep nothing any more. What is refused is logged: nobody is there to catch it."""
        while self._order:
            with self._lock:
                first = self._first()
            _send(*first)


def _send(id: str, mirror: Edited) -> None:
    try:
        mirror.push()
    except DspexError as exc:
        log.warning("what was edited on a proxy of %r is lost: %s", id, exc)


_with_some: weakref.WeakSet[Edits] = weakref.WeakSet()


def _close_all() -> None:
    for edits in list(_with_some):
        edits.close()


atexit.register(_close_all)  # a script may end without closing its connection
