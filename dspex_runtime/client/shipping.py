"""One dump of something that goes on living in its process: what only this process can import by value, its locks new ones."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from typing import Any, Final

from dspex_runtime.wire.by_value import ByValuePickler

# By exact type: a subclass of `local` has a constructor of its own.
_NEW: Final[dict[type, Callable[[], Any]]] = {
    type(threading.Lock()): threading.Lock,
    type(threading.RLock()): threading.RLock,
    threading._PyRLock: threading.RLock,  # type: ignore[attr-defined]  # what Condition takes where C has none
    threading.local: threading.local,
}


def dumps(value: Any, *, new_locks: bool) -> bytes:
    """Return the bytes of a value.

    Args:
        value: Anything.
        new_locks: Whether a lock becomes a new one, instead of an error.

    Raises:
        Exception: Whatever pickling raises.
    """
    file = io.BytesIO()
    (_Pickler if new_locks else ByValuePickler)(file).dump(value)
    return file.getvalue()


class _Pickler(ByValuePickler):
    def reducer_override(self, obj: Any) -> Any:
        if (new := _NEW.get(type(obj))) is not None:
            return (new, ())
        if isinstance(obj, threading.Thread):  # with a new lock it would travel, and claim to have ended
            raise TypeError(f"cannot pickle {type(obj).__name__!r} object: a thread does not leave its process")
        return super().reducer_override(obj)
