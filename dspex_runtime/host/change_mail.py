"""Changes that this process subscribed to, on their way into its mailbox as `dx.Change`, in version order.

A thread of its own decodes and delivers them: it may have to read a large value from a table. It never has more than
`IN_MAILBOX` of them in the mailbox; what a slow process leaves beyond `KEEP` becomes the latest of each parameter.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.core.changes import Inbox, News
from dspex_runtime.errors import ParameterNotFoundError
from dspex_runtime.host.tables import OthersTable
from dspex_runtime.params.values import decode
from dspex_runtime.types import Change

if TYPE_CHECKING:
    from dspex_runtime.host.loop_control import ControlledLoop
    from dspex_runtime.wire.codec import Codec

log = logging.getLogger("dspex_runtime.parameters")

KEEP: Final = 100  # as many as are kept of a parameter's history
IN_MAILBOX: Final = 16
LOOK_AGAIN_S: Final = 0.005  # while the mailbox has its share


class ChangeMail:
    """What came for this process; `came` is called by the control thread, which it never holds up."""

    def __init__(self, loop: ControlledLoop, codec: Codec) -> None:
        self._loop = loop
        self._codec = codec
        self._tables: dict[str, OthersTable] = {}
        self._changed = threading.Condition()
        self._inbox = Inbox(KEEP)
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()
        self._paused = False
        self._delivering = False

    def came(self, payload: dict[str, Any]) -> None:
        """Take what the parent sent (`node.subscriptions`)."""
        with self._changed:
            match payload:
                case {"type": "changed"}:
                    self._inbox.put(News.from_wire(payload))
                case {"type": "versions", "id": str(id), "versions": dict(versions)}:
                    self._inbox.catch_up(id, versions)
                case {"type": "forgotten", "id": str(id)}:
                    self._inbox.forget(id)
                    self._tables.pop(id, None)
            self._go_on()

    def _go_on(self) -> None:
        if self._inbox and self._thread is None and not self._closed.is_set():
            self._thread = threading.Thread(target=self._run, name="dspex-changes", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def pause(self, timeout_s: float) -> bool:
        """Deliver nothing until `resume`; False: what was being delivered is not in the mailbox within this time."""
        with self._changed:
            self._paused = True
            return self._changed.wait_for(lambda: not self._delivering, timeout_s)

    def resume(self) -> None:
        """Deliver again."""
        with self._changed:
            self._paused = False
            self._go_on()

    def contents(self) -> dict[str, Any]:
        """Return what another process of this incarnation needs to go on from here, as plain data. While paused."""
        with self._changed:
            told, waiting = self._inbox.contents()
        return {"told": [list(each) for each in told], "waiting": [news.to_wire() for news in waiting]}

    def adopt(self, told: Iterable[Sequence[Any]], waiting: Iterable[Mapping[str, Any]]) -> None:
        """Go on where another process was: with its `contents`, before anything came."""
        with self._changed:
            self._inbox.adopt(((str(id), str(name), int(version)) for id, name, version in told), map(News.from_wire, waiting))
            self._go_on()

    def unsubscribed(self, unwatched: Callable[[str, str], bool]) -> None:
        """A subscription to these parameters, by id and name, ended."""
        with self._changed:
            self._inbox.begin_anew(unwatched)

    def drop(self, unwanted: Callable[[News], bool]) -> None:
        """Drop some of what is not in the mailbox yet."""
        with self._changed:
            self._inbox.drop(unwanted)

    def close(self) -> None:
        """Deliver no more: the thread ends. Waits for nobody: what the thread reads it may have asked the parent for."""
        self._closed.set()
        with self._changed:
            self._changed.notify_all()

    def _run(self) -> None:
        closed = self._closed
        while True:
            with self._changed:
                self._changed.wait_for(lambda: (len(self._inbox) and not self._paused) or closed.is_set())
            while self._loop.count_messages(_is_change) >= IN_MAILBOX:
                if closed.wait(LOOK_AGAIN_S):  # meanwhile only the latest of each is kept
                    break
            if closed.is_set():
                return
            with self._changed:
                news = None if self._paused else self._inbox.take()
                self._delivering = news is not None
            if news is not None:
                self._deliver(news)
                with self._changed:
                    self._delivering = False
                    self._changed.notify_all()

    def _deliver(self, news: News) -> None:
        try:
            change = self._change(news)
        except ParameterNotFoundError:
            return  # taken away since
        except Exception:
            log.exception("a change of %s.%s cannot be read", news.id, news.name)
            return
        self._loop.deliver(change)

    def _change(self, news: News) -> Change:
        if news.data is not None:
            value = decode(self._codec, news.data)
            return Change(news.id, news.name, news.version, value, news.when, news.who, news.skipped)
        entry = self._tables.setdefault(news.id, OthersTable(self._codec, news.id)).entry(news.name)
        with self._changed:
            skipped = self._inbox.found(news, entry.version)
        return Change(news.id, news.name, entry.version, entry.value, entry.updated_at, entry.who, skipped)


def _is_change(message: Any) -> bool:
    return type(message) is Change
