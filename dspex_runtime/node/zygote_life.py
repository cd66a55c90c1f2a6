"""A zygote from its start to its end, and the next one in its place when it dies: after a growing delay where it keeps dying.

Owns the process and its pipe. Never looks into a message, and knows nothing of what is forked: that is the nursery's.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from typing import Final, Protocol

from dspex_runtime.node.event_loop import EventLoop
from dspex_runtime.node.peer import Peer
from dspex_runtime.osproc.zygote_client import Zygote
from dspex_runtime.wire.messages import Message

log = logging.getLogger(__name__)

RESPAWN_DELAYS_S: Final = (0.0, 0.1, 0.5, 2.0, 10.0)  # before the nth replacement of a zygote that never got ready


class Life(Protocol):
    """What a nursery knows of its zygote, or template: at most one is alive at a time, and there may be a next one."""

    ready: bool
    was_ready: bool

    @property
    def pid(self) -> int | None:
        """The living one's pid."""

    def open(self) -> None:
        """Start one; may raise OSError."""

    def became_ready(self) -> None:
        """It says that it forks from now on."""

    def send(self, message: Message) -> None:
        """Send it something; only while it is ready."""

    def reopen_later(self) -> float | None:
        """Start the next one after a delay; return its seconds, None when there will be none."""

    def close(self) -> None:
        """Ask it to end, for good. Idempotent."""

    def collect(self) -> None:
        """Wait until the one that was closed is gone."""


class MakeLife(Protocol):
    """Makes one that tells its nursery what it hears."""

    def __call__(
        self,
        *,
        on_message: Callable[[Peer, Message], None],
        on_lost: Callable[[int], None],
        on_failed: Callable[[str], None],
    ) -> Life:
        """Return it; not started."""


class ZygoteLife:
    """At most one living zygote at a time.

    Args:
        loop: Of the runtime process.
        spawn: Starts a zygote; may raise OSError.
        on_message: Called with what it sends.
        on_lost: Called with its pid when it is gone without having been closed; `reopen_later` brings the next.
        on_failed: Called with a text when the next one could not be started; it is tried again.

    Attributes:
        ready: It forks.
        was_ready: It, or one before it, has forked.
    """

    def __init__(
        self,
        loop: EventLoop,
        spawn: Callable[[], Zygote],
        *,
        on_message: Callable[[Peer, Message], None],
        on_lost: Callable[[int], None],
        on_failed: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._spawn = spawn
        self._on_message = on_message
        self._on_lost = on_lost
        self._on_failed = on_failed
        self.ready = False
        self.was_ready = False
        self._zygote: Zygote | None = None
        self._peer: Peer | None = None
        self._failures = 0
        self._closed = False
        self._ending: int | None = None  #: the pid of the one that was closed, until it is collected

    @property
    def pid(self) -> int | None:
        """The living zygote's pid."""
        return self._zygote.pid if self._zygote else None

    def open(self) -> None:
        """Start one.

        Raises:
            OSError: It could not be started.
        """
        self._zygote = self._spawn()
        self._peer = Peer(self._loop, self._zygote.sock, self._on_message, self._lost)

    def became_ready(self) -> None:
        """It says that it forks from now on."""
        self.ready = self.was_ready = True
        self._failures = 0

    def send(self, message: Message) -> None:
        """Send it something; only while it is ready."""
        assert self._peer is not None
        self._peer.send(message)

    def reopen_later(self) -> float:
        """Start the next one after a delay; return its seconds."""
        delay_s = RESPAWN_DELAYS_S[min(self._failures, len(RESPAWN_DELAYS_S) - 1)]
        self._failures += 1
        self._loop.call_later(delay_s, self._reopen)
        return delay_s

    def close(self) -> None:
        """Ask it to end, for good; it kills whatever descendant is left. `collect` waits for it. Idempotent."""
        self._closed = True
        if self._peer is not None and self._zygote is not None:
            if not self.ready:
                os.kill(self._zygote.pid, signal.SIGKILL)  # still importing; it has no children
            zygote, self._zygote, self.ready = self._zygote, None, False
            self._peer.send(["quit"])
            self._peer.close()
            self._ending = zygote.pid

    def collect(self) -> None:
        """Wait until the one that was closed is gone."""
        if self._ending is not None:
            os.waitpid(self._ending, 0)
            self._ending = None

    def _lost(self, _peer: Peer, error: Exception | None) -> None:
        zygote, self._zygote, self._peer, self.ready = self._zygote, None, None, False
        if zygote is None:
            return
        if error is not None:
            log.error("zygote: %s", error)
        os.kill(zygote.pid, signal.SIGKILL)  # its socket closed: it is gone, or of no use; this makes the wait short
        os.waitpid(zygote.pid, 0)
        if not self._closed:
            self._on_lost(zygote.pid)

    def _reopen(self) -> None:
        if self._closed or self._zygote is not None:
            return
        try:
            self.open()
        except OSError as exc:
            self._on_failed(f"cannot start a zygote: {exc}")
            self.reopen_later()
