"""Where inside a value the part is that cannot be sent. Runs only after a failure, so it may be slow.

Walks containers, payloads of extension types and attributes of objects, towards a part that fails by itself while all
its parts are fine. Never packs: it is given the checks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from types import CodeType, FunctionType, GetSetDescriptorType, MemberDescriptorType, MethodType
from typing import Any, Final, TypeAlias

from dspex_runtime.wire import messages as m

__all__ = ["Culprit", "locate", "message_parts"]

Check: TypeAlias = Callable[[Any], Exception | None]  # why this value cannot be sent, None: it can

_MAX_STEPS: Final = 100  # each of them packs what is left; what is deeper is told as it is there
_MAX_PATH: Final = 200  # characters: begin and end are kept
_MAX_TEXT: Final = 60  # characters of a key shown in a path
_DESCRIPTORS: Final = (GetSetDescriptorType, MemberDescriptorType)  # of slots and the like; made anew with their class
_SCALARS: Final = frozenset({int, float, bool, type(None)})  # always fine
# The items of a message that hold values of users, by the names they know.
_NAMES: Final[dict[int, dict[int, str]]] = {
    m.CALL: {3: "args", 4: "kwargs"},
    m.CAST: {3: "args", 4: "kwargs"},
    m.REPLY: {2: "result"},
    m.ITEM: {2: "item"},
    m.FAULT: {2: "error"},
    m.CONTROL: {3: "args"},
    m.EVENT: {2: "payload"},
    m.READY: {2: "info"},
}


@dataclass(frozen=True, slots=True)
class Culprit:
    """The innermost part that cannot be sent, its path, and why."""

    path: str
    value: Any
    error: Exception


def message_parts(message: list[Any]) -> Iterator[tuple[str, Any]]:
    """Yield (name, item) for the items of a message."""
    names = _NAMES.get(message[0], {}) if message and type(message[0]) is int else {}
    for index, item in enumerate(message):
        yield names.get(index, f"message[{index}]"), item


def locate(
    path: str, value: Any, error: Exception, *, payload: Callable[[Any], Any], packs: Check, pickles: Check | None
) -> Culprit:
    """Return the innermost part of a value that fails.

    Args:
        path: Path of `value`.
        value: What failed.
        error: How it failed.
        payload: Extension payload of a value, or NotImplemented for lists, dicts and foreign objects.
        packs: Whether the codec takes a value.
        pickles: Whether cloudpickle takes a value, as what is inside a foreign object must. None: nothing is pickled,
            so a foreign object is itself the part.
    """
    check = packs
    above = {id(value): (value, path)}  # holds the objects: the id of one that is gone could come again
    for _ in range(_MAX_STEPS):
        if check is packs and not isinstance(value, dict | list | tuple | set | frozenset):
            inner = payload(value)
            if inner is NotImplemented:
                if pickles is None:
                    break
                check = pickles
            else:
                value = inner
        for step, part in _parts(value):
            if type(part) in _SCALARS:
                continue
            if id(part) in above:
                return Culprit(
                    _cut(path + step), part, ValueError(f"it contains itself: it is the object at {_cut(above[id(part)][1])}")
                )
            reason = check(part)
            if reason is not None:
                path, value, error = path + step, part, reason
                above[id(part)] = (part, path)
                break
        else:
            break
    return Culprit(_cut(path), value, error)


def _cut(path: str) -> str:
    return path if len(path) <= _MAX_PATH else f"{path[: _MAX_PATH // 2]}...{path[-_MAX_PATH // 2 :]}"


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    match value:
        case dict():
            for key, item in list(value.items()):
                yield f".keys()[{_short(key)}]", key
                yield f"[{_short(key)}]", item
        case list() | tuple():
            for index, item in enumerate(value):
                yield f"[{index}]", item
        case set() | frozenset():
            for item in list(value):
                yield f"{{{_short(item)}}}", item
        case FunctionType():
            yield from _of_function(value)
        case MethodType():
            yield ".__self__", value.__self__
            yield ".__func__", value.__func__
        case partial():
            yield ".func", value.func
            yield ".args", value.args
            yield ".keywords", value.keywords
        case type():
            yield from _of_class(value)
            return
    yield from _attributes(value)
    yield ".__class__", type(value)


def _of_function(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield what travels with a function that goes by value."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            yield f".<closure {name}>", cell.cell_contents
        except ValueError:  # a cell that is not filled yet
            continue
    for name in dict.fromkeys(_names(function.__code__)):
        if name in function.__globals__:
            yield f".<global {name}>", function.__globals__[name]
    yield ".__defaults__", function.__defaults__
    yield ".__kwdefaults__", function.__kwdefaults__


def _names(code: CodeType) -> Iterator[str]:
    """Yield the names a function looks up, those of the functions inside it too."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _of_class(cls: type) -> Iterator[tuple[str, Any]]:
    for name, item in list(vars(cls).items()):
        if isinstance(item, staticmethod | classmethod):
            yield f".{name}", item.__func__
        elif isinstance(item, property):
            yield f".{name}", item.fget
        elif not isinstance(item, _DESCRIPTORS):
            yield f".{name}", item


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    for name, item in list(getattr(value, "__dict__", {}).items()):
        yield f".{name}", item
    for cls in type(value).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                yield f".{name}", getattr(value, name)


def _short(key: Any) -> str:
    try:
        text = repr(key)
    except Exception:  # a user's __repr__; the path is for people and may be vague here
        text = f"<{type(key).__name__}>"
    return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "..."
