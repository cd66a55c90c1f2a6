"""Changes of parameters as they come: as an iterator, and as callbacks on a thread of their own. For tasks: `async_watch`.

A subscription holds at most `KEEP` changes that nobody took yet; then it keeps the latest of each parameter only, until its reader
has caught up. Values that are too large to come along are read from the table when their change is taken.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from dspex_runtime.client.asking import QUICK_S
from dspex_runtime.client.downs import settle
from dspex_runtime.client.steps import Await, Steps, run
from dspex_runtime.client.subscription import Subscription
from dspex_runtime.core.changes import Inbox, News
from dspex_runtime.core.keys import show
from dspex_runtime.errors import ConfigError, ParameterNotFoundError, RuntimeUnreachableError
from dspex_runtime.params.values import decode
from dspex_runtime.types import Change

if TYPE_CHECKING:
    from dspex_runtime.client.session import Session

__all__ = ["Subscribed", "Watch", "Watching", "callback_of", "is_over", "tell_of_callback"]

logger = logging.getLogger(__name__)

KEEP: Final = 100  # as many as are kept of a parameter's history


class _Changes(Subscription):
    """The queue between the reader thread and whoever takes changes; `News` come out."""

    def __init__(self, cancel: Callable[[], None], on_forgotten: Callable[[str], None]) -> None:
        super().__init__(cancel)
        self.ready: Future[None] = Future()
        self.inbox = Inbox(KEEP)
        self._on_forgotten = on_forgotten

    def push(self, payload: Any) -> None:
        with self._changed:
            match payload:
                case {"type": "changed"}:
                    self.inbox.put(News.from_wire(payload))
                case {"type": "versions", "id": str(id), "versions": dict(versions)}:
                    self.inbox.catch_up(id, versions)
                case {"type": "forgotten", "id": str(id)}:
                    self.inbox.forget(id)
                    self._on_forgotten(id)
                case {"type": "subscribed"}:
                    settle(self.ready, None)
            self._notify()

    def end(self, error: BaseException | None = None) -> None:
        super().end(error)
        settle(self.ready, error)

    def take(self) -> tuple[bool, Any]:
        with self._changed:
            if (news := self.inbox.take()) is not None:
                return True, news
        return super().take()

    def found(self, news: News, version: int) -> int:
        """A later version was found in the table; return how many that stands for."""
        with self._changed:
            return self.inbox.found(news, version)

    def wait(self, timeout_s: float | None = None) -> None:
        with self._changed:
            self._changed.wait_for(lambda: len(self.inbox) or self._ended, timeout_s)

    def close(self) -> None:
        with self._changed:
            self.inbox.drop(lambda _: True)
        super().close()


class Watching:
    """What both iterators are: the subscription, and changes from what it brings."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._changes: _Changes | None = None  #: until it has begun
        self._closed = False

    def begun(self, pattern: str, id: str | None, wake: Callable[[], None] | None = None) -> Steps[None]:
        """End when every change from now on is told; `wake` is called, on another thread, at each."""
        if self._closed:
            return

        def made(cancel: Callable[[], None]) -> _Changes:
            return _Changes(cancel, self._session.tables.forget)

        changes = self._changes = self._session.connection.follow("params", {"id": id, "pattern": pattern}, made)
        changes.on_change(wake)
        try:
            yield Await(changes.ready, QUICK_S, keep=True)
        except TimeoutError:
            self.close()
            raise RuntimeUnreachableError(f"the runtime has not answered 'subscribe' for {QUICK_S:g} s") from None
        except BaseException:
            self.close()
            raise

    def taking(self) -> Steps[Change | None]:
        """Return the next change that is here, or None.

        Raises:
            EOFError: The runtime has stopped, or this was closed.
            RuntimeUnreachableError: The runtime is gone without having stopped.
        """
        changes = self._changes
        if changes is None:
            raise EOFError
        while True:
            found, news = changes.take()
            if not found:
                return None
            if (change := (yield from self._change(changes, news))) is not None:
                return change

    def _change(self, changes: _Changes, news: News) -> Steps[Change | None]:
        if news.data is not None:
            value = decode(self._session.codec, news.data)
            return Change(news.id, news.name, news.version, value, news.when, news.who, news.skipped)
        try:
            entry = yield from self._session.tables.reading(news.id, lambda view: view.entry(news.name))
        except ParameterNotFoundError:
            return None  # taken away since
        skipped = changes.found(news, entry.version)
        return Change(news.id, news.name, entry.version, entry.value, entry.updated_at, entry.who, skipped)

    def close(self) -> None:
        """Watch no longer. Closing twice is fine."""
        self._closed = True
        if self._changes is not None:
            self._changes.on_change(None)
            self._changes.close()


class Watch(Watching, Iterator[Change]):
    """Changes, one after the other, until the runtime stops or `close`; also as a `with` block."""

    def __init__(self, session: Session, pattern: str, id: str | None = None) -> None:
        super().__init__(session)
        run(self.begun(pattern, id))

    def __next__(self) -> Change:
        while (change := self.next(None)) is None:
            pass
        return change

    def next(self, timeout: float | None) -> Change | None:
        """Return the next change, or None when none came in time; StopIteration at the end."""
        try:
            change = run(self.taking())
            if change is None and self._changes is not None:
                self._changes.wait(timeout)
                change = run(self.taking())
        except EOFError:
            raise StopIteration from None
        return change

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def callback_of(watch: Watching, callback: Any) -> Callable[[Change], Any]:
    """Return what is to be called with every change; the subscription ends when that is no function.

    Raises:
        ConfigError: It is none.
    """
    if callable(callback):
        return callback  # type: ignore[no-any-return]
    watch.close()
    raise ConfigError(f"the callback of a subscription is a function of one change; got {show(callback)}")


def is_over(exc: Exception) -> bool:
    """Return whether a subscription with a callback ends with what taking a change raised; log what is not its plain end."""
    match exc:
        case StopIteration() | StopAsyncIteration():
            return True
        case RuntimeUnreachableError():
            logger.warning("a subscription to parameters ended: %s", exc)
            return True
        case _:
            logger.error("a change of a parameter cannot be read", exc_info=exc)
            return False


def tell_of_callback(change: Change, exc: Exception) -> None:
    """Log what a callback raised; it is called again."""
    text = "a subscription's callback raised at %s.%s, version %s"
    logger.error(text, change.id, change.name, change.version, exc_info=exc)


class Subscribed:
    """A callback with a thread of its own; what `subscribe` returns."""

    def __init__(self, watch: Watch, callback: Callable[[Change], Any]) -> None:
        self._watch = watch
        args = (watch, callback_of(watch, callback))
        self._thread = threading.Thread(target=self._run, args=args, name="dspex-watch", daemon=True)
        self._thread.start()

    @staticmethod
    def _run(watch: Watch, callback: Callable[[Change], Any]) -> None:
        while True:
            try:
                change = next(watch)
            except Exception as exc:
                if is_over(exc):
                    return
                continue
            try:
                callback(change)
            except Exception as exc:
                tell_of_callback(change, exc)

    @property
    def active(self) -> bool:
        """Whether it is still called: not after `close`, and not after the end of the runtime."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Call it no longer; a call that runs is waited for, unless this is called in it. Closing twice is fine."""
        self._watch.close()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
