"""What to host, found in this process: imported, unpickled or loaded after the fork, so that new source is picked up.

A target is one of

    "pkg.mod:Name"      imported; Name may be dotted
    "dir/file.py:Name"  loaded under the file's own name, with its folder first on sys.path, so that its siblings import it too
    a directory         a program saved with dspy's `save(..., save_program=True)`
    pickled             a class or an instance that a client sent

Never decides whether what it found can be hosted.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import time
from importlib.machinery import SourceFileLoader
from types import ModuleType
from typing import Any, Final

from dspex_runtime.core.child_spec import LaunchSpec
from dspex_runtime.errors import StartError

# A bytecode file knows its source by the second of its change and by its size.
BYTECODE_AGE_S: Final = 2.0


class _Loader(SourceFileLoader):
    """Keeps no bytecode of a file just written: the next edit within that second would not be seen by the next process."""

    def set_data(self, path: str, data: Any, *, _mode: int = 0o666) -> None:
        """Write the bytecode file of a source that is old enough."""
        try:
            age_s = time.time() - os.stat(self.path).st_mtime
        except OSError:  # removed meanwhile
            return
        if age_s >= BYTECODE_AGE_S:
            super().set_data(path, data, _mode=_mode)


def find(launch: LaunchSpec) -> Any:
    """Return the class or instance that the spec names.

    Raises:
        StartError: There is nothing of that name.
        BaseException: Whatever the user's code raises while it is imported.
    """
    if launch.pickled is not None:
        return _unpickle(launch.pickled)
    if launch.target is None:
        raise StartError("nothing to host: the spec has neither a target nor a pickled object")
    if os.path.isdir(launch.target):
        from dspex_runtime.modules.saved_state import load_program

        return load_program(launch.target)
    return resolve(launch.target)


def arguments(launch: LaunchSpec) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the constructor's (or init's) arguments."""
    if launch.pickled_args is None:
        return launch.args, dict(launch.kwargs)
    args, kwargs = _unpickle(launch.pickled_args)
    return (*launch.args, *args), dict(kwargs)  # beside pickled ones: what a dynamic supervisor puts first


def resolve(target: str) -> Any:
    """Return the object behind "pkg.mod:Name" or "file.py:Name"."""
    where, colon, name = target.rpartition(":")
    if not colon or not where or not name:
        raise StartError(f'target {target!r} is not of the form "pkg.mod:Name" or "file.py:Name", and no saved-program directory')
    module = _load_file(where) if where.endswith(".py") else importlib.import_module(where)
    found: Any = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            public = sorted(n for n, v in vars(module).items() if isinstance(v, type) and not n.startswith("_"))
            raise StartError(f"{where!r} has no {name!r}; its classes: {', '.join(public) or 'none'}") from None
    return found


def prepend_paths(paths: tuple[str, ...]) -> None:
    """Put folders first on sys.path, in order, each once."""
    new = [path for path in dict.fromkeys(paths) if path]
    sys.path[:] = new + [path for path in sys.path if path not in new]
    for path in new:
        finder: Any = sys.path_importer_cache.get(path)
        if hasattr(finder, "invalidate_caches"):
            finder.invalidate_caches()  # the zygote looked there before the file that is wanted now was written


def _load_file(path: str) -> ModuleType:
    path = os.path.abspath(path)
    if not os.path.isfile(path):
        raise StartError(f"no file {path!r}")
    prepend_paths((os.path.dirname(path),))
    stem = os.path.basename(path).removesuffix(".py")
    known = sys.modules.get(stem)
    if known is not None and os.path.abspath(getattr(known, "__file__", None) or "") == path:
        return known
    # Its own name, so that a sibling's `import answering` and exceptions that travel mean the same module; another name
    # only where that one is taken by something else (a random.py, or a preloaded package).
    name = stem if stem.isidentifier() and known is None and stem not in sys.stdlib_module_names else f"dspex_file_{_slug(stem)}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_Loader(name, path))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _slug(stem: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in stem)


def _unpickle(data: bytes) -> Any:
    import pickle

    return pickle.loads(data)  # cloudpickle's format; the client that sent it may run code here anyway
