"""Whether a proxy that is a part of another program is looked into. Where a program is hosted it is not: its parts are another's.

By thread. Owns that one switch; `ModuleProxy` asks it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


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
