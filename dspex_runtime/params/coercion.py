"""Values as the plain type that a parameter stores. Pure; numpy is imported only where a parameter is an array.

Never changes what it is given: a value that needs another type (an int for a float, a list for an array) comes back as a new
one. Exact types first: they are nearly all that comes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.params.spec import Constraint, ParameterSpec, ParameterType

if TYPE_CHECKING:
    import numpy as np

__all__ = ["COERCE", "MismatchError", "as_array"]

_NUMBER_KINDS: Final = "biuf"  # of arrays: what can be compared, stepped and mapped without a copy


class MismatchError(Exception):
    """The value is of no fitting type; the text says what is."""


def _int(value: Any) -> int:
    if type(value) is int:
        return value
    if isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    raise MismatchError("an int (a bool is none)" if isinstance(value, bool) else "an int")


def _float(value: Any) -> float:
    if type(value) is float:
        return value
    if isinstance(value, Real) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise MismatchError("a float; this int is too large for one") from None
    raise MismatchError("a float or an int (a bool is neither)" if isinstance(value, bool) else "a float or an int")


def _bool(value: Any) -> bool:
    if type(value) is bool:
        return value
    if (type(value).__module__, type(value).__name__) in (("numpy", "bool_"), ("numpy", "bool")):
        return bool(value)
    raise MismatchError("True or False")


def _str(value: Any) -> str:
    if isinstance(value, str):
        return value if type(value) is str else str.__str__(value)
    raise MismatchError("a text (str)")


def _list(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return list(value)
    raise MismatchError("a list or a tuple")


def _dict(value: Any) -> dict[Any, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise MismatchError("a dict")


def _any(value: Any) -> Any:
    return value


def as_array(spec: ParameterSpec, value: Any) -> np.ndarray[Any, Any]:
    """Return a value as the read-only array that is stored for it.

    Raises:
        MismatchError: It makes none.
    """
    import numpy as np

    if isinstance(value, str | bytes | Mapping | Real):
        raise MismatchError("an array, or nested lists of numbers")
    try:
        # A copy, so that nobody else can change it, but of what nobody can; never of a subclass.
        array = value if _is_constant(value) else np.array(value, order="C")
    except (ValueError, TypeError) as exc:
        raise MismatchError(f"an array, or nested lists of numbers of equal length ({exc})") from None
    if array.dtype.kind not in _NUMBER_KINDS:
        raise MismatchError(f"an array of numbers; these make one of dtype {array.dtype}")
    wanted = spec.limit(Constraint.DTYPE)
    if wanted is not None and not _castable(np.dtype(wanted), array, is_array=isinstance(value, np.ndarray)):
        raise MismatchError(f"an array of dtype {wanted}; {array.dtype} does not go into it without loss")
    if wanted is None and spec.requires_grad and array.dtype.kind != "f":
        wanted = "float64"
    native = np.dtype(wanted) if wanted is not None else array.dtype.newbyteorder("=")
    array = array.astype(native, copy=False)
    array.flags.writeable = False
    return array


def _is_constant(value: Any) -> bool:
    """An array that nobody can write to: one of ours, or a view of a sealed blob."""
    if type(value).__name__ != "ndarray" or value.flags.writeable or not value.flags.c_contiguous:
        return False
    base = value.base
    return base is None or (isinstance(base, memoryview) and base.readonly) or isinstance(base, bytes)


def _castable(wanted: np.dtype[Any], array: np.ndarray[Any, Any], *, is_array: bool) -> bool:
    """An array says what it is made of; the numbers of a list go wherever their values fit."""
    import numpy as np

    if is_array or array.dtype.kind == "f" or wanted.kind == "f":
        return np.can_cast(array.dtype, wanted, casting="same_kind")
    with np.errstate(all="ignore"):
        return bool((array.astype(wanted) == array).all())


#: What each type takes, as what is stored; arrays are `as_array`'s. Each raises MismatchError.
COERCE: Final[Mapping[ParameterType, Callable[[Any], Any]]] = {
    ParameterType.INT: _int,
    ParameterType.FLOAT: _float,
    ParameterType.BOOL: _bool,
    ParameterType.STR: _str,
    ParameterType.LIST: _list,
    ParameterType.DICT: _dict,
    ParameterType.ANY: _any,
    ParameterType.PREDICTOR: _dict,
}
