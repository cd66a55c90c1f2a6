"""The process tree below a process, read from /proc, and its end.

Works because the zygote is a child subreaper: whatever a module starts, and however it detaches, stays below it.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Collection

from dspex_runtime.osproc.mark import kill_marked
from dspex_runtime.osproc.reaper import first_exited

__all__ = ["children_of", "descendants_of", "end_all", "kill"]

ROUND_S = 0.02  # pause between two rounds of killing when nothing is heard of dying children


def children_of(pid: int) -> list[int]:
    """Return the children of all threads of a process, zombies included; empty when it is gone."""
    found: list[int] = []
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for task in tasks:
        try:
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found += map(int, file.read().split())
        except OSError:
            continue  # the thread or the process ended
    return found


def descendants_of(pid: int) -> list[int]:
    """Return all processes below `pid`. A tree that changes meanwhile may be seen in part: look again until it is empty."""
    found = children_of(pid)
    for child in found:  # grows while it is walked
        found += children_of(child)
    return found


def kill(pid: int, signo: int = signal.SIGKILL) -> bool:
    """Send a signal; False if there is no such process or it is not ours to signal."""
    try:
        os.kill(pid, signo)
    except OSError:
        return False
    return True


def end_all(*, run: str, wakeup_fd: int, timeout_s: float, keep: Collection[int] = ()) -> bool:
    """SIGKILL and reap everything below this process and everything marked by `run`, until nothing is left.

    Repeats, since a process may fork between being listed and being killed, and an orphan moves up only when its parent
    is dead. Only for a process about to exit: it reaps all its children but `keep`.

    Args:
        run: Whose marked processes to kill beside descendants, see `mark`.
        wakeup_fd: Readable when a child died.
        timeout_s: Give up after this long (a process in uninterruptible sleep does not die).
        keep: Children to leave alone.

    Returns:
        Whether nothing is left.
    """
    deadline = time.monotonic() + timeout_s
    poller = select.poll()
    poller.register(wakeup_fd, select.POLLIN)
    while True:
        victims = [pid for pid in descendants_of(os.getpid()) if pid not in keep]
        for pid in victims:
            kill(pid)
        marked = kill_marked(run, keep=keep)
        while (first := first_exited()) is not None and first[0] not in keep:
            os.waitpid(first[0], os.WNOHANG)
        if not victims and not marked:
            return True
        if time.monotonic() > deadline:
            return False
        if poller.poll(ROUND_S * 1000):
            os.read(wakeup_fd, 65536)
