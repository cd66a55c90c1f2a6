"""Whether user code has changed the list or dict of a parameter in place: an append tells nobody, an assignment does.

Compares what is in them, by identity, with what was in them the last time. Never looks at values, and publishes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from operator import is_
from typing import Any, Final

from dspex_runtime.params.cell import Cell
from dspex_runtime.params.spec import ParameterType

__all__ = ["MOST_COMPARED", "Container", "containers_in"]

# Items of a parameter's lists and dicts that are compared after every call, 10 ns each; of what is beyond only the length.
MOST_COMPARED: Final = 1000
_TYPES: Final = frozenset({ParameterType.LIST, ParameterType.DICT, ParameterType.ANY})


def containers_in(cells: Iterable[Cell]) -> list[Container]:
    """Return what is to be watched: of cells of other types nothing is."""
    return [Container(cell) for cell in cells if cell.spec.type in _TYPES]


class Container:
    """The list or dict in a cell, with the lists and dicts inside it."""

    __slots__ = ("_cell", "_seen", "_value")

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._take()

    def changed(self) -> bool:
        """Return once whether something came, went or was replaced. After an assignment too: what it set may be changed since."""
        if self._cell.value is self._value and all(map(_is_as_before, self._seen)):
            return False
        self._take()
        return True

    def _take(self) -> None:
        self._value = value = self._cell.value
        self._seen: list[tuple[Any, int, tuple[Any, ...]]] = []  # a list or dict, its length, what is in it
        room, waiting = MOST_COMPARED, [value] if isinstance(value, list | dict) else []
        while waiting:
            each = waiting.pop()
            size = len(each)
            items = tuple(_items(each)) if size <= room else ()
            self._seen.append((each, size, items))
            room -= max(1, len(items))  # an empty one costs something, too; and what contains itself comes to an end
            if room > 0:
                waiting += [item for item in items if isinstance(item, list | dict)]


def _is_as_before(seen: tuple[Any, int, tuple[Any, ...]]) -> bool:
    value, size, items = seen
    return len(value) == size and all(map(is_, _items(value), items))


def _items(value: Any) -> Iterable[Any]:
    return chain(value, value.values()) if isinstance(value, dict) else value
