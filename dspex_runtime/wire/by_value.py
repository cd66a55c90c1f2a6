"""Cloudpickles: one whose code says which file it is of, and one in which nothing depends on a file that only this process has.

Classes and functions of such a file (a notebook, a test, `__main__`) go by value, wherever in the object they are, and so does the
file's module; all others by name. Each dump decides for itself: cloudpickle's registry, which is every thread's, is read and never
written. Imports cloudpickle: whoever needs it at a first use only imports this file there.

Source: cloudpickle's own `reducer_override` and the reducers behind it, which pickle what is in its registry.
"""

from __future__ import annotations

import io
import sys
import sysconfig
from functools import cache
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final, TypeVar

import cloudpickle
from cloudpickle import cloudpickle as reducers

from dspex_runtime.wire.importable import can_be_imported

__all__ = ["ByValuePickler", "dumps", "dumps_whole"]

_OURS: Final = __name__.partition(".")[0]


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    """One dump whose code keeps the name of its file, which cloudpickle leaves out since 3.1.3: for tracebacks and `inspect`."""

    def reducer_override(self, obj: Any) -> Any:
        """Have code bring its file."""
        if type(obj) is CodeType:
            _, arguments = self.dispatch_table[CodeType](obj)
            return _code_of, (obj.co_filename, arguments)
        return super().reducer_override(obj)


class ByValuePickler(_Pickler):
    """One dump.

    Args:
        file: Where the bytes go.
        whole: Whether to send by value whatever is the user's, for a reader that has none of the user's files.
    """

    def __init__(self, file: Any, *, whole: bool = False) -> None:
        super().__init__(file)
        self._decide = _is_the_users if whole else _is_only_here
        self._by_value: dict[str, bool] = {}  # of each module that was met

    def reducer_override(self, obj: Any) -> Any:
        """Have what no reader would find travel by value."""
        kind = type(obj)  # a proxy asked for its class would ask its process
        if issubclass(kind, type):
            if self._goes_by_value(obj.__module__):
                return reducers._dynamic_class_reduce(obj)
        elif kind is FunctionType:
            if self._goes_by_value(obj.__module__):
                return self._dynamic_function_reduce(obj)
        elif kind is ModuleType:
            if self._goes_by_value(obj.__name__):
                # Filled when it is there: what is in it may lead back to it.
                return ModuleType, (obj.__name__,), {name: value for name, value in vars(obj).items() if name != "__builtins__"}
        elif kind is TypeVar and self._goes_by_value(obj.__module__):
            return reducers._make_typevar, reducers._decompose_typevar(obj)
        return super().reducer_override(obj)

    def _goes_by_value(self, name: Any) -> bool:
        if not isinstance(name, str):
            return False
        found = self._by_value.get(name)
        if found is None:
            found = self._by_value[name] = self._decide(name)
        return found


def dumps(value: Any) -> bytes:
    """Return the bytes of a value. Raises whatever pickling raises."""
    file = io.BytesIO()
    _Pickler(file).dump(value)
    return file.getvalue()


def dumps_whole(value: Any) -> bytes:
    """Return the bytes of a value for a reader that has none of the user's files. Raises whatever pickling raises."""
    file = io.BytesIO()
    ByValuePickler(file, whole=True).dump(value)
    return file.getvalue()


def _code_of(file: str, arguments: tuple[Any, ...]) -> CodeType:
    return CodeType(*arguments).replace(co_filename=file)


def _is_only_here(name: str) -> bool:
    # What has no file is made by what has one.
    file = getattr(sys.modules.get(name), "__file__", None)
    return name != "__main__" and isinstance(file, str) and file.endswith(".py") and not can_be_imported(name)


def _is_the_users(name: str) -> bool:
    file = getattr(sys.modules.get(name), "__file__", None)
    return isinstance(file, str) and name.partition(".")[0] != _OURS and not file.startswith(_libraries())


@cache
def _libraries() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return paths["stdlib"], paths["purelib"], paths["platlib"]
