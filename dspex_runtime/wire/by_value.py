"""A cloudpickle in which nothing depends on a file that only this process has (a notebook, a test, `__main__`).

Classes and functions of such a file go by value, wherever in the object they are; all others by name. Restores cloudpickle's
registry at its end. Imports cloudpickle: whoever needs it at a first use only imports this file there.

Source: cloudpickle.register_pickle_by_value; its Pickler asks `reducer_override` about everything but plain data.
"""

from __future__ import annotations

import sys
import threading
from types import FunctionType, ModuleType
from typing import Any, Final

import cloudpickle

from dspex_runtime.wire.importable import can_be_imported

__all__ = ["ByValuePickler"]

_registry: Final = threading.RLock()  # cloudpickle has one registry for the whole process


class ByValuePickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    """One dump."""

    def __init__(self, file: Any) -> None:
        super().__init__(file)
        self._looked_at: set[str] = set()
        self._registered: list[ModuleType] = []

    def dump(self, obj: Any) -> None:
        """Write the bytes of an object. Raises whatever pickling raises."""
        with _registry:
            try:
                super().dump(obj)
            finally:
                while self._registered:
                    cloudpickle.unregister_pickle_by_value(self._registered.pop())

    def reducer_override(self, obj: Any) -> Any:
        """Have classes and functions that no fresh process would find travel by value."""
        if isinstance(obj, type | FunctionType):
            self._look_at(obj.__module__)
        return super().reducer_override(obj)

    def _look_at(self, name: Any) -> None:
        # What has no file is made by what has one.
        if not isinstance(name, str) or name in self._looked_at:
            return
        self._looked_at.add(name)
        module = sys.modules.get(name)
        file = getattr(module, "__file__", None)
        if module is None or name == "__main__" or not isinstance(file, str) or not file.endswith(".py"):
            return
        if not can_be_imported(name) and name not in cloudpickle.list_registry_pickle_by_value():
            cloudpickle.register_pickle_by_value(module)
            self._registered.append(module)
