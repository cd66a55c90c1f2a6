"""The runtime's side of the zygote: starts the process and holds its socket. Owns no event loop and reads nothing.

Messages are listed in `zygote`. The caller polls `sock`, and waits for `pid` (its direct child) when that ends.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dspex_runtime.osproc.mark import BLANK, VARIABLE

__all__ = ["Zygote"]

_ROOT: Final = str(Path(__file__).resolve().parents[2])  # the folder that holds the package
# Ignored signals stay ignored through an exec; the zygote starts from the defaults.
_DEFAULTS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD, signal.SIGQUIT, signal.SIGXFSZ)


@dataclass(frozen=True, slots=True, eq=False)
class Zygote:
    """A started zygote, maybe still importing: its first message is "ready" or "failed"."""

    pid: int
    sock: socket.socket

    @classmethod
    def spawn(
        cls,
        preload: Sequence[str],
        env: Mapping[str, str],
        lifeline_fd: int,
        board_fd: int,
        entry: str,
        log_fd: int,
        path: Sequence[str] | None = None,
        rehearsal: str = "",
    ) -> Zygote:
        """Exec a zygote in a session of its own and return at once.

        Args:
            preload: Names to import before anything is forked.
            env: Added to this process's environment.
            lifeline_fd: Read end of the lifeline.
            board_fd: The board's memfd.
            entry: "package.module:function" to run in each fork.
            log_fd: Becomes its stdout and stderr, and those of modules until they have their own.
            path: sys.path for it; None: this process's.
            rehearsal: "package.module:function" to run once before anything is forked.

        Raises:
            OSError: It could not be started; nothing is left open.
        """
        ours, theirs = socket.socketpair()
        fds = []
        try:
            for fd in (theirs.fileno(), lifeline_fd, board_fd, log_fd):
                # Above stdio, whatever the runtime has closed. One by one: those made before a failure are closed below.
                fds.append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3))  # noqa: PERF401
            sock_fd, life_fd, memory_fd, output_fd = fds
            search = [*filter(None, env.get("PYTHONPATH", "").split(os.pathsep)), *(sys.path if path is None else path)]
            argv = [sys.executable, "-P", "-m", "dspex_runtime.osproc.zygote"]
            argv += [f"--sock={sock_fd}", f"--lifeline={life_fd}", f"--board={memory_fd}", f"--entry={entry}"]
            argv += [f"--rehearsal={rehearsal}"] if rehearsal else []
            argv += [f"--path={os.path.abspath(folder)}" for folder in search] + [f"--preload={name}" for name in preload]
            pid = os.posix_spawn(
                sys.executable,
                argv,
                _environment(env),
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, output_fd, 1),
                    (os.POSIX_SPAWN_DUP2, output_fd, 2),
                    # dup2 onto itself clears close-on-exec; the numbers are in argv.
                    *((os.POSIX_SPAWN_DUP2, fd, fd) for fd in (sock_fd, life_fd, memory_fd)),
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


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    own = os.environ.get("PYTHONPATH", "")
    return {
        **os.environ,
        **extra,
        "PYTHONPATH": os.pathsep.join(filter(None, (_ROOT, own))),
        "DSPEX_PYTHONPATH": extra.get("PYTHONPATH", own),  # restored by the zygote
        VARIABLE: BLANK,
    }
