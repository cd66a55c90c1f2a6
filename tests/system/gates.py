"""Waiting in a module for something that a test does: for a file, told by the kernel, so that nothing sleeps and looks again.

Blocks as a call to an LM does: in one system call, without the GIL. For a gate that one waits at, see `hosted_process.Gate`.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

IN_CREATE: Final = 0x100  # inotify(7)
IN_MOVED_TO: Final = 0x80
EVENTS_BYTES: Final = 64 * 1024


def until_exists(path: str | os.PathLike[str]) -> None:
    """Wait until a file is there."""
    path = Path(path)
    until(path.parent, path.exists)


def until(folder: Path, condition: Callable[[], bool]) -> None:
    """Wait until a condition on the entries of a folder holds; looks again whenever one has come."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(os.O_CLOEXEC)
    if fd < 0 or libc.inotify_add_watch(fd, os.fsencode(folder), IN_CREATE | IN_MOVED_TO) < 0:
        raise OSError(ctypes.get_errno(), "inotify", str(folder))
    try:
        while not condition():  # watched before it is looked at: nothing that comes in between is missed
            os.read(fd, EVENTS_BYTES)
    finally:
        os.close(fd)
