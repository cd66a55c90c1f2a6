"""The dspy modules inside a module: which parameters there are under which names, and whether that may have changed.

dspy names them (`named_parameters`); added are the cells of frozen children, which dspy leaves out: their owner still assigns to
them. Walks what dspy walks: attributes, and the items of lists, tuples and dicts that are attributes, no deeper.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import islice
from operator import is_
from typing import Any, Final

import dspy
from dspy.predict.parameter import Parameter

from dspex_runtime.modules.cells import DspyCell
from dspex_runtime.modules.parts import is_container, is_part, items

# A corpus of 100 000 passages is an attribute too. A predictor behind so many other items is found by a full listing only.
LOOKED_AT: Final = 256


def named_parameters(
    root: dspy.Module, known: Container[str] = (), *, modules: Sequence[tuple[str, dspy.Module]] | None = None
) -> list[tuple[str, Any]]:
    """Return dspy's list, and after it what dspy leaves out of it, named alike.

    Args:
        root: The program.
        known: Names of predictors that stay listed when a module around them was frozen since.
        modules: What `named_modules` returned of it just now, if it was asked.
    """
    found: list[tuple[str, Any]] = root.named_parameters()
    if any(getattr(module, "_compiled", False) for _, module in (named_modules(root) if modules is None else modules)):
        seen = {id(parameter) for _, parameter in found}
        for name, parameter in frozen_parameters(root):
            if id(parameter) not in seen and (isinstance(parameter, DspyCell) or name in known):
                seen.add(id(parameter))
                found.append((name, parameter))
    return found


def named_modules(root: dspy.Module) -> list[tuple[str, dspy.Module]]:
    """Return the root, as "", and all modules inside it that are no parameters themselves."""
    found: dict[int, tuple[str, dspy.Module]] = {}
    _collect(root, "", found)
    return list(found.values())


def frozen_parameters(root: dspy.Module) -> list[tuple[str, Any]]:
    """Return the parameters inside frozen children, under the names they had."""
    return list(_frozen(root, "", inside=False, seen={id(root)}))


def _collect(module: dspy.Module, path: str, found: dict[int, tuple[str, dspy.Module]]) -> None:
    if id(module) not in found:
        found[id(module)] = (path, module)
        for name, child in _children(module):
            if not isinstance(child, Parameter):
                _collect(child, f"{path}.{name}" if path else name, found)


def _frozen(module: dspy.Module, prefix: str, *, inside: bool, seen: set[int]) -> Iterator[tuple[str, Any]]:
    for name, value in _children(module):
        path = f"{prefix}.{name}" if prefix else name
        if isinstance(value, Parameter):
            if inside:
                yield path, value
        elif id(value) not in seen:
            seen.add(id(value))
            yield from _frozen(value, path, inside=inside or bool(getattr(value, "_compiled", False)), seen=seen)


def _children(module: dspy.Module) -> Iterator[tuple[str, Any]]:
    """Yield the parameters and modules that a module holds, under dspy's names."""
    for name, value in list(module.__dict__.items()):
        if is_part(value):
            yield name, value
        else:
            yield from items(value, name, is_part)


class TreeWatch:
    """Tells whether parameters may have come, gone or been replaced, also by a flag; a microsecond for a tree that is as it was.

    By identity. A container is looked at again when its length changes, or when it held parameters.
    """

    def __init__(self, modules: Iterable[tuple[str, dspy.Module]]) -> None:
        self._nodes: list[_Node] = []
        self.take(modules)

    def take(self, modules: Iterable[tuple[str, dspy.Module]]) -> None:
        """Remember a tree as it is now: what `named_modules` says of it."""
        self._nodes = [_Node(module) for _, module in modules]

    def differs(self) -> bool:
        """Return whether a full listing is due. What holds no parameters may come and go."""
        return any(node.differs() for node in self._nodes)


class _Node:
    """One module of the tree: its attributes, and those of them that are containers."""

    __slots__ = ("_attributes", "_containers", "_is_frozen", "_now", "_values")

    def __init__(self, module: dspy.Module) -> None:
        self._attributes: dict[str, Any] = module.__dict__
        self._now = self._attributes.values()  # a live view
        self._is_frozen = bool(self._attributes.get("_compiled"))
        self._values: tuple[Any, ...] = ()
        self._containers: list[tuple[Any, int, tuple[Any, ...] | None]] = []
        self._take()

    def _take(self) -> None:
        known = {id(record[0]): record for record in self._containers}
        self._values = tuple(self._now)
        self._containers = [
            known.get(id(value)) or (value, len(value), tuple(_items(value)) if _is_holder(value) else None)
            for value in self._values
            if is_container(value)
        ]

    def differs(self) -> bool:
        now, values = self._now, self._values
        if len(now) != len(values) or not all(map(is_, now, values)):
            other = _difference(tuple(now), values)
            if self._is_frozen != bool(self._attributes.get("_compiled")) or any(
                is_part(value) or _is_holder(value) for value in other
            ):
                return True
            if any(map(is_container, other)):
                self._take()
            else:
                self._values = tuple(now)  # a counter, say, of every call
        for index, (container, size, held) in enumerate(self._containers):
            if len(container) != size:
                if held is not None or _holds_parts(_newest(container, size)):
                    return True
                self._containers[index] = (container, len(container), None)
            elif held is not None and not all(map(is_, _items(container), held)):
                return True
        return False


def _difference(now: tuple[Any, ...], before: tuple[Any, ...]) -> list[Any]:
    """Return the values that are not where they were, and those that were there."""
    if len(now) == len(before):
        return [value for pair in zip(now, before, strict=True) if pair[0] is not pair[1] for value in pair]
    kept = {id(value) for value in now} & {id(value) for value in before}
    return [value for value in (*now, *before) if id(value) not in kept]


def _is_holder(value: Any) -> bool:
    return is_container(value) and _holds_parts(_items(value))


def _holds_parts(values: Iterable[Any]) -> bool:
    return any(map(is_part, islice(values, LOOKED_AT)))


def _items(container: Any) -> Iterable[Any]:
    return container.values() if isinstance(container, dict) else container


def _newest(container: Any, size: int) -> Iterable[Any]:
    """Return the items that came after the first `size`; new keys of a dict are its last."""
    if isinstance(container, dict):
        return islice(reversed(container.values()), max(0, len(container) - size))
    return islice(container, size, None)
