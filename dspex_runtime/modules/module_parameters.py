"""All parameters of one hosted program: dx.Parameters and predictors, anywhere in its tree, under dspy's names.

Owns the holders, and the watch that says after a call whether to look again. Never writes a table: the host's owner does.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import dspy

from dspex_runtime.host.hosted import Declared
from dspex_runtime.modules.cells import DspyCell
from dspex_runtime.modules.mirror.following import Remote, unfollowed
from dspex_runtime.modules.module import materialise
from dspex_runtime.modules.predictors import PredictorHolder
from dspex_runtime.modules.tree import TreeWatch, named_modules, named_parameters
from dspex_runtime.params.containers import Container, containers_in

log = logging.getLogger("dspex_runtime.module")


class ModuleParameters:
    """The parameters of a module and of everything inside it.

    Args:
        root: A dspy.Module, any. A plain one may declare `Parameter`s too, as may those inside it.
    """

    def __init__(self, root: dspy.Module) -> None:
        self._root = root
        self._watch = TreeWatch(())
        self._holders: dict[str, PredictorHolder] = {}
        self._containers: list[Container] = []

    def listed(self) -> list[Declared]:
        """Return the parameters there are now. Who holds a predictor holds the one that has its name now, too."""
        with unfollowed():  # the parameters of a proxy inside the program are those of another process
            return self._listed()

    def _listed(self) -> list[Declared]:
        modules = named_modules(self._root)
        for _, module in modules:
            materialise(module)
        self._watch.take(modules)
        found: list[Declared] = []
        holders: dict[str, PredictorHolder] = {}
        cells: list[DspyCell] = []
        for name, parameter in named_parameters(self._root, self._holders, modules=modules):
            if isinstance(parameter, DspyCell):
                found.append(Declared(name, parameter.spec, parameter))
                cells.append(parameter)
            elif not isinstance(parameter, Remote) and hasattr(parameter, "dump_state") and hasattr(parameter, "load_state"):
                holder = self._holder(name, parameter)
                if holder is not None:
                    holders[name] = holder
                    found.append(Declared(name, holder.declaration, holder))
        self._holders, self._containers = holders, containers_in(cells)
        return found

    @property
    def holders(self) -> Mapping[str, PredictorHolder]:
        """Those of the predictors that were listed last."""
        return self._holders

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
