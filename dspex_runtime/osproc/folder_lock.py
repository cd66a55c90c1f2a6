"""One folder, one runtime: a lock file in it that its holder's end releases, however it ends.

The file stays; who holds the lock is what counts. Its text is the holder's pid, for people.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

from dspex_runtime.errors import ConfigError

__all__ = ["take"]

NAME: Final = "lock"


def take(folder: Path, what: str) -> int:
    """Lock a folder; return the descriptor to be kept open for as long as it is ours.

    Args:
        folder: Which exists.
        what: How messages call it.

    Raises:
        ConfigError: Somebody else has it.
        OSError: The file cannot be made.
    """
    fd = os.open(folder / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(fd, 32, 0).decode(errors="replace").strip()
        os.close(fd)
        raise ConfigError(
            f"{what}: {folder} is in use by another runtime (pid {holder or 'unknown'})",
            hint="stop that one, or choose another directory",
        ) from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, b"%d\n" % os.getpid(), 0)
    return fd
