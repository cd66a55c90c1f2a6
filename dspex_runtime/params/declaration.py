"""Specs from what people write in `Parameter(...)`. Every mistake is told here.

Never registers anything and knows no names: whoever calls puts the name of what was declared before the message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from dspex_runtime.errors import ConstraintViolationError
from dspex_runtime.params.constraints import check, shown, without_promise
from dspex_runtime.params.spec import Constraint, Limit, ParameterSpec, ParameterType
from dspex_runtime.types import Durability

__all__ = ["MISSING", "make_spec", "type_of"]

MISSING: Final = object()  # no default was given; None is one
_C, _T = Constraint, ParameterType

_LENGTHS: Final = frozenset({_T.STR, _T.LIST, _T.DICT, _T.ARRAY})
_NUMBERS: Final = frozenset({_T.INT, _T.FLOAT, _T.ARRAY})
_FOR: Final[Mapping[Constraint, frozenset[ParameterType]]] = {
    _C.MIN: _NUMBERS,
    _C.MAX: _NUMBERS,
    _C.CHOICES: frozenset(_T) - {_T.ARRAY, _T.PREDICTOR},
    _C.MIN_LENGTH: _LENGTHS,
    _C.MAX_LENGTH: _LENGTHS,
    _C.LENGTH: _LENGTHS,
    _C.SHAPE: frozenset({_T.ARRAY}),
    _C.DTYPE: frozenset({_T.ARRAY}),
    _C.PATTERN: frozenset({_T.STR}),
}
_EMPTY: Final[Mapping[ParameterType, Any]] = {
    _T.INT: 0, _T.FLOAT: 0.0, _T.BOOL: False, _T.STR: "", _T.LIST: [], _T.DICT: {}, _T.ANY: None, _T.PREDICTOR: {},
}  # fmt: skip
_CLASSES: Final = {int: _T.INT, float: _T.FLOAT, bool: _T.BOOL, str: _T.STR, list: _T.LIST, dict: _T.DICT, object: _T.ANY}


def make_spec(
    type: Any,
    default: Any = MISSING,
    *,
    limits: Mapping[str, Any] | None = None,
    check_with: Callable[[Any], Any] | None = None,
    **traits: Any,
) -> ParameterSpec:
    """Return a spec whose parts fit each other, and whose default is a legal value.

    Args:
        type: A word of `ParameterType`, or int, float, bool, str, list, dict or object.
        default: Without one: 0, "", [] and so on, for an array of known shape zeros.
        limits: By the words of `Constraint`; those that are None are not there.
        check_with: The user's own check.
        traits: The rest of `ParameterSpec`, as people write it (`Parameter` says what each may be); its defaults hold for others.

    Raises:
        TypeError: A part is of the wrong type.
        ValueError: A part does not fit the type, another part, or the default.
    """
    kind = type_of(type)
    spec = ParameterSpec(
        type=kind,
        constraints=_limits(kind, limits or {}),
        custom=_callable(check_with),
        custom_name=None if check_with is None else getattr(check_with, "__qualname__", shown(check_with)),
        **{name: _trait(kind, name, value) for name, value in traits.items()},
    )
    if not 0 <= spec.momentum < 1:
        raise ValueError(f"momentum must be at least 0 and below 1; got {spec.momentum!r}")
    return _with_default(spec, default)


def type_of(written: Any) -> ParameterType:
    """Return the type that a person means by a word or a class.

    Raises:
        TypeError: None is meant.
    """
    if isinstance(written, str) and written in set(_T):
        return _T(written)
    plain = getattr(written, "__origin__", written)  # list[str]
    if isinstance(plain, type) and plain in _CLASSES:
        return _CLASSES[plain]
    if getattr(plain, "__name__", None) == "ndarray":
        return _T.ARRAY
    raise TypeError(f"its type must be one of int, float, bool, str, list, dict, 'array', 'any'; got {shown(written)}")


def _limits(kind: ParameterType, written: Mapping[str, Any]) -> tuple[Limit, ...]:
    given = {Constraint(word): value for word, value in written.items() if value is not None}
    for constraint in given:
        if kind not in _FOR[constraint]:
            fitting = ", ".join(sorted(_FOR[constraint]))
            raise ValueError(f"{constraint} means nothing for the type {kind}; it is for {fitting}")
    limits = {constraint: _LIMITS[constraint](constraint, given[constraint]) for constraint in Constraint if constraint in given}
    for low, high in ((_C.MIN, _C.MAX), (_C.MIN_LENGTH, _C.MAX_LENGTH)):
        if low in limits and high in limits and limits[low] > limits[high]:
            raise ValueError(f"{low} must not be above {high}; got {limits[low]!r} and {limits[high]!r}")
    if _C.LENGTH in limits and limits.keys() & {_C.MIN_LENGTH, _C.MAX_LENGTH}:
        raise ValueError("length says all that min_length and max_length could; give one or the others")
    return tuple(Limit(constraint, limit) for constraint, limit in limits.items())


def _number(what: str, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{what} must be a number; got {shown(value)}")
    if value != value:
        raise ValueError(f"{what} must be a number; got nan")
    return value


def _size(what: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TypeError(f"{what} must be an int of 0 or more; got {shown(value)}")
    return value


def _choices(what: str, value: Any) -> tuple[Any, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"{what} must be a list of the values that are allowed; got {shown(value)}")
    choices = tuple(value)
    if not choices:
        raise ValueError(f"{what} must name one value at least; got none")
    return choices


def _shape(what: str, value: Any) -> tuple[int | None, ...]:
    sizes = (value,) if isinstance(value, int) else value
    if not isinstance(sizes, list | tuple):
        raise TypeError(f"{what} must be a list of sizes, null or None for any; got {shown(value)}")
    return tuple(None if size is None else _size(f"each size of {what}", size) for size in sizes)


def _dtype(what: str, value: Any) -> str:
    import numpy as np

    try:
        dtype = np.dtype(value)
    except TypeError as exc:
        raise TypeError(f"{what} must be a dtype of numpy, as 'float32'; got {shown(value)} ({exc})") from None
    if dtype.kind not in "biuf":
        raise ValueError(f"{what} must be one of numbers; got {dtype}")
    return str(dtype.newbyteorder("="))


def _pattern(what: str, value: Any) -> str:
    try:
        re.compile(value)
    except (TypeError, re.error) as exc:
        raise ValueError(f"{what} must be a regular expression; got {shown(value)} ({exc})") from None
    return str(value)


_LIMITS: Final[Mapping[Constraint, Callable[[str, Any], Any]]] = {
    _C.MIN: _number,
    _C.MAX: _number,
    _C.CHOICES: _choices,
    _C.MIN_LENGTH: _size,
    _C.MAX_LENGTH: _size,
    _C.LENGTH: _size,
    _C.SHAPE: _shape,
    _C.DTYPE: _dtype,
    _C.PATTERN: _pattern,
}


def _callable(value: Any) -> Callable[[Any], Any] | None:
    if value is not None and not callable(value):
        raise TypeError(f"check must be a function of the value; got {shown(value)}")
    return value  # type: ignore[no-any-return]


def _trait(kind: ParameterType, name: str, value: Any) -> Any:
    match name:
        case "requires_grad":
            return _flag(kind, value)
        case "learning_rate" | "momentum":
            return _number(name, value)
        case "metadata":
            return _metadata(value)
        case "durability":
            return _durability(value)
        case "doc":
            return value
        case _:
            raise TypeError(f"a parameter has no {name}")


def _flag(kind: ParameterType, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"requires_grad must be True or False; got {shown(value)}")
    if value and kind not in (_T.FLOAT, _T.ARRAY):
        raise ValueError(f"requires_grad needs the type float or array: a step of a gradient leaves no {kind} what it is")
    return value


def _metadata(value: Any) -> Mapping[str, Any]:
    if value is not None and not isinstance(value, Mapping):
        raise TypeError(f"metadata must be a dict; got {shown(value)}")
    return dict(value or {})


def _durability(value: Any) -> Durability | None:
    if value is None:
        return None
    try:
        return Durability(value)
    except ValueError:
        raise ValueError(f"durability must be one of {', '.join(Durability)}; got {shown(value)}") from None


def _with_default(spec: ParameterSpec, default: Any) -> ParameterSpec:
    """Check the default as any value; what was not given is made up where it can be."""
    given = default is not MISSING
    if not given:
        default = _zeros(spec) if spec.type is _T.ARRAY else _EMPTY[spec.type]
    try:
        return replace(spec, default=check(spec, default, name="default"))
    except ConstraintViolationError as exc:
        if given:
            raise ValueError(without_promise(exc)) from exc
        made_up = f"{shown(default)}, what it would have without, is refused by {exc.constraint}"
        raise ValueError(f"it needs a default: {made_up}") from None


def _zeros(spec: ParameterSpec) -> Any:
    import numpy as np

    length = spec.limit(_C.LENGTH)
    shape = spec.limit(_C.SHAPE) or (() if length is None else (length,))
    return np.zeros([size or 0 for size in shape] or [0], dtype=spec.limit(_C.DTYPE) or "float64")
