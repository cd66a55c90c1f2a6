"""Which values a parameter takes, as what, and what is said about the others."""

from __future__ import annotations

from enum import Enum, IntEnum, StrEnum
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from dspex_runtime.errors import ConstraintViolationError
from dspex_runtime.params.constraints import check, shown
from dspex_runtime.params.declaration import make_spec


class Level(IntEnum):
    HIGH = 3


class Word(StrEnum):
    BRIEF = "brief"


class Old(str, Enum):  # noqa: UP042 (as people wrote them before there was StrEnum)
    BRIEF = "brief"


def spec(kind: Any, **limits: Any) -> Any:
    default = limits.pop("default", None)
    options = {} if default is None else {"default": default}
    return make_spec(kind, limits=limits, **options)


TAKEN = [
    (int, 3, 3),
    (int, Level.HIGH, 3),
    (int, np.int32(3), 3),
    (int, 10**30, 10**30),
    (float, 3, 3.0),
    (float, 0.5, 0.5),
    (float, np.float32(0.5), 0.5),
    (float, Fraction(1, 4), 0.25),
    (float, float("inf"), float("inf")),
    (bool, True, True),
    (bool, np.bool_(True), True),
    (str, "x", "x"),
    (str, Word.BRIEF, "brief"),
    (str, Old.BRIEF, "brief"),
    (list, [1, "a"], [1, "a"]),
    (list, (1, 2), [1, 2]),
    (dict, {"a": 1}, {"a": 1}),
    (dict, MappingProxyType({"a": 1}), {"a": 1}),
    ("any", None, None),
    ("any", {1, 2}, {1, 2}),
    ("predictor", {"demos": []}, {"demos": []}),
]


@pytest.mark.parametrize(("kind", "value", "stored"), TAKEN, ids=lambda x: str(x)[:30])
def test_a_value_that_fits_is_stored_as_the_plain_type(kind: Any, value: Any, stored: Any) -> None:
    taken = check(spec(kind), value)
    assert taken == stored
    assert type(taken) is type(stored)


REFUSED = [
    (int, True, "an int (a bool is none)"),
    (int, 3.0, "an int"),
    (int, "3", "an int"),
    (float, True, "a float or an int (a bool is neither)"),
    (float, "0.3", "a float or an int"),
    (float, 10**400, "a float; this int is too large for one"),
    (float, np.array([1.0, 2.0]), "a float or an int"),
    (bool, 1, "True or False"),
    (str, b"x", "a text (str)"),
    (str, None, "a text (str)"),
    (list, "abc", "a list or a tuple"),
    (list, {1, 2}, "a list or a tuple"),
    (dict, [("a", 1)], "a dict"),
    ("array", "abc", "an array, or nested lists of numbers"),
    ("array", 3.0, "an array, or nested lists of numbers"),
    ("array", [[1, 2], [3]], "of equal length"),
    ("array", ["a"], "an array of numbers; these make one of dtype <U1"),
    ("array", [None], "an array of numbers"),
    ("array", [1 + 2j], "an array of numbers"),
    ("predictor", [1], "a dict"),
]


@pytest.mark.parametrize(("kind", "value", "expected"), REFUSED, ids=lambda x: str(x)[:30])
def test_a_value_of_another_type_is_refused_with_what_was_expected_and_what_came(kind: Any, value: Any, expected: str) -> None:
    with pytest.raises(ConstraintViolationError) as caught:
        check(spec(kind), value, name="x")
    error = caught.value
    assert (error.name, error.constraint, error.limit) == ("x", "type", spec(kind).type.value)
    assert f"x must be {expected}" in str(error) or expected in str(error)
    assert f"({type(value).__name__}). Nothing was changed" in str(error)


LIMITS = [
    (float, {"min": 0.0}, 0.0, -0.1, "min", "at least 0.0 (min)"),
    (float, {"max": 2.0}, 2.0, 2.1, "max", "at most 2.0 (max)"),
    (float, {"max": 2.0}, 1.0, float("nan"), "max", "at most 2.0 (max)"),
    (int, {"min": 0, "max": 5}, 5, 6, "max", "at most 5 (max)"),
    (str, {"choices": ["brief", "full"], "default": "brief"}, "full", "long", "choices", "one of 'brief', 'full'"),
    (int, {"choices": [1, 2], "default": 1}, 2, 3, "choices", "one of 1, 2"),
    (str, {"min_length": 2, "default": "ab"}, "ab", "a", "min_length", "of at least 2 characters (min_length), not 1"),
    (list, {"max_length": 2}, [1, 2], [1, 2, 3], "max_length", "of at most 2 items (max_length), not 3"),
    (dict, {"length": 1, "default": {"a": 1}}, {"b": 1}, {}, "length", "of exactly 1 items (length), not 0"),
    (str, {"pattern": "[a-z]+", "default": "a"}, "abc", "abc1", "pattern", "a text that matches '[a-z]+' from end to end"),
    ("array", {"length": 2}, [1.0, 2.0], [1.0], "length", "of exactly 2 items"),
    ("array", {"shape": (2, None)}, [[1.0], [2.0]], [1.0, 2.0], "shape", "an array of shape (2, any), not (2,)"),
    ("array", {"shape": 3}, [1, 2, 3], [1, 2], "shape", "an array of shape (3,), not (2,)"),
    ("array", {"min": 0.0}, [0.0, 1.0], [1.0, -2.0], "min", "x[1] must be at least 0.0 (min); got -2.0"),
    ("array", {"max": 0.0}, [0.0], [[0.0, 1.0]], "max", "x[0, 1] must be at most 0.0 (max); got 1.0"),
]


