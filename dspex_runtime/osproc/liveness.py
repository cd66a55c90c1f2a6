"""Whether a process has ended before anybody was told: the kernel knows at once, its exit status arrives later."""

from __future__ import annotations

__all__ = ["has_exited"]


def has_exited(pid: int) -> bool:
    """Return whether a process is a zombie or gone; in doubt it lives.

    Only for a pid that is not reaped before its exit was handled here: another process may have it afterwards.

    Cost: one read of /proc/<pid>/stat, 15 us.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            line = stat.read()
    except (FileNotFoundError, ProcessLookupError):
        return True
    except OSError:
        return False
    # "pid (name) state ...": the name may hold anything, parentheses too.
    return line[line.rfind(b")") + 2 :][:1] in (b"Z", b"X")
