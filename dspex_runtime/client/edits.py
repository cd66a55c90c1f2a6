"""What was edited on proxies and not sent yet: sent before this client uses the module in any way, and before it closes.

dspy lets anybody write into its objects, so a proxy sees an edit when it looks. All that live are known here, and the last that
were filled are kept, those too that nobody else holds any more: `rt.module("qa").predict.demos = []` is an edit like any other.
"""

from __future__ import annotations

import atexit
import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Final, Protocol

from dspex_runtime.client.steps import Await, Steps
from dspex_runtime.errors import DspexError

__all__ = ["Edited", "Edits"]

log = logging.getLogger("dspex_runtime.client")

# Proxies that are kept alive for their edits; the one that was filled first goes first, and what it has is sent then. Of one
# module a few: each call of it looks at all of them, 0.8 us a predictor.
MOST_KEPT: Final = 64
MOST_KEPT_OF_ONE: Final = 4


class Edited(Protocol):
    """A mirror, as far as this is concerned."""

    @property
    def has_edits(self) -> bool:
        """Whether there is something to send; a microsecond a part."""
        ...

    def push(self) -> None:
        """Send it."""
        ...

    def outdated(self) -> None:
        """Its program is another one now."""
        ...


class Edits:
    """Those of one session. Safe to use from many threads."""

    def __init__(self) -> None:
        self._of: dict[str, tuple[weakref.ref[Edited], ...]] = {}  # by id, all that live: a call asks for those of one module ...
        self._below: dict[str, tuple[str, ...]] = {}  # ... and of its parts, whose ids begin with its own: of each the ids it has
        self._kept: deque[tuple[str, Edited]] = deque()
        self._lock = threading.Lock()  # of the two; nothing is sent under it

    def track(self, id: str, mirror: Edited) -> None:
        """Know of a mirror from now on, for as long as it lives: it was filled, and may be changed."""
        with self._lock:
            if self not in _with_some:
                _with_some.add(self)
                _close_at_exit()
            if id not in self._of:
                for above in _above(id):
                    self._below[above] = (*self._below.get(above, ()), id)
            self._of[id] = (*(ref for ref in self._of.get(id, ()) if ref() is not None), weakref.ref(mirror))
            self._kept.append((id, mirror))
            of_one = [kept for kept in self._kept if kept[0] == id]
            too_many = of_one[:1] if len(of_one) > MOST_KEPT_OF_ONE else [self._kept[0]] if len(self._kept) > MOST_KEPT else []
            for kept in too_many:
                self._kept.remove(kept)
        for kept in too_many:
            _send(*kept)

    def _living(self, id: str) -> list[Edited]:
        return [mirror for ref in self._of.get(id, ()) if (mirror := ref()) is not None]

    def _within(self, id: str) -> list[Edited]:
        """Return the mirrors of a module and of its parts: what it does in a call it does with them."""
        below = self._below.get(id)
        return self._living(id) if below is None else [mirror for each in (id, *below) for mirror in self._living(each)]

    def waiting(self, id: str) -> bool:
        """Whether something of a module is to be sent."""
        return any(mirror.has_edits for mirror in self._within(id))

    def push(self, id: str) -> None:
        """Send what was edited of a module; raises what `Edited.push` does. Costs nothing where no proxy was filled."""
        for mirror in self._within(id):
            mirror.push()

    def pushed(self, id: str) -> Steps[None]:
        """Do the same in steps: it waits for the module, and an event loop must not. The id may be a bare one."""
        for full_id in self._meant(id):
            if self.waiting(full_id):
                yield from _elsewhere(partial(self.push, full_id))

    def outdated(self, id: str) -> None:
        """Have the mirrors of a module look at its program again. The id may be a bare one."""
        for full_id in self._meant(id):
            for mirror in self._living(full_id):
                mirror.outdated()

    def ids(self) -> list[str]:
        """Return the full ids of the modules that mirrors were filled of."""
        return list(self._of)

    def _meant(self, id: str) -> list[str]:
        return [known for known in list(self._of) if known == id or known.endswith(f"/{id}")]

    def close(self) -> None:
        """Send what there is, of all modules, and keep nothing any more. What is refused is logged: nobody is there to catch it.

        From many threads, and twice: each edit is sent once.
        """
        _send_all(self._all())

    def closed(self) -> Steps[None]:
        """Do the same in steps."""
        there = self._all()
        if any(mirror.has_edits for _, mirror in there):
            yield from _elsewhere(lambda: _send_all(there))

    def _all(self) -> list[tuple[str, Edited]]:
        with self._lock:
            there = [(id, mirror) for id in self._of for mirror in self._living(id)]
            self._of.clear()
            self._below.clear()
            self._kept.clear()
        return there


def _above(id: str) -> Iterator[str]:
    """Yield the ids of what may have this as a part."""
    above = id.rpartition("/")[0]
    while above:
        yield above
        above = above.rpartition("/")[0]


def _elsewhere(function: Callable[[], object]) -> Steps[None]:
    """Run a function on a thread of its own."""
    done: Future[None] = Future()

    def run() -> None:
        try:
            function()
        except BaseException as exc:
            done.set_exception(exc)
        else:
            done.set_result(None)

    threading.Thread(target=run, name="dspex-edits", daemon=True).start()
    yield Await(done)


def _send_all(there: list[tuple[str, Edited]]) -> None:
    for id, mirror in there:
        _send(id, mirror)


def _send(id: str, mirror: Edited) -> None:
    try:
        mirror.push()
    except DspexError as exc:
        log.warning("what was edited on a proxy of %r is lost: %s", id, exc)


_with_some: weakref.WeakSet[Edits] = weakref.WeakSet()


def _close_all() -> None:
    for edits in list(_with_some):
        edits.close()


def _close_at_exit() -> None:
    """A script may end without closing its connection. Not at import: a module process forgets what its zygote registered."""
    atexit.unregister(_close_all)
    atexit.register(_close_all)