@pytest.mark.parametrize(("kind", "limits", "inside", "outside", "constraint", "expected"), LIMITS, ids=lambda x: str(x)[:20])
def test_a_limit_lets_through_what_is_inside_and_says_what_is_not(
    kind: Any, limits: dict[str, Any], inside: Any, outside: Any, constraint: str, expected: str
) -> None:
    declared = spec(kind, **limits)
    check(declared, inside)
    with pytest.raises(ConstraintViolationError) as caught:
        check(declared, outside, name="x")
    assert (caught.value.name, caught.value.constraint) == ("x", constraint)
    assert expected in str(caught.value)


def test_the_error_has_the_value_itself_where_it_is_short_and_a_text_where_it_is_not() -> None:
    for value, told in ((9, 9), ("no", "no"), (True, True)):
        with pytest.raises(ConstraintViolationError) as caught:
            check(spec(list), value)
        assert caught.value.value == told
    with pytest.raises(ConstraintViolationError) as caught:
        check(spec(list), "x" * 10_000)
    assert len(caught.value.value) < 150
    assert len(str(caught.value)) < 400


# -- arrays


def test_an_array_is_a_read_only_copy_of_its_own_dtype() -> None:
    mine = np.array([[1, 2], [3, 4]], dtype=np.float32, order="F")
    taken = check(spec("array"), mine)
    mine[0, 0] = 9
    assert taken.tolist() == [[1, 2], [3, 4]]
    assert taken.dtype == np.float32
    assert taken.flags.c_contiguous
    assert not taken.flags.writeable


def test_an_array_that_nobody_can_change_is_not_copied() -> None:
    taken = check(spec("array"), [1.0, 2.0])
    assert check(spec("array"), taken) is taken
    view = np.frombuffer(bytes(16))
    assert check(spec("array"), view) is view
    writable = np.zeros(2)
    hidden = writable[:]
    hidden.flags.writeable = False
    assert check(spec("array"), hidden) is not hidden


@pytest.mark.parametrize(
    ("given", "dtype"), [([1, 2], "int64"), ([1.5], "float64"), ([True], "bool"), (np.zeros(2, ">f4"), "float32")]
)
def test_lists_become_64_bit_arrays_and_foreign_byte_orders_native(given: Any, dtype: str) -> None:
    taken = check(spec("array"), given)
    assert str(taken.dtype) == dtype
    assert taken.dtype.isnative


def test_a_declared_dtype_is_what_it_becomes_where_nothing_is_lost() -> None:
    floats, bytes_ = spec("array", dtype="float32"), spec("array", dtype="uint8")
    assert check(floats, [1, 2]).dtype == np.float32
    assert check(floats, np.array([1.5])).dtype == np.float32
    assert check(bytes_, [0, 255]).dtype == np.uint8
    for declared, value in ((bytes_, [256]), (bytes_, [-1]), (bytes_, [1.5]), (bytes_, np.array([1.0]))):
        with pytest.raises(ConstraintViolationError, match="does not go into it without loss"):
            check(declared, value)


def test_an_array_for_gradients_is_made_of_floats() -> None:
    declared = make_spec("array", [1, 2], requires_grad=True)
    assert declared.default.dtype == np.float64


# -- the user's own check


def test_a_check_accepts_by_none_or_anything_true() -> None:
    for answer in (None, True, 1, "yes"):
        assert check(make_spec(int, check_with=lambda value: answer), 3) == 3  # noqa: B023 (called before the next one)


def test_a_check_refuses_by_false_or_by_raising_and_its_name_and_words_are_told() -> None:
    def even(value: int) -> bool:
        if value > 10:
            raise ValueError("far too large")
        return value % 2 == 0

    declared = make_spec(int, check_with=even)
    with pytest.raises(ConstraintViolationError, match=r"x must be accepted by its check .*even; got 3") as caught:
        check(declared, 3, name="x")
    assert caught.value.constraint == "check"
    with pytest.raises(ConstraintViolationError, match=r"even \(ValueError: far too large\); got 12") as caught:
        check(declared, 12, name="x")
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_check_sees_the_value_as_it_will_be_stored() -> None:
    seen: list[Any] = []
    check(make_spec(float, check_with=seen.append), 3)
    assert seen[1:] == [3.0]
    assert type(seen[-1]) is float


def test_anything_can_be_shown() -> None:
    class Rude:
        def __repr__(self) -> str:
            raise RuntimeError

    assert "Rude" in shown(Rude())
    assert len(shown("x" * 1000)) <= 100
    assert shown(10**5000) == "<int>"
    assert "\n" not in shown(np.zeros((50, 50)))
