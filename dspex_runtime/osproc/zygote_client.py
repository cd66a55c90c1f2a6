"""The runtime's side of the zygote: starts the process and holds its socket. Owns no event loop and reads nothing.

Messages are listed in `zygote`. The caller polls `sock`, and waits for `pid` (its direct child) when that ends.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
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
        search = [*filter(None, env.get("PYTHONPATH", "").split(os.pathsep)), *(sys.path if path is None else path)]
        options = [f"--entry={entry}", *([f"--rehearsal={rehearsal}"] if rehearsal else [])]
        options += [f"--path={os.path.abspath(folder)}" for folder in search] + [f"--preload={name}" for name in preload]
        ours, theirs = socket.socketpair()
        try:
            with theirs, _above_stdio(theirs.fileno(), lifeline_fd, board_fd, log_fd) as (sock, lifeline, board, log):
                options += [f"--sock={sock}", f"--lifeline={lifeline}", f"--board={board}"]
                return cls(_exec(options, _environment(env), keep=(sock, lifeline, board), output_fd=log), ours)
        except BaseException:
            ours.close()
            raise


@contextmanager
def _above_stdio(*fds: int) -> Iterator[list[int]]:
    """Copies of descriptors, none of them 0, 1 or 2, whatever the runtime has closed; they are closed in the end."""
    with ExitStack() as made:
        copies = []
        for fd in fds:
            copies.append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3))
            made.callback(os.close, copies[-1])
        yield copies


def _exec(options: Sequence[str], environment: Mapping[str, str], *, keep: Sequence[int], output_fd: int) -> int:
    """Start the zygote's program and return its pid; of our descriptors it gets `keep`, under the same numbers, and its output."""
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-P", "-m", "dspex_runtime.osproc.zygote", *options],
        environment,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, output_fd, 1),
            (os.POSIX_SPAWN_DUP2, output_fd, 2),
            *((os.POSIX_SPAWN_DUP2, fd, fd) for fd in keep),  # dup2 onto itself clears close-on-exec
        ],
        setsid=True,
        setsigmask=(),
        setsigdef=_DEFAULTS,
    )


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    own = os.environ.get("PYTHONPATH", "")
    return {
        **os.environ,
        **extra,
        "PYTHONPATH": os.pathsep.join(filter(None, (_ROOT, own))),
        "DSPEX_PYTHONPATH": extra.get("PYTHONPATH", own),  # restored by the zygote
        VARIABLE: BLANK,
    }
