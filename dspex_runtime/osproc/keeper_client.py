"""The runtime's side of the keeper process: starts it and holds its socket. Owns no event loop and reads nothing.

What is said over the socket is `state.protocol`'s. The caller polls `sock`, and waits for `pid` (its direct child) when that ends.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["KeeperProcess"]

_ROOT: Final = str(Path(__file__).resolve().parents[2])  # the folder that holds the package
_DEFAULTS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD, signal.SIGQUIT, signal.SIGXFSZ)


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
        ours, theirs = socket.socketpair()
        fds = []
        try:
            for fd in (theirs.fileno(), lifeline_fd, log_fd):
                # Above stdio, whatever the runtime has closed. One by one: those made before a failure are closed below.
                fds.append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3))  # noqa: PERF401
            sock_fd, life_fd, output_fd = fds
            # -S: `site`, with the .pth files of an environment, takes longer than SQLite. Our sys.path is what it would find.
            argv = [sys.executable, "-S", "-P", "-m", "dspex_runtime.state.keeper", f"--sock={sock_fd}", f"--lifeline={life_fd}"]
            path = os.pathsep.join(dict.fromkeys((_ROOT, *filter(None, sys.path))))
            pid = os.posix_spawn(
                sys.executable,
                argv,
                {**os.environ, "PYTHONPATH": path},
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, output_fd, 1),
                    (os.POSIX_SPAWN_DUP2, output_fd, 2),
                    # dup2 onto itself clears close-on-exec; the numbers are in argv.
                    *((os.POSIX_SPAWN_DUP2, fd, fd) for fd in (sock_fd, life_fd)),
                ],
                setsid=True,
                setsigmask=(),
                setsigdef=_DEFAULTS,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            for fd in fds:
                os.close(fd)
        return cls(pid, ours)

    def end(self) -> None:
        """Kill it and wait until it is gone."""
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass  # reaped already
