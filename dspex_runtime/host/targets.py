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
import inspect
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

from dspex_runtime.core.child_spec import LaunchSpec
from dspex_runtime.errors import StartError
from dspex_runtime.osproc.user_code import UserLoader, given

_LISTED: Final = 10  # names that are told where one is not there


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


def resolve(target: str, wanted: str = "classes", fits: Callable[[Any], bool] = inspect.isclass) -> Any:
    """Return the object behind "pkg.mod:Name" or "file.py:Name".

    Args:
        target: The text.
        wanted: What it is to be one of, for the text about a name that is not there.
        fits: Whether something is one: these names are told. What is found may be anything.

    Raises:
        StartError: There is no such file or name.
        BaseException: Whatever the user's code raises while it is imported.
    """
    where, colon, name = target.rpartition(":")
    if not colon or not where or not name:
        raise StartError(f'target {target!r} is not of the form "pkg.mod:Name" or "file.py:Name", and no saved-program directory')
    module = _load_file(where) if where.endswith(".py") else importlib.import_module(where)
    found: Any = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            place = os.path.basename(where) if where.endswith(".py") else repr(where)
            told = _names(module, name, wanted, fits) if found is module else f"{_kind(found)} has no {part!r}"
            raise StartError(f"{place} has no {name!r}; {told}") from None
    return found


def prepend_paths(paths: tuple[str, ...]) -> None:
    """Put folders first on sys.path, in order, each once."""
    new = [path for path in dict.fromkeys(paths) if path]
    sys.path[:] = new + [path for path in sys.path if path not in new]
    for path in new:
        finder: Any = sys.path_importer_cache.get(path)
        if hasattr(finder, "invalidate_caches"):
            finder.invalidate_caches()  # the zygote looked there before the file that is wanted now was written
        elif finder is None:
            sys.path_importer_cache.pop(path, None)  # or before there was the folder


def _load_file(path: str) -> ModuleType:
    path = os.path.abspath(path)
    if path not in given and not os.path.isfile(path):
        raise StartError(f"no file {path!r}")
    prepend_paths((os.path.dirname(path),))
    stem = os.path.basename(path).removesuffix(".py")
    known = sys.modules.get(stem)
    if known is not None and os.path.abspath(getattr(known, "__file__", None) or "") == path:
        return known
    # Its own name, so that a sibling's `import answering` and exceptions that travel mean the same module; another name
    # only where that one is taken by something else (a random.py, or a preloaded package).
    name = stem if stem.isidentifier() and known is None and stem not in sys.stdlib_module_names else f"dspex_file_{_slug(stem)}"
    spec = importlib.util.spec_from_file_location(name, path, loader=UserLoader(name, path))
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


def _names(module: ModuleType, name: str, wanted: str, fits: Callable[[Any], bool]) -> str:
    """Return the name that was meant, or those there are: not the imported ones, but they may have been meant."""
    from dspex_runtime.config.suggestions import suggest

    fitting = {each: value for each, value in vars(module).items() if not each.startswith("_") and fits(value)}
    own = sorted(each for each, value in fitting.items() if _is_own(value, module.__name__))
    listed = ", ".join(own[:_LISTED]) + (", ..." if len(own) > _LISTED else "")
    return suggest(name, fitting) or f"its {wanted}: {listed or 'none'}"


def _is_own(value: Any, module: str) -> bool:
    if not inspect.isclass(value) and not inspect.isroutine(value):
        return True  # where an object was made is not to be seen
    return f"{getattr(value, '__module__', None)}.".startswith(f"{module}.")


def _kind(value: Any) -> str:
    return value.__qualname__ if inspect.isclass(value) else f"a {type(value).__name__}"


def _slug(stem: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in stem)


def _unpickle(data: bytes) -> Any:
    import pickle

    return pickle.loads(data)  # cloudpickle's format; the client that sent it may run code here anyway
