"""The runtime's side of the keeper process: starts it and holds its socket. Owns no event loop and reads nothing.

What is said over the socket is `state.protocol`'s. The caller polls `sock`, and waits for `pid` (its direct child) when that ends.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from dataclasses import dataclass

from dspex_runtime.osproc.spawning import ROOT, spawn

__all__ = ["KeeperProcess"]


@dataclass(frozen=True, slots=True, eq=False)
class KeeperProcess:
    """A started keeper; it serves as soon as it has imported."""

    pid: int
    sock: socket.socket

    @classmethod
    def spawn(cls, lifeline_fd: int, log_fd: int = 2) -> KeeperProcess:
        """Exec a keeper in a session of its own and return at once. The lifeline ends it when the runtime is killed.

        Args:
            lifeline_fd: Read end of the lifeline.
            log_fd: Becomes its stdout and stderr.

        Raises:
            OSError: It could not be started; nothing is left open.
        """
        # -S: `site`, with the .pth files of an environment, takes longer than SQLite. Our sys.path is what it would find.
        path = os.pathsep.join(dict.fromkeys((ROOT, *filter(None, sys.path))))
        environment = {**os.environ, "PYTHONPATH": path}
        return cls(*spawn("dspex_runtime.state.keeper", (), environment, {"lifeline": lifeline_fd}, log_fd, flags=["-S"]))

    def end(self) -> None:
        """Kill it and wait until it is gone."""
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass  # reaped already
