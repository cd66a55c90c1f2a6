"""The runtime's structured events as an iterator: a snapshot of all children first, then what happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

from dspex_runtime.client.session import Session
from dspex_runtime.core.keys import show
from dspex_runtime.errors import ConfigError, RuntimeUnreachableError

Event = dict[str, Any]


class EventFeed:
    """The subscription behind both iterators. It ends when a runtime that said it was stopping is gone; a crash is an error."""

    def __init__(self, session: Session, since: int | None, *, follow: bool) -> None:
        if type(since) not in (int, type(None)):
            raise ConfigError(f"since is the number (`seq`) of an event, or None; got {show(since)}")
        self._subscription = session.connection.subscribe("events", {"since": since, "follow": bool(follow)})
        self._stopping = False

    def take(self) -> Event | None:
        """Return the next event that is here, or None.

        Raises:
            EOFError: The runtime has stopped, there was no more to tell, or this process closed the connection or the feed.
            RuntimeUnreachableError: The runtime is gone without having stopped.
        """
        try:
            found, event = self._subscription.take()
        except RuntimeUnreachableError:
            if self._stopping:
                raise EOFError from None
            raise
        if not found:
            return None
        self._stopping = self._stopping or event.get("type") == "stopping"
        taken: Event = event
        return taken

    def wait(self, timeout_s: float | None) -> None:
        """Block until `take` has something to say."""
        self._subscription.wait(timeout_s)

    def on_change(self, wake: Callable[[], None] | None) -> None:
        """Call `wake` whenever `take` has something to say; from another thread."""
        self._subscription.on_change(wake)

    def close(self) -> None:
        """Follow no longer. Closing twice is fine."""
        self._subscription.on_change(None)
        self._subscription.close()


class Events(Iterator[Event]):
    """Events until the runtime has stopped, this connection is closed, or `close`; or, not to `follow`, those known by now."""

    def __init__(self, session: Session, since: int | None, *, follow: bool = True) -> None:
        self._feed = EventFeed(session, since, follow=follow)

    def __next__(self) -> Event:
        while (event := self.next(None)) is None:
            pass
        return event

    def next(self, timeout: float | None) -> Event | None:
        """Return the next event, or None when none came in time; StopIteration at the end."""
        try:
            event = self._feed.take()
            if event is None:
                self._feed.wait(timeout)
                event = self._feed.take()
        except EOFError:
            raise StopIteration from None
        return event

    def close(self) -> None:
        """Follow no longer. Closing twice is fine."""
        self._feed.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
