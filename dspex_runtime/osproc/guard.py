"""The guard: a tiny process that outlives runtime and zygote by a moment and kills what only a mark still ties to them.

When the runtime dies the lifeline ends its modules and the zygote ends everything below it. If the zygote is dead too,
grandchildren that left their process group would stay: nobody above them is left. The guard blocks on the lifeline in a
session of its own, and at its end kills all processes that carry the run's mark.

One per runtime: a replaced zygote's guard finds the board locked by the living one and goes away.
"""

from __future__ import annotations

import fcntl
import os
import time
from typing import Final

from dspex_runtime.osproc.descriptors import close_all_but
from dspex_runtime.osproc.mark import kill_marked

__all__ = ["start"]

QUIET_ROUNDS: Final = 3  # a process in the middle of an exec has no environment to read: look again
ROUND_S: Final = 0.02
GIVE_UP_AFTER_S: Final = 10.0


def start(*, lifeline_fd: int, board_fd: int, run: str, limit: int) -> int:
    """Fork the guard and return its pid. Call before anything big is imported: the guard keeps what is mapped now.

    Args:
        lifeline_fd: Read end; blocking.
        board_fd: Any file that all zygotes of a runtime share; locked by the living guard.
        run: The run whose marked processes to kill.
        limit: RLIMIT_NOFILE.
    """
    pid = os.fork()
    if pid:
        return pid
    try:
        _guard(lifeline_fd, board_fd, run, limit)
    finally:
        os._exit(0)


def _guard(lifeline_fd: int, board_fd: int, run: str, limit: int) -> None:
    os.setsid()
    with open("/proc/self/comm", "w") as comm:
        comm.write("dspex-guard")
    lock_fd = os.open(f"/proc/self/fd/{board_fd}", os.O_RDWR | os.O_CLOEXEC)  # own description, so an own lock
    close_all_but((lifeline_fd, lock_fd), limit=limit)
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    os.read(lifeline_fd, 1)  # ends when the runtime does
    deadline = time.monotonic() + GIVE_UP_AFTER_S
    quiet = 0
    while quiet < QUIET_ROUNDS and time.monotonic() < deadline:
        quiet = 0 if kill_marked(run) else quiet + 1
        time.sleep(ROUND_S)
