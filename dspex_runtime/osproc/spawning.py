"""Programs of this package in processes of their own: the zygote and the keeper. Owns nothing, reads nothing.

A program is told the numbers of its descriptors by its options. It begins with the default signals, in a session of its own.
Whoever starts it knows its pid, and waits for it.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

__all__ = ["ROOT", "spawn"]

ROOT: Final = str(Path(__file__).resolve().parents[2])  # the folder that holds the package: first in a PYTHONPATH
# Ignored signals stay ignored through an exec; a program of ours starts from the defaults.
_DEFAULTS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD, signal.SIGQUIT, signal.SIGXFSZ)


def spawn(
    module: str,
    options: Sequence[str],
    env: Mapping[str, str],
    fds: Mapping[str, int],
    log_fd: int,
    flags: Sequence[str] = (),
) -> tuple[int, socket.socket]:
    """Exec `python -m module` in a session of its own and return at once.

    Args:
        module: Name of the program.
        options: It gets these, then `--name=number` for each descriptor, and for `sock`, its end of the socket.
        env: Its whole environment.
        fds: What it inherits, by name. They stay ours.
        log_fd: Becomes its stdout and stderr; its stdin is empty.
        flags: Of the interpreter.

    Returns:
        Its pid, and our end of the socket.

    Raises:
        OSError: It could not be started; nothing is left open.
    """
    ours, theirs = socket.socketpair()
    try:
        with theirs, _above_stdio(theirs.fileno(), *fds.values(), log_fd) as (*passed, output):
            options = [*options, *(f"--{name}={fd}" for name, fd in zip(("sock", *fds), passed, strict=True))]
            return _exec([*flags, "-P", "-m", module, *options], env, passed, output), ours
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


def _exec(arguments: Sequence[str], env: Mapping[str, str], passed: Sequence[int], output_fd: int) -> int:
    return os.posix_spawn(
        sys.executable,
        [sys.executable, *arguments],
        env,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, output_fd, 1),
            (os.POSIX_SPAWN_DUP2, output_fd, 2),
            *((os.POSIX_SPAWN_DUP2, fd, fd) for fd in passed),  # dup2 onto itself clears close-on-exec
        ],
        setsid=True,
        setsigmask=(),
        setsigdef=_DEFAULTS,
    )
