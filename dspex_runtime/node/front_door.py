"""Where clients find the runtime: its name, the socket under that name, and each new connection.

Owns the claim on the name and the listening socket. Never reads what a client sends: a connection is handed on as it came.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from dspex_runtime.node.event_loop import EventLoop
from dspex_runtime.osproc import rendezvous

log = logging.getLogger(__name__)

ACCEPT_PAUSE_S: Final = 0.2  # when no descriptor is left for a new client


class FrontDoor:
    """Holds the name and lets clients in; `path` is where they find it, "" before it is claimed."""

    def __init__(self, loop: EventLoop, accept: Callable[[socket.socket], None]) -> None:
        self._loop = loop
        self._accept = accept
        self._claim: rendezvous.Claim | None = None
        self._listener: socket.socket | None = None
        self.path = ""

    def claim(self, name: str) -> None:
        """Take the name.

        Raises:
            ConfigError: It is taken.
        """
        self._claim = rendezvous.claim(name)
        self.path = str(self._claim.path)

    def takes_along(self, folder: Path) -> None:
        """Have a temporary folder removed by whoever clears this runtime away, should it be killed."""
        assert self._claim is not None
        self._claim.takes_along(folder)

    def open(self) -> None:
        """Let clients in from now on.

        Raises:
            ConfigError: The socket cannot be made.
        """
        assert self._claim is not None
        self._listener = rendezvous.listen(self._claim)
        self._listener.setblocking(False)  # a client that is gone before it is accepted must not block the loop
        self._watch()

    def close(self) -> None:
        """Let nobody in any more, and give up the name. Idempotent."""
        if self._listener is not None:
            self._loop.forget(self._listener.fileno())
            self._listener.close()
            self._listener = None
        if self._claim is not None:
            self._claim.release()
            self._claim = None

    def _watch(self) -> None:
        if self._listener is not None:
            self._loop.watch(self._listener.fileno(), self._knock)

    def _knock(self) -> None:
        assert self._listener is not None
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError as exc:
            log.error("cannot accept a client: %s", exc)
            # Level-triggered: without a pause the loop would spin on a connection that it cannot take.
            self._loop.forget(self._listener.fileno())
            self._loop.call_later(ACCEPT_PAUSE_S, self._watch)
            return
        self._accept(sock)
