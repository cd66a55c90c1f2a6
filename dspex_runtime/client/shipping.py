"""One dump of something that goes on living in its process: what only this process can import by value, its locks new ones.

The source of code that is in no file, a notebook's, goes along.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from types import CodeType
from typing import Any, Final

from dspex_runtime.wire import sources
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
    pickler = (_NewLocks if new_locks else _Pickler)(file)
    pickler.dump(value)
    return sources.bundled(file.getvalue(), sources.gathered(pickler.files))


class _Pickler(ByValuePickler):
    def __init__(self, file: Any) -> None:
        super().__init__(file)
        self.files: dict[str, None] = {}  # in which the code is that goes by value

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, CodeType):
            self.files[obj.co_filename] = None
        return super().reducer_override(obj)


class _NewLocks(_Pickler):
    def reducer_override(self, obj: Any) -> Any:
        if (new := _NEW.get(type(obj))) is not None:
            return (new, ())
        if isinstance(obj, threading.Thread):  # with a new lock it would travel, and claim to have ended
            raise TypeError(f"cannot pickle {type(obj).__name__!r} object: a thread does not leave its process")
        return super().reducer_override(obj)
