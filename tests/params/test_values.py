"""Values to bytes and back; which of them everybody may share."""

from __future__ import annotations

import datetime
import decimal
import enum
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex_runtime.errors import ParameterError, UnserialisableError
from dspex_runtime.params.values import Annex, decode, encode, is_immutable
from dspex_runtime.wire.codec import Codec

PLAIN = Codec()
PICKLING = Codec(pickle=True)

ARRAYS: dict[str, np.ndarray[Any, Any]] = {
    "floats": np.linspace(0, 1, 7),
    "empty": np.zeros((0, 3)),
    "without dimensions": np.array(3.5),
    "matrix": np.arange(12, dtype="i4").reshape(3, 4),
    "every second": np.arange(10)[::2],
    "transposed": np.arange(6.0).reshape(2, 3).T,
    "big-endian": np.arange(4, dtype=">f8"),
    "bools": np.array([True, False]),
    "complex": np.array([1 + 2j]),
    "text": np.array(["a", "bcd"]),
    "times": np.array(["2024-01-01"], dtype="M8[s]"),
    "many dimensions": np.zeros((1,) * 32),
}

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
)


@given(values)
def test_what_is_encoded_comes_back(value: Any) -> None:
    assert decode(PLAIN, encode(PLAIN, value)) == value
    assert decode(PLAIN, memoryview(encode(PLAIN, value))) == value


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("codec", [PLAIN, PICKLING], ids=["plain", "pickling"])
def test_an_array_comes_back_with_dtype_and_shape(name: str, codec: Codec) -> None:
    array = ARRAYS[name]
    back = decode(codec, bytes(encode(codec, array)))
    np.testing.assert_array_equal(back, array, strict=True)
    assert back.dtype.str == array.dtype.str


def test_an_array_is_a_read_only_view_of_the_bytes() -> None:
    data = bytes(encode(PLAIN, np.arange(100.0)))
    array = decode(PLAIN, data)
    assert np.shares_memory(array, np.frombuffer(data, dtype="u1"))
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.flags.writeable = True


@pytest.mark.parametrize("name", ARRAYS)
def test_the_elements_begin_at_a_multiple_of_64(name: str) -> None:
    data = encode(PLAIN, ARRAYS[name])
    assert (len(data) - ARRAYS[name].nbytes) % 64 == 0


def test_the_encoded_array_does_not_change_with_the_original() -> None:
    array = np.zeros(4)
    data = encode(PLAIN, array)
    array[0] = 1
    assert decode(PLAIN, data)[0] == 0


def test_arrays_inside_other_values_and_numpy_scalars_travel_too() -> None:
    value = decode(PLAIN, encode(PLAIN, {"a": [np.arange(3)], "n": np.float32(1.5)}))
    assert value["a"][0].tolist() == [0, 1, 2]
    assert value["n"] == np.float32(1.5)


def test_an_array_of_objects_is_pickled_or_refused() -> None:
    array = np.array([{"a": 1}, None])
    assert decode(PICKLING, encode(PICKLING, array)).tolist() == [{"a": 1}, None]
    with pytest.raises(UnserialisableError):
        encode(PLAIN, array)


def altered(at: int, byte: int) -> bytes:
    data = bytearray(encode(PLAIN, np.arange(3.0)))
    data[at] = byte
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\xc1", "1 bytes are no array"),
        (altered(2, 0), "no array"),
        (altered(2, 0xFF), "no array"),
        (altered(1, 9), "form 9, expected 1"),
        (altered(4, 0xC1), "no array"),
        (altered(6, ord("O")), "no array"),
        (bytes(encode(PLAIN, np.arange(3.0)))[:-1], "cannot have 23 bytes"),
    ],
)
def test_bytes_that_are_no_array_are_refused(data: bytes, text: str) -> None:
    with pytest.raises(ParameterError, match=text):
        decode(PLAIN, data)


def test_an_array_of_pointers_is_not_rebuilt() -> None:
    data = bytes(encode(PLAIN, np.arange(3.0))).replace(b"<f8", b"|O8")
    with pytest.raises(ParameterError, match="not accepted"):
        decode(PLAIN, data)


class Colour(enum.Enum):
    RED = 1


def read_only(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    array.flags.writeable = False
    return array


IMMUTABLE: list[tuple[Any, bool]] = [
    (None, True),
    (True, True),
    (1, True),
    (0.5, True),
    ("x", True),
    (b"x", True),
    (2j, True),
    (decimal.Decimal(1), True),
    (datetime.datetime(2024, 1, 1), True),  # noqa: DTZ001
    (datetime.timedelta(1), True),
    ((1, ("a", None)), True),
    (frozenset({1, "a"}), True),
    (Colour.RED, True),
    (np.float64(1), True),
    (read_only(np.arange(3)), True),
    (np.arange(3), False),
    (read_only(np.arange(3)[:2]), False),
    ([1], False),
    ({}, False),
    (set(), False),
    (bytearray(b"x"), False),
    ((1, [2]), False),
    (object(), False),
]


@pytest.mark.parametrize(("value", "expected"), IMMUTABLE, ids=lambda value: repr(value)[:40])
def test_only_what_nobody_can_change_is_shared(value: Any, expected: bool) -> None:
    if isinstance(value, np.ndarray) and value.base is not None:
        value = np.arange(3)[:2]  # a view that cannot be written to, of an array that can
        value.flags.writeable = False
    assert is_immutable(value) is expected


def test_an_annex_comes_back() -> None:
    annex = Annex(2.0, "cli", 1.0, b"grad")
    assert Annex.unpack(annex.pack()) == annex


def test_no_annex_says_that_nothing_is_known() -> None:
    assert Annex.unpack(b"") == Annex(0.0, "", 0.0, None)


def test_fields_that_a_later_version_appends_to_the_annex_are_skipped() -> None:
    longer = b"\x95" + Annex(2.0, "cli", 1.0).pack()[1:] + b"\x07"
    assert Annex.unpack(longer) == Annex(2.0, "cli", 1.0)


def test_plain_values_are_encoded_while_another_thread_imports_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", ModuleType("numpy"))  # as it is in sys.modules while its first lines run
    assert decode(Codec(), encode(Codec(), {"a": [1, 0.5]})) == {"a": [1, 0.5]}
