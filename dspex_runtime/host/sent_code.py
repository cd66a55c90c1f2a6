"""What a client sends beside a request for another process to open there: a value, or the name of a function.

A pickle of one is a call of the function here, with the client's sys.path: what goes by name is looked for behind the folders of
the module itself, whose names go first.
"""

from __future__ import annotations

import inspect
import pickle
import sys
from typing import Any

from dspex_runtime.host.targets import resolve

__all__ = ["named", "opened"]


def opened(path: list[str], data: bytes) -> Any:
    """Return a value. Raises what unpickling raises."""
    _look_there_too(path)
    return pickle.loads(data)


def named(path: list[str], target: str) -> Any:
    """Return the function behind "file.py:fn" or "pkg.mod:fn". Raises as `targets.resolve`."""
    _look_there_too(path)
    return resolve(target, "functions", inspect.isroutine)


def _look_there_too(path: list[str]) -> None:
    sys.path.extend(entry for entry in path if entry not in sys.path)
