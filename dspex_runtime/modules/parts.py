"""The parts of a program, and what each is called: the same in the host, in a mirror of it and in copies of both.

A part is a dspy.Module or a dspy.Parameter anywhere in the tree. Parameters are called what `named_parameters` calls them; those
that it leaves out (inside frozen children, in nested containers) and the modules alike. Knows no process and no pipe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import dspy
from dspy.predict.parameter import Parameter

ROOT: Final = ""
ITSELF: Final = "self"  # what dspy calls a program that is a parameter itself, a bare Predict
#: What a part, an LM or an adapter has of its calls, and for them: its process's own, and no part of what it is.
OF_CALLS: Final = ("callbacks", "history")
PLAIN: Final = (bool, int, float, str, type(None))  #: what can be sent and compared as it is


def named_parts(root: Any) -> dict[str, Any]:
    """Return all parts by name. The root is "", and "self" too where it is a parameter; each other part has one name."""
    parts: dict[str, Any] = {ROOT: root}
    parts.update(root.named_parameters())
    _collect(root, "", parts, {id(part) for part in parts.values()}, set())
    return parts


def names_of(parts: dict[str, Any]) -> dict[int, str]:
    """Return the name of each part by its identity; the root's is ""."""
    return {id(part): name for name, part in reversed(parts.items())}


def parameter_name(name: str) -> str:
    """Return what a part that is a parameter is called by dspy, and in the table."""
    return ITSELF if name == ROOT else name


def is_inside(name: str, outer: str) -> bool:
    """Return whether a part is the one called `outer`, or inside it."""
    return name == outer or name.startswith((f"{outer}.", f"{outer}["))


def is_part(value: Any) -> bool:
    """Return whether a value is a module or a parameter."""
    return isinstance(value, dspy.Module | Parameter)  # in this order: a proxy would ask its process whether it is a Parameter


def holds_parts(value: Any) -> bool:
    """Return whether there are parts in a list, tuple or dict, at any depth."""
    return is_container(value) and _holds_parts(value, set())


def is_container(value: Any) -> bool:
    """Return whether parts are looked for among the items of a value."""
    return isinstance(value, list | tuple | dict)


def items(container: Any, name: str, wanted: Callable[[Any], bool]) -> Iterator[tuple[str, Any]]:
    """Yield the wanted items of a list, tuple or dict, under the names that dspy makes of its own; of all else nothing."""
    if isinstance(container, dict):
        yield from ((f"{name}['{key}']", item) for key, item in list(container.items()) if wanted(item))
    elif isinstance(container, list | tuple):
        yield from ((f"{name}[{index}]", item) for index, item in enumerate(container) if wanted(item))


def _holds_parts(container: Any, entered: set[int]) -> bool:
    entered.add(id(container))
    values: Sequence[Any] = list(container.values()) if isinstance(container, dict) else container
    return any(is_part(item) or (is_container(item) and id(item) not in entered and _holds_parts(item, entered)) for item in values)


def _collect(value: Any, name: str, parts: dict[str, Any], named: set[int], entered: set[int]) -> None:
    if id(value) in entered:
        return
    entered.add(id(value))
    if is_part(value):
        if id(value) not in named:
            named.add(id(value))
            parts[name] = value
        prefix = f"{name}." if name else ""
        for attribute, child in list(getattr(value, "__dict__", {}).items()):
            if _is_looked_into(child):
                _collect(child, prefix + attribute, parts, named, entered)
    else:
        for path, item in items(value, name, _is_looked_into):
            _collect(item, path, parts, named, entered)


def _is_looked_into(value: Any) -> bool:
    return is_part(value) or is_container(value)
