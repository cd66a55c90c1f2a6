"""A template from the moment a spare is told to be one to its end. There is no next one: that is for `templates` to decide.

Owns its pipe. It is a child of a zygote, or of the runtime once that zygote is dead: who hears of its exit says so (`exited`).
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Mapping
from typing import Any

from dspex_runtime.node.event_loop import EventLoop
from dspex_runtime.node.peer import Peer
from dspex_runtime.node.spares import Spare
from dspex_runtime.wire.messages import CONTROL, Message

__all__ = ["TemplateLife"]


class TemplateLife:
    """At most one process, ever.

    Args:
        loop: Of the runtime process.
        spec: What it is the template of (`host.template.serve`).
        on_message: Called with what it sends.
        on_lost: Called with its pid when it is gone, whoever ended it.
        on_failed: Never called: nothing is started again here.

    Attributes:
        ready: It forks.
        was_ready: It has forked, or might have.
    """

    def __init__(
        self,
        loop: EventLoop,
        spec: Mapping[str, Any],
        *,
        on_message: Callable[[Peer, Message], None],
        on_lost: Callable[[int], None],
        on_failed: Callable[[str], None],  # noqa: ARG002
    ) -> None:
        self._loop = loop
        self._spec = spec
        self._on_message = on_message
        self._on_lost = on_lost
        self.ready = False
        self.was_ready = False
        self.pid: int | None = None
        self._closed = False
        self._peer: Peer | None = None

    def open(self) -> None:
        """Nothing: `begin` has what there is to begin with."""

    def begin(self, spare: Spare) -> None:
        """Make a spare the template."""
        self.pid = spare.pid
        self._peer = Peer(self._loop, spare.sock, self._on_message, self._pipe_lost)
        self._peer.send([CONTROL, 0, "template", self._spec])

    def became_ready(self) -> None:
        """It says that it forks from now on."""
        self.ready = self.was_ready = True

    def send(self, message: Message) -> None:
        """Send it something; only while it is ready."""
        assert self._peer is not None
        self._peer.send(message)

    def reopen_later(self) -> None:
        """Return None: there is no next one."""
        return

    def kill(self) -> None:
        """End it at once. Safe: its pid is its own until `exited`."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def exited(self) -> None:
        """Its exit was reported: handle what it still had sent, then tell `on_lost`."""
        peer, pid = self._peer, self.pid
        if peer is None or pid is None:
            return
        peer.drain()
        self._peer = self.pid = None
        self.ready = False
        peer.close()
        self._on_lost(pid)

    def close(self) -> None:
        """Ask it to end; one that does not read yet is killed. Idempotent."""
        if self._peer is None or self._closed:
            return
        self._closed = True
        if not self.was_ready:
            self.kill()
        self.ready = False
        self._peer.send(["quit"])
        self._peer.close()

    def collect(self) -> None:
        """Wait until the one that was closed is gone, where its zygote is dead and it is our child; else that waits for it."""
        if self._closed and self.pid is not None:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, 0)

    def _pipe_lost(self, _peer: Peer, _error: Exception | None) -> None:
        self.ready = False
        if not self._closed:
            self.kill()  # it is gone, or of no use; its exit says the rest
