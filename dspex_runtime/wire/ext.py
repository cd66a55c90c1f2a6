"""Extension types: how each Python type that msgpack has no word for becomes plain data, and comes back.

Owns the codes and one pair of functions per code. Never packs bytes, never pickles. Functions answer NotImplemented
for a value that they cannot carry without loss (a foreign tzinfo, an object array, a class that cannot be found): the
codec then falls back to cloudpickle, to an Opaque, or to an error.

The payload of every code but CLOUDPICKLE is one packed value, shown here:

     1 tuple      [item ...]            7 datetime   [iso, fold, zone]        13 dspy.Prediction  {"fields", "completions", "usage"}
     2 set        [item ...]            8 date       iso                      14 dspy.Example     {"fields", "inputs"}
     3 frozenset  [item ...]            9 time       [iso, fold, zone]         20 cloudpickle      the pickle itself, not packed
     4 big int    signed, big-endian   10 timedelta  [days, seconds, us]
     5 complex    [real, imaginary]    11 Enum       [module, qualname, name | flag value]
     6 Decimal    text                 12 ndarray    [dtype, shape, C-order bytes]; shape None: a numpy scalar
    15 message    [class, field ...]: a message of ours to handle_info, one of `MESSAGES`

zone: None, [days, seconds, us] or [days, seconds, us, name] for a fixed offset, text for a ZoneInfo key.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, Flag
from math import prod
from typing import Any, Final, TypeAlias

from dspex_runtime.types import Down, Exit, Registered, Unregistered

__all__ = [
    "BIGINT", "CLOUDPICKLE", "COMPLEX", "DATE", "DATETIME", "DECIMAL", "DECODERS", "ENCODERS", "ENUM", "EXAMPLE", "FROZENSET",
    "MESSAGE", "MESSAGES", "NDARRAY", "PREDICTION", "SET", "TIME", "TIMEDELTA", "TUPLE", "Decode", "Encode", "Opaque", "as_enum",
    "as_fields", "as_ndarray", "enum_payload", "find_class", "numpy_payload",
]  # fmt: skip

TUPLE: Final = 1
SET: Final = 2
FROZENSET: Final = 3
BIGINT: Final = 4
COMPLEX: Final = 5
DECIMAL: Final = 6
DATETIME: Final = 7
DATE: Final = 8
TIME: Final = 9
TIMEDELTA: Final = 10
ENUM: Final = 11
NDARRAY: Final = 12
PREDICTION: Final = 13
EXAMPLE: Final = 14
MESSAGE: Final = 15
CLOUDPICKLE: Final = 20

Encode: TypeAlias = Callable[[Any], Any]  # value -> payload
Decode: TypeAlias = Callable[[Any], Any]  # payload -> value

# Plain numbers, times and fixed-size text. Not O (pointers), not V (structured, or a type of another library).
_NUMPY_KINDS: Final = frozenset("biufcmMSU")


@dataclass(frozen=True, slots=True)
class Opaque:
    """A value this process must not or cannot rebuild; it packs to the very bytes it came from."""

    data: bytes
    code: int = CLOUDPICKLE


def find_class(module: str, qualname: str, *, may_import: bool) -> type | None:
    """Return the class of that name, or None; without `may_import` only among loaded modules, running no foreign code."""
    found: Any = sys.modules.get(module)
    if found is None and may_import:
        try:
            found = importlib.import_module(module)
        except Exception:  # a user's module may raise anything while it is imported; the caller says what is missing
            return None
    for name in qualname.split("."):
        # vars() instead of getattr: a lazy module's __getattr__ would import and run code.
        found = vars(found).get(name) if hasattr(found, "__dict__") else None
    return found if isinstance(found, type) else None


def enum_payload(member: Enum) -> Any:
    """Return an Enum member as names, or NotImplemented when the peer could not find it by them."""
    cls = type(member)
    if cls.__module__ == "__main__" or find_class(cls.__module__, cls.__qualname__, may_import=False) is not cls:
        return NotImplemented
    if cls.__members__.get(member.name) is member:
        return [cls.__module__, cls.__qualname__, member.name]
    # READ|WRITE is no member of its own: it travels as a number. A pseudo-member of a plain Enum has no such form.
    return [cls.__module__, cls.__qualname__, member.value] if isinstance(member, Flag) else NotImplemented


def as_enum(payload: Any, *, may_import: bool) -> Any:
    """Return the member that `enum_payload` named, or NotImplemented when its class is not found here."""
    module, qualname, name = payload
    cls = find_class(module, qualname, may_import=may_import)
    if cls is None or not issubclass(cls, Enum):
        return NotImplemented
    return cls[name] if isinstance(name, str) else cls(name)


def numpy_payload(value: Any) -> Any:
    """Return a plain numpy array or scalar as data, or NotImplemented for all else; never imports numpy."""
    numpy: Any = sys.modules.get("numpy")  # an array cannot exist unless it is loaded
    kinds = (getattr(numpy, "ndarray", ()), getattr(numpy, "generic", ()))
    if not isinstance(value, kinds) or type(value).__module__ != "numpy":
        return NotImplemented
    scalar = isinstance(value, kinds[1])
    # matrix, memmap and MaskedArray are arrays with a class of their own. The dtype of np.str_("") lies about its size.
    array = numpy.array(value) if scalar else value
    if type(array) is not kinds[0] or array.dtype.kind not in _NUMPY_KINDS:
        return NotImplemented
    return [array.dtype.str, None if scalar else list(array.shape), array.tobytes()]


def as_ndarray(payload: Any, *, may_import: bool) -> Any:
    """Return a writable array or a scalar of its own, or NotImplemented when numpy is not loaded and may not be."""
    if not may_import and "numpy" not in sys.modules:
        return NotImplemented
    import numpy

    code, shape, data = payload
    dtype = numpy.dtype(code)
    # np.dtype("O") over a peer's bytes would be a peer's pointers.
    if not isinstance(code, str) or dtype.kind not in _NUMPY_KINDS or dtype.names is not None or dtype.subdtype is not None:
        raise ValueError(f"an array of dtype {code!r} is not accepted")
    size = tuple(shape) if shape is not None else ()
    if not all(type(n) is int and n >= 0 for n in size) or prod(size) * dtype.itemsize != len(data):
        raise ValueError(f"an array of dtype {code}, shape {shape} cannot have {len(data)} bytes")
    array = numpy.ndarray(size, dtype, buffer=data).copy()
    return array if shape is not None else array[()]


def as_fields(payload: Any) -> Any:
    """Return a Prediction or Example as the plain dict of its fields."""
    return payload["fields"]


def _zone_payload(zone: tzinfo | None) -> Any:
    if zone is None:
        return None
    if type(zone) is timezone:
        offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]  # the name only when one was given
        return [*_timedelta_payload(offset), *name]
    key = getattr(zone, "key", None)
    return key if type(zone).__module__ == "zoneinfo" and isinstance(key, str) else NotImplemented


def _as_zone(payload: Any) -> tzinfo | None:
    if payload is None:
        return None
    if isinstance(payload, str):
        from zoneinfo import ZoneInfo

        return ZoneInfo(payload)
    days, seconds, us, *name = payload
    return timezone(timedelta(days, seconds, us), *name)


def _timedelta_payload(value: timedelta) -> list[int]:
    return [value.days, value.seconds, value.microseconds]


def _clock_payload(value: datetime | time) -> Any:
    zone = _zone_payload(value.tzinfo)
    return zone if zone is NotImplemented else [value.replace(tzinfo=None).isoformat(), value.fold, zone]


def _as_datetime(payload: Any) -> datetime:
    text, fold, zone = payload
    return datetime.fromisoformat(text).replace(fold=fold, tzinfo=_as_zone(zone))


def _as_time(payload: Any) -> time:
    text, fold, zone = payload
    return time.fromisoformat(text).replace(fold=fold, tzinfo=_as_zone(zone))


def _bigint_payload(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


def _as_bigint(payload: Any) -> int:
    if type(payload) is not bytes:
        raise TypeError(f"a big int is bytes, not {type(payload).__name__}")
    return int.from_bytes(payload, "big", signed=True)


def _as_decimal(payload: Any) -> Decimal:
    if type(payload) is not str:
        raise TypeError(f"a Decimal is text, not {type(payload).__name__}")
    return Decimal(payload)


def _as_items(make: Callable[[Any], Any]) -> Decode:
    def decode(payload: Any) -> Any:
        if type(payload) is not list:
            raise TypeError(f"a {make.__name__} is a list of items, not {type(payload).__name__}")
        return make(payload)

    return decode


# Small frozen dataclasses of plain data, by name: what monitors, links and the registry tell. Add, never change.
MESSAGES: Final[dict[str, type]] = {"Down": Down, "Exit": Exit, "Registered": Registered, "Unregistered": Unregistered}


def _message_payload(value: Any) -> list[Any]:
    return [type(value).__name__, *(getattr(value, name) for name in type(value).__slots__)]


def _as_message(payload: Any) -> Any:
    name, *fields = payload
    return MESSAGES[name](*fields)


# Exact types only: a subclass keeps its class, so it is not on the list.
ENCODERS: Final[dict[type, tuple[int, Encode]]] = {
    tuple: (TUPLE, list),
    set: (SET, list),
    frozenset: (FROZENSET, list),
    int: (BIGINT, _bigint_payload),  # asked for only beyond 64 bits
    complex: (COMPLEX, lambda value: [value.real, value.imag]),
    Decimal: (DECIMAL, str),
    datetime: (DATETIME, _clock_payload),
    date: (DATE, date.isoformat),
    time: (TIME, _clock_payload),
    timedelta: (TIMEDELTA, _timedelta_payload),
    **dict.fromkeys(MESSAGES.values(), (MESSAGE, _message_payload)),
}

DECODERS: Final[dict[int, Decode]] = {
    TUPLE: _as_items(tuple),
    SET: _as_items(set),
    FROZENSET: _as_items(frozenset),
    BIGINT: _as_bigint,
    COMPLEX: lambda payload: complex(*payload),
    DECIMAL: _as_decimal,
    DATETIME: _as_datetime,
    DATE: date.fromisoformat,
    TIME: _as_time,
    TIMEDELTA: lambda payload: timedelta(*payload),
    MESSAGE: _as_message,
}
