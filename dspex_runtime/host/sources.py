"""The user's code in this module process: as it is on the disk now, or as it was given; and which files it was read from.

What the zygote imported of the user's (`preload`) may have changed since. Who depends on what cannot be known (`from x import
LIMIT` leaves no trace), so one changed file means that all the user's own preloaded modules are dropped, and imported anew where
they are wanted: slower, never half old. The same where texts are given. What is not the user's stays, with whatever it had taken
of a dropped module, and so do extension modules, which no process can load twice.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from dspex_runtime.core.child_spec import GIVEN, LaunchSpec
from dspex_runtime.osproc import user_code
from dspex_runtime.osproc.user_code import Read

__all__ = ["forget", "have_changed", "loaded", "prepare", "read_for"]


def prepare(given: Mapping[str, bytes]) -> None:
    """Make imports of this process find what they are to find; before the first of them.

    Args:
        given: Texts by absolute path, in place of what the disk has there.

    Cost: nothing is opened; one stat for each of the user's own modules that the zygote has imported.
    """
    user_code.install()
    for finder in user_code.finders:
        finder.invalidate_caches()  # the zygote looked before the file that is wanted now was written
    if given or any(map(_is_stale, user_code.loaded.values())):
        for name in list(user_code.loaded):
            _drop(name)
    user_code.given.update(given)
    for path in given:
        for folder in (os.path.dirname(path), os.path.dirname(os.path.dirname(path))):
            if sys.path_importer_cache.get(folder, user_code) is None:
                del sys.path_importer_cache[folder]  # it was not there, and need not be


def loaded() -> list[list[Any]]:
    """Return [path, mtime_ns, size, hash] of each file of the user's that was imported, the zygote's imports included.

    As they were when they were read, which tells what runs whatever became of the files since. `mtime_ns` is GIVEN where the
    text did not come from the disk.
    """
    return [list(read[:4]) for read in dict.fromkeys(user_code.loaded.values())]


def read_for(launch: LaunchSpec) -> tuple[Read, ...]:
    """Return what this process has read of the disk to build what a launch names: imports, a saved program, a saved state."""
    saved = [launch.load] if launch.load is not None else []
    if launch.target is not None and os.path.isdir(launch.target):
        saved += [entry.path for entry in os.scandir(launch.target)]
    return (*(read for read in user_code.loaded.values() if read.mtime_ns != GIVEN), *map(_as_read, saved))


def have_changed(files: Iterable[Read]) -> bool:
    """Return whether one of these is another now, or gone."""
    return any(map(_is_stale, files))


def forget(name: str) -> None:
    """Let a module that was removed be no file of this process's."""
    user_code.loaded.pop(name, None)


def _as_read(path: str) -> Read:
    info = os.stat(path)
    return Read(path, info.st_mtime_ns, info.st_size, b"", info.st_ctime_ns)


def _is_stale(read: Read) -> bool:
    try:
        info = os.stat(read.path)
    except OSError:
        return True  # an import says what is wrong with it
    return (info.st_mtime_ns, info.st_size, info.st_ctime_ns) != (read.mtime_ns, read.size, read.ctime_ns)


def _drop(name: str) -> None:
    forget(name)
    module = sys.modules.pop(name, None)
    package, _, own = name.rpartition(".")
    # `from package import own` would find it there.
    if package in sys.modules and vars(sys.modules[package]).get(own) is module:
        vars(sys.modules[package]).pop(own)
