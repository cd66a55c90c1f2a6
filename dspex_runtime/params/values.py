"""Values as the bytes that lie in tables, blobs and journals, and back.

    plain    codec.pack([value])
    array    0    1       2             4                                    head bytes
             C1   form    head bytes    msgpack [dtype, shape], zeros to     elements in C order
                  (u8)    (u16)         the next multiple of 64

0xC1 is the one byte that no msgpack begins with. The elements are 64-aligned in a blob, so an array maps to a numpy view
without a copy. An array that is decoded is read-only and shows the bytes it came from. Numpy is imported for arrays only.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import Enum
from math import prod
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

import msgpack

from dspex_runtime.errors import ParameterError
from dspex_runtime.params.layout import aligned
from dspex_runtime.wire.codec import Codec

if TYPE_CHECKING:
    import numpy

__all__ = ["Annex", "decode", "encode", "is_immutable"]

_ARRAY: Final = 0xC1
_FORM: Final = 1
_HEAD: Final = Struct("<BBH")
_KINDS: Final = frozenset("biufcmMSU")  # plain numbers, times, fixed-size text: no pointers, no structures
_IMMUTABLE: Final = frozenset(
    {"NoneType", "bool", "int", "float", "str", "bytes", "complex", "Decimal", "datetime", "date", "time", "timedelta", "range"}
)
_CONTAINERS: Final = (tuple, frozenset)


def encode(codec: Codec, value: Any) -> bytes | memoryview:
    """Return a value as bytes. A numpy array is copied once.

    Raises:
        UnserialisableError: It cannot be packed; `path` is where inside.
    """
    numpy: Any = sys.modules.get("numpy")  # an array cannot exist unless it is loaded
    # getattr: another thread may be importing it just now.
    if numpy is not None and type(value) is getattr(numpy, "ndarray", None) and value.dtype.kind in _KINDS:
        return _encode_array(value)
    return codec.pack([value])


def decode(codec: Codec, data: bytes | memoryview) -> Any:
    """Return the value; arrays are read-only views of `data`, all else is new.

    Raises:
        ParameterError: The bytes are no value.
        UndecodableError: A value in it cannot be rebuilt here.
    """
    if len(data) and data[0] == _ARRAY:
        return _decode_array(data)
    return codec.unpack(data)[0]


def is_immutable(value: Any) -> bool:
    """Return whether one object may be given to everybody: plain constants, tuples of them, enums and read-only arrays."""
    kind = type(value)
    if kind in _CONTAINERS:
        return all(is_immutable(item) for item in value)
    if kind.__module__ == "numpy":
        return kind.__name__ != "ndarray" or not _base_of(value).flags.writeable
    if kind.__module__ in ("builtins", "datetime", "decimal"):
        return kind.__name__ in _IMMUTABLE
    return isinstance(value, Enum)


@dataclass(frozen=True, slots=True)
class Annex:
    """What is published with a value, in one step with it.

    Attributes:
        when: Seconds since the epoch, of this version.
        who: Who set it, as text.
        created_at: Seconds since the epoch, of version 1.
        grad: The gradient as `encode` packs it, or None.
    """

    when: float
    who: str
    created_at: float
    grad: bytes | None = None

    def pack(self) -> bytes:
        """Return it as bytes."""
        packed: bytes = msgpack.packb([self.when, self.who, self.created_at, self.grad])
        return packed

    @classmethod
    def unpack(cls, data: bytes) -> Annex:
        """Return what `pack` wrote; of no bytes: nothing is known. Fields that a later version appends are skipped."""
        return cls(*msgpack.unpackb(data)[:4]) if data else cls(0.0, "", 0.0)


def _encode_array(value: numpy.ndarray[Any, Any]) -> memoryview:
    head = msgpack.packb([value.dtype.str, list(value.shape)])
    start = aligned(_HEAD.size + len(head))
    data = bytearray(start + value.nbytes)
    data[: _HEAD.size + len(head)] = _HEAD.pack(_ARRAY, _FORM, start) + head
    _as_array(data, start, value.dtype.str, value.shape)[...] = value
    return memoryview(data).toreadonly()


def _decode_array(data: bytes | memoryview) -> numpy.ndarray[Any, Any]:
    try:
        _, form, start = _HEAD.unpack_from(data)
        reader = msgpack.Unpacker(max_buffer_size=max(start, 1))
        reader.feed(data[_HEAD.size : start])
        code, shape = reader.unpack()
        array = _as_array(data, start, code, shape)
    except Exception as exc:
        raise ParameterError(f"{len(data)} bytes are no array: {type(exc).__name__}: {exc}") from exc
    if form != _FORM:
        raise ParameterError(f"this array has form {form}, expected {_FORM}: it is of another version of dspex")
    array.flags.writeable = False
    return array


def _as_array(data: bytes | bytearray | memoryview, start: int, code: Any, shape: Any) -> numpy.ndarray[Any, Any]:
    import numpy

    dtype = numpy.dtype(code)
    # np.dtype("O") over bytes that came from elsewhere would be pointers that came from elsewhere.
    if type(code) is not str or dtype.kind not in _KINDS or dtype.names is not None or dtype.subdtype is not None:
        raise ValueError(f"an array of dtype {code!r} is not accepted")
    if not all(type(n) is int and n >= 0 for n in shape) or start + prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"an array of dtype {code}, shape {shape} cannot have {len(data) - start} bytes")
    return numpy.ndarray(tuple(shape), dtype, buffer=data, offset=start)


def _base_of(array: Any) -> Any:
    # A read-only view of a writable array changes with that.
    while type(array.base).__name__ == "ndarray":
        array = array.base
    return array
