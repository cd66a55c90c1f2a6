"""Whether a process has ended, or is about to, before anybody was told: the kernel knows at once, its exit status arrives later.

Only for pids that are not reaped before their exit was handled here: another process may have one afterwards.
"""

from __future__ import annotations

import signal
from typing import Final

__all__ = ["has_exited", "is_dying"]

# Fields of /proc/PID/stat behind the name, see proc(5).
STATE: Final = 0
FLAGS: Final = 6
PENDING: Final = 28  # of its first thread
PF_EXITING: Final = 0x4  # include/linux/sched.h
SIGKILL_BIT: Final = 1 << (signal.SIGKILL - 1)  # each thread of a process that was killed has it pending until it ends


def has_exited(pid: int) -> bool:
    """Return whether a process is a zombie or gone; in doubt it lives.

    Cost: one read of /proc/<pid>/stat, 15 us.
    """
    fields = _fields(pid)
    return fields is not None and (not fields or fields[STATE] in (b"Z", b"X"))


def is_dying(pid: int) -> bool:
    """Return whether a process has exited, is exiting, or was killed and has not come to it yet; in doubt it lives on.

    What kills it is taken off its thread's pending signals before the kernel says that it exits: for those microseconds only the
    signals of the whole process tell, which stay until it is reaped.

    Cost: one read of /proc/<pid>/stat, 15 us; of one that lives, of /proc/<pid>/status as well, 15 us.
    """
    fields = _fields(pid)
    if not fields:
        return fields is not None
    is_ending = int(fields[FLAGS]) & PF_EXITING or int(fields[PENDING]) & SIGKILL_BIT
    return fields[STATE] in (b"Z", b"X") or bool(is_ending) or _is_killed(pid)


def _is_killed(pid: int) -> bool:
    """Return whether SIGKILL was sent to a process as a whole."""
    status = _read(pid, "status")
    if not status:
        return status is not None
    _, _, pending = status.partition(b"\nShdPnd:")
    return bool(int(pending.split(maxsplit=1)[0], 16) & SIGKILL_BIT)


def _fields(pid: int) -> list[bytes] | None:
    """Return what stat says of a process behind its name; [] where there is none, None where that cannot be told."""
    line = _read(pid, "stat")
    # "pid (name) state ...": the name may hold anything, parentheses too.
    return None if line is None else line[line.rfind(b")") + 2 :].split()


def _read(pid: int, name: str) -> bytes | None:
    """Return a file of a process in /proc; empty where there is none, None where that cannot be told."""
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return b""
    except OSError:
        return None
