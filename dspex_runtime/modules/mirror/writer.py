"""Who writes the dx.Parameters of a mirror: each assignment at once, through the module, like `proxy.dx.params[name] = value`.

Owns nothing but the way there. While a state is loaded values are only checked and noted: they are sent together with the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from dspex_runtime.params.cell import Cell
from dspex_runtime.params.constraints import check


class MirrorWriter:
    """What the cells of a mirror are bound to (see params.cell.Writer). The process says itself who writes.

    Args:
        ref: The reference to the process.
        cell: Finds the mirror's cell of a name.
    """

    def __init__(self, ref: Any, cell: Callable[[str], Cell]) -> None:
        self._ref = ref
        self._cell = cell
        self._deferred: set[str] | None = None

    @contextmanager
    def deferred(self) -> Iterator[set[str]]:
        """Within this, note the names of what is set in the yielded set, instead of sending it."""
        noted: set[str] = set()
        self._deferred = noted
        try:
            yield noted
        finally:
            self._deferred = None

    def set(self, name: str, value: Any, *, who: str) -> None:  # noqa: ARG002
        """Set a parameter, for everybody. Raises as `Params.set`."""
        cell = self._cell(name)
        if self._deferred is not None:
            cell.store(check(cell.spec, value, name=name))
            self._deferred.add(name)
            return
        self._ref.params[name] = value
        cell.store(self._ref.params[name])

    def apply_gradient(self, name: str, gradient: Any, *, who: str) -> None:  # noqa: ARG002
        """Step a parameter, for everybody."""
        self._ref.params.apply_gradient(name, gradient)
        self._cell(name).store(self._ref.params[name])

    def rollback(self, name: str, version: int, *, who: str) -> None:  # noqa: ARG002
        """Set a parameter to what it was, for everybody."""
        self._ref.params.rollback(name, version)
        self._cell(name).store(self._ref.params[name])

    def reset(self, name: str, *, who: str) -> None:  # noqa: ARG002
        """Set a parameter to its default, for everybody."""
        self._ref.params.reset(name)
        self._cell(name).store(self._ref.params[name])

    def version(self, name: str) -> int:
        """Return the version that readers see."""
        return int(self._ref.params.version(name))
