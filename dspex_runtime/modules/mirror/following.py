"""Whether a proxy that is a part of another program is looked into. Where a program is hosted it is not: its parts are another's.

By thread. Owns that one switch; `ModuleProxy` asks it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from dspy.primitives.base_module import BaseModule


class Remote:
    """What stands for a module in another process: a `ModuleProxy`, told by its type alone.

    Attributes:
        dx: The reference.
    """

    __slots__ = ()

    dx: Any


#: An instance's real attributes: a proxy's `__dict__` gives the mirror's.
own: Final[Callable[[Any], dict[str, Any]]] = vars(BaseModule)["__dict__"].__get__
MIRROR: Final = "$mirror"  # no name that anybody could use


def mirror_of(remote: Remote) -> Any:
    """Return the mirror behind a proxy."""
    return own(remote)[MIRROR]


def without_remote(parameters: list[tuple[str, Any]], root: Any) -> list[tuple[str, Any]]:
    """Return what dspy lists of a program; for a thread that does not look into proxies without those that are Predicts."""
    if follows():
        return parameters
    return [(name, part) for name, part in parameters if part is root or not isinstance(part, Remote)]


class _Depth(threading.local):
    value = 0


_closed = _Depth()


def follows() -> bool:
    """Return whether this thread may look into proxies, which may ask their processes."""
    return _closed.value == 0


@contextmanager
def unfollowed() -> Iterator[None]:
    """Within this, a proxy is an empty module to this thread."""
    _closed.value += 1
    try:
        yield
    finally:
        _closed.value -= 1
