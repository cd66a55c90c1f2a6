"""Specs from arguments: what fits together, what is made up, and what is said about mistakes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dspex_runtime.params.declaration import make_spec, type_of
from dspex_runtime.params.parameter import Parameter
from dspex_runtime.params.spec import Constraint, Limit, ParameterSpec, ParameterType

WORDS = {
    "int": ("int", int), "float": ("float", float), "bool": ("bool", bool), "str": ("str", str), "list": ("list", list, list[str]),
    "dict": ("dict", dict, dict[str, int]), "any": ("any", object), "array": ("array", np.ndarray),
}  # fmt: skip


@pytest.mark.parametrize(("written", "kind"), [(each, kind) for kind, written in WORDS.items() for each in written], ids=str)
def test_a_type_is_a_word_or_a_class(written: Any, kind: str) -> None:
    assert type_of(written) is ParameterType(kind)


@pytest.mark.parametrize("written", ["integer", set, 3, None, int | None])
def test_another_type_is_an_error_that_lists_them(written: Any) -> None:
    with pytest.raises(TypeError, match="its type must be one of int, float, bool, str, list, dict, 'array', 'any'; got"):
        type_of(written)


@pytest.mark.parametrize(
    ("kind", "default"), [(int, 0), (float, 0.0), (bool, False), (str, ""), (list, []), (dict, {}), ("any", None)], ids=str
)
def test_without_a_default_it_is_empty(kind: Any, default: Any) -> None:
    assert make_spec(kind).default == default


@pytest.mark.parametrize(
    ("limits", "shape"), [({}, (0,)), ({"shape": (2, 3)}, (2, 3)), ({"shape": (None, 3)}, (0, 3)), ({"length": 4}, (4,))]
)
def test_an_array_without_a_default_is_zeros(limits: dict[str, Any], shape: tuple[int, ...]) -> None:
    default = make_spec("array", limits=limits).default
    assert default.shape == shape
    assert not default.any()


def test_the_default_is_stored_as_any_value_is() -> None:
    assert type(make_spec(float, 1).default) is float
    assert make_spec("array", [1, 2]).default.flags.writeable is False


MISTAKES: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"type": int, "limits": {"pattern": "x"}}, ValueError, "pattern means nothing for the type int; it is for str"),
    ({"type": str, "limits": {"min": 1}}, ValueError, "min means nothing for the type str; it is for array, float, int"),
    ({"type": int, "limits": {"min": 3, "max": 1}}, ValueError, "min must not be above max; got 3 and 1"),
    ({"type": str, "limits": {"min_length": 3, "max_length": 1}}, ValueError, "min_length must not be above max_length"),
    ({"type": str, "limits": {"length": 3, "max_length": 1}}, ValueError, "length says all"),
    ({"type": int, "limits": {"min": "1"}}, TypeError, "min must be a number; got '1'"),
    ({"type": int, "limits": {"min": True}}, TypeError, "min must be a number; got True"),
    ({"type": float, "limits": {"max": float("nan")}}, ValueError, "max must be a number; got nan"),
    ({"type": str, "limits": {"length": -1}}, TypeError, "length must be an int of 0 or more; got -1"),
    ({"type": str, "limits": {"choices": "abc"}}, TypeError, "choices must be a list of the values that are allowed; got 'abc'"),
    ({"type": str, "limits": {"choices": []}}, ValueError, "choices must name one value at least"),
    ({"type": str, "limits": {"pattern": "("}}, ValueError, "pattern must be a regular expression"),
    ({"type": "array", "limits": {"shape": "2"}}, TypeError, "shape must be a list of sizes"),
    ({"type": "array", "limits": {"shape": [2, -1]}}, TypeError, "each size of shape must be an int of 0 or more; got -1"),
    ({"type": "array", "limits": {"dtype": "no"}}, TypeError, "dtype must be a dtype of numpy, as 'float32'; got 'no'"),
    ({"type": "array", "limits": {"dtype": "object"}}, ValueError, "dtype must be one of numbers; got object"),
    ({"type": int, "default": "x"}, ValueError, r"default must be an int; got 'x' \(str\)$"),
    ({"type": float, "default": 3, "limits": {"max": 2}}, ValueError, r"default must be at most 2 \(max\); got 3.0"),
    ({"type": int, "limits": {"min": 1}}, ValueError, "it needs a default: 0, what it would have without, is refused by min"),
    ({"type": str, "limits": {"choices": ["a"]}}, ValueError, "it needs a default: '', .* is refused by choices"),
    ({"type": int, "requires_grad": True}, ValueError, "requires_grad needs the type float or array"),
    ({"type": float, "requires_grad": 1}, TypeError, "requires_grad must be True or False; got 1"),
    ({"type": float, "momentum": 1.0}, ValueError, "momentum must be at least 0 and below 1; got 1.0"),
    ({"type": float, "learning_rate": "fast"}, TypeError, "learning_rate must be a number; got 'fast'"),
    ({"type": float, "check_with": 3}, TypeError, "check must be a function of the value; got 3"),
    ({"type": float, "metadata": [1]}, TypeError, "metadata must be a dict"),
    ({"type": float, "colour": "red"}, TypeError, "a parameter has no colour"),
    ({"type": float, "durability": "disk"}, ValueError, "durability must be one of memory, journal, fsync; got 'disk'"),
]


@pytest.mark.parametrize(("arguments", "error", "text"), MISTAKES, ids=[text[:40] for _, _, text in MISTAKES])
def test_a_mistake_is_told(arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make_spec(**arguments)


def test_limits_that_are_none_are_not_there_and_the_others_are_in_order() -> None:
    spec = make_spec(int, 3, limits={"max": 5, "choices": None, "min": 1})
    assert spec.constraints == (Limit(Constraint.MIN, 1), Limit(Constraint.MAX, 5))


def test_what_is_not_said_is_as_the_specs_own_defaults() -> None:
    assert make_spec(float) == ParameterSpec(ParameterType.FLOAT, default=0.0)


def test_the_public_declaration_has_the_specs_defaults_too() -> None:
    assert Parameter(float).spec == make_spec(float)
