"""Pickles of LMs, adapters and predictors: without the calls that were made with them, and without callbacks.

Both stay with the process they belong to: a history may be megabytes, and a callback is for who registered it.
"""

from __future__ import annotations

import io
import pickle
from typing import Any, Final

import dspy
from dspy.clients.base_lm import BaseLM

from dspex_runtime.modules.parts import OF_CALLS
from dspex_runtime.wire.by_value import ByValuePickler

#: Attribute of an LM that stands for one of the other process: it goes there as that one, see `mirror.lms`.
STAND_IN: Final = "_dspex_stands_for"
_EMPTY: Final = "empty list"


def has_calls(value: Any) -> bool:
    """Return whether a value holds its calls or callbacks: such a one is pickled here."""
    # dspy.Module first: a proxy asked for another class looks at its process for what it is.
    return isinstance(value, dspy.Module | BaseLM | dspy.Adapter)


def dumps(value: Any, *, whole: bool = False) -> bytes:
    """Return cloudpickle bytes; `whole` is for a reader that has none of the user's files. Raises whatever pickling raises."""
    file = io.BytesIO()
    _Pickler(file, whole=whole).dump(value)
    return file.getvalue()


def loads(data: bytes) -> Any:
    """Return the object of bytes."""
    return _Unpickler(io.BytesIO(data)).load()


class _Pickler(ByValuePickler):
    def __init__(self, file: Any, *, whole: bool) -> None:
        super().__init__(file, whole=whole)
        self._left_out: dict[int, Any] = {}

    def persistent_id(self, obj: Any) -> Any:
        if type(obj) is list:
            return _EMPTY if id(obj) in self._left_out else None
        if has_calls(obj):
            if STAND_IN in vars(obj):
                return _mirror_lms().pack(obj)
            # The object comes before what it holds.
            self._left_out |= {id(held): held for name in OF_CALLS if type(held := vars(obj).get(name)) is list}
        return None


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, pid: Any) -> Any:
        if isinstance(pid, dict):
            return _mirror_lms().unpack(pid)
        if pid != _EMPTY:
            raise pickle.UnpicklingError(f"unknown reference {pid!r}")
        return []


def _mirror_lms() -> Any:
    from dspex_runtime.modules.mirror import lms as mirror_lms  # which pickles LMs here

    return mirror_lms
