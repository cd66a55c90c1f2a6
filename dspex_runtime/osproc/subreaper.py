"""What the runtime does as a child subreaper: it inherits the processes of a zygote that died, and reaps them exactly.

Never waits for a process that it was not asked about, except in `reap_strays`: a blanket wait would steal the exit
status of somebody's subprocess.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Collection
from typing import Final

from dspex_runtime.osproc.reaper import first_exited, wait_status

__all__ = ["reap_exited", "reap_strays", "set_subreaper"]

PR_SET_CHILD_SUBREAPER: Final = 36


def set_subreaper() -> None:
    """Make orphaned descendants children of this process instead of init's. Not inherited by its children.

    Raises:
        OSError: The kernel refused (before Linux 3.4).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"prctl(PR_SET_CHILD_SUBREAPER): {os.strerror(errno)}")


def reap_exited(known: Collection[int]) -> list[tuple[int, int]]:
    """Reap those of `known` that are dead children of ours, also zombies that the dead zygote left behind.

    Returns:
        (pid, wait status) of each, once. A pid that is not (or not yet) our child is passed over.

    Cost: one system call while no child of ours is dead, else one per known pid.
    """
    if first_exited() is None:
        return []
    reaped = []
    for pid in known:
        try:
            result = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            continue  # still the zygote's, or the zygote reaped it before it died
        if result is not None:
            reaped.append((pid, wait_status(result)))
    return reaped


def reap_strays(keep: Collection[int]) -> int:
    """Reap dead adopted children that nobody waits for (a module's orphans), up to the first one in `keep`.

    Args:
        keep: Every pid that somebody will wait for: the zygote, modules, subprocesses.

    Returns:
        How many zombies are gone.
    """
    count = 0
    while (found := first_exited()) is not None and found[0] not in keep:
        os.waitpid(found[0], os.WNOHANG)
        count += 1
    return count
