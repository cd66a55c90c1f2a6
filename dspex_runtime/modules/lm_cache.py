"""The cache of LM answers, as `dspy.cache` of the settings says: opened at the first call that asks for it, never before.

One directory may serve any number of processes at the same time. A cache that cannot be opened costs its disk half, never a call.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import dspy
from dspy.clients import DISK_CACHE_LIMIT
from dspy.clients.cache import Cache
from dspy.utils.caching import default_cache_dir

__all__ = ["LazyCache", "configure"]

MEMORY_ENTRIES: Final = 1_000_000  # dspy's own
LOCK: Final = "dspex.lock"  # in the cache's directory: sixteen SQLite files are made by one process at a time
LOCK_LIMIT_S: Final = 10.0
_POLL_S: Final = 0.005

log = logging.getLogger("dspex_runtime.module")


def configure(spec: Mapping[str, Any] | bool) -> None:
    """Make `dspy.cache` what the settings say: a map of options, False for none, True for dspy's own.

    Opens nothing and makes no directory.
    """
    match spec:
        case True:
            return  # dspy opens its own at the first call
        case False:
            dspy.cache = Cache(enable_disk_cache=False, enable_memory_cache=False, disk_cache_dir=None)
        case _:
            dspy.cache = LazyCache(
                disk=spec.get("disk", True),
                memory=spec.get("memory", True),
                folder=spec.get("dir") or default_cache_dir(),
                disk_bytes=spec.get("disk_size", int(float(os.environ.get("DSPY_CACHE_LIMIT", DISK_CACHE_LIMIT)))),
                entries=spec.get("memory_entries", MEMORY_ENTRIES),
            )


class LazyCache(Cache):  # type: ignore[misc] # dspy has no types
    """A `dspy.clients.Cache` that opens itself at its first use: 48 descriptors and 0.1 s are for modules that call an LM."""

    def __init__(self, *, disk: bool, memory: bool, folder: str, disk_bytes: int, entries: int) -> None:
        self._options = (disk, memory, folder, disk_bytes, entries)
        self._opening = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        """Open the cache: what every use of it looks at first is missing until then."""
        if name.startswith("__") or name in ("_options", "_opening"):  # asked by copy and pickle of a cache without state
            raise AttributeError(name)
        with self._opening:
            if "_lock" not in self.__dict__:  # the last that the base class sets
                self._open()
        return object.__getattribute__(self, name)

    def _open(self) -> None:
        disk, memory, folder, disk_bytes, entries = self._options
        if disk:
            try:
                with _alone(folder):
                    super().__init__(True, memory, folder, disk_bytes, entries)
                return
            except Exception as exc:  # a read-only file system, a full disk, somebody else's folder
                log.warning("the LM cache in %s cannot be opened, answers are kept in memory only: %s", folder, exc)
        super().__init__(False, memory, None, disk_bytes, entries)


@contextmanager
def _alone(folder: str) -> Iterator[None]:
    """Hold the folder's lock: SQLite files that many processes create at once make each other fail."""
    os.makedirs(folder, exist_ok=True)
    fd = os.open(os.path.join(folder, LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + LOCK_LIMIT_S
        while not _locked(fd) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        yield  # a holder that is stopped must not stop everybody's calls: then the risk is taken
    finally:
        os.close(fd)


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
