"""The lifeline: the kernel kills a module's process group when the runtime dies, however it dies.

One pipe per runtime. The runtime holds the only write end and nobody ever writes to it. A module opens the read end again
(an open file description of its own, since owner and signal belong to the description), asks for SIGKILL to its process
group on any I/O event, and the pipe's one event is its end. It needs no thread, no GIL and no zygote: it works while the
module is stuck in C code.

Why not PR_SET_PDEATHSIG: it fires when the zygote dies, and modules must outlive the zygote. A copy of the write end in any
other process disarms it for everybody: descriptors are close-on-exec, the zygote never has it, and a test looks.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
from typing import Final

__all__ = ["arm", "create", "is_cut", "reopen", "tie"]

F_SETSIG: Final = 10  # fcntl.h; not in Python's fcntl before 3.12


def create() -> tuple[int, int]:
    """Return (read_fd, write_fd), both close-on-exec. The caller keeps write_fd until it ends and passes on only read_fd."""
    return os.pipe2(os.O_CLOEXEC)


def is_cut(fd: int) -> bool:
    """Return whether every write end is gone. Any event on this pipe means that: nobody writes to it."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(0))


def reopen(read_fd: int) -> int:
    """Return a new descriptor of the read end with an open file description of its own, to be given to `tie`.

    A zygote does this before it forks: the /proc entries are cached there, in a new process they cost 200 us.
    """
    # Opening through /proc makes a new description; dup would share owner and signal with every other module.
    return os.open(f"/proc/self/fd/{read_fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def tie(fd: int) -> None:
    """Tie the calling process's group to the lifeline; it is killed if the runtime is already gone.

    Call after setpgid: the group of this moment is the one that is killed. `fd`, from `reopen`, must stay open; closing it
    in all processes that share it unties.
    """
    group = os.getpgrp()
    fcntl.fcntl(fd, F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(fd, fcntl.F_SETOWN, -group)
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    # The runtime may have died before O_ASYNC was set; then no event is coming.
    if is_cut(fd):
        os.killpg(group, signal.SIGKILL)


def arm(read_fd: int) -> int:
    """Reopen and tie in one; returns the descriptor that must stay open."""
    fd = reopen(read_fd)
    tie(fd)
    return fd
