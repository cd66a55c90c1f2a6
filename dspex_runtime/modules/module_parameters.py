"""All parameters of one hosted program: dx.Parameters and predictors, anywhere in its tree, under dspy's names.

Owns the holders, and the watch that says after a call whether to look again. Never writes a table: the host's owner does.
"""

from __future__ import annotations

import logging
from operator import is_
from typing import Any, Final

import dspy

from dspex_runtime.host.hosted import Declared
from dspex_runtime.modules.cells import DspyCell
from dspex_runtime.modules.module import materialise
from dspex_runtime.modules.predictors import PredictorHolder
from dspex_runtime.modules.tree import TreeWatch, named_modules, named_parameters
from dspex_runtime.params.spec import ParameterType

log = logging.getLogger("dspex_runtime.module")

_CONTAINERS: Final = frozenset({ParameterType.LIST, ParameterType.DICT, ParameterType.ANY})
# Items of a parameter's list or dict that are compared after every call, 10 ns each; of a longer one only the length.
MOST_COMPARED: Final = 1000


class ModuleParameters:
    """The parameters of a module and of everything inside it.

    Args:
        root: A dspy.Module, any. A plain one may declare `Parameter`s too, as may those inside it.
    """

    def __init__(self, root: dspy.Module) -> None:
        self._root = root
        self._watch = TreeWatch(())
        self._holders: dict[str, PredictorHolder] = {}
        self._containers: list[_Container] = []

    def listed(self) -> list[Declared]:
        """Return the parameters there are now. Who holds a predictor holds the one that has its name now, too."""
        modules = named_modules(self._root)
        for _, module in modules:
            materialise(module)
        self._watch.take(modules)
        found: list[Declared] = []
        holders: dict[str, PredictorHolder] = {}
        containers: list[_Container] = []
        for name, parameter in named_parameters(self._root, self._holders, modules=modules):
            if isinstance(parameter, DspyCell):
                found.append(Declared(name, parameter.spec, parameter))
                if parameter.spec.type in _CONTAINERS:
                    containers.append(_Container(parameter))
            elif hasattr(parameter, "dump_state") and hasattr(parameter, "load_state"):
                holder = self._holder(name, parameter)
                if holder is not None:
                    holders[name] = holder
                    found.append(Declared(name, holder.declaration, holder))
        self._holders, self._containers = holders, containers
        return found

    @property
    def names(self) -> list[str]:
        """The predictors that were listed last."""
        return list(self._holders)

    def changed(self) -> bool:
        """Return whether a predictor, the items of a list or dict, or which parameters there are, may have changed.

        Since `listed`, and since the holders' `load`.
        """
        return (
            self._watch.differs()
            or any(holder.changed() for holder in self._holders.values())
            or any(container.changed() for container in self._containers)
        )

    def _holder(self, name: str, parameter: Any) -> PredictorHolder | None:
        holder = self._holders.get(name)
        try:
            if holder is None:
                return PredictorHolder(name, parameter)
            if holder.predictor is not parameter:
                holder.replace(parameter)
        except Exception as exc:  # of user code: it works as it is, and its state cannot be had
            log.warning("%s is no parameter: it gives no state (%s: %s)", name, type(exc).__name__, exc)
            return None
        return holder


class _Container:
    """The list or dict in a cell, which user code changes in place."""

    __slots__ = ("_cell", "_items", "_size", "_value")

    def __init__(self, cell: DspyCell) -> None:
        self._cell = cell
        self._take()

    def _take(self) -> None:
        self._value = value = self._cell.value
        self._size = len(value) if isinstance(value, list | dict) else 0
        self._items = tuple(_items(value)) if 0 < self._size <= MOST_COMPARED else ()

    def changed(self) -> bool:
        """Return once whether items came, went or were replaced; an assignment tells everybody itself."""
        value = self._cell.value
        if value is not self._value:
            self._take()
            return False
        if not isinstance(value, list | dict) or (len(value) == self._size and all(map(is_, _items(value), self._items))):
            return False
        self._take()
        return True


def _items(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value
