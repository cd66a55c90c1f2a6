"""What dspy's verbs do with a cell."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import orjson
import pytest

from dspex_runtime.errors import ConstraintViolationError
from dspex_runtime.modules.cells import DspyCell
from dspex_runtime.params.declaration import make_spec

VALUES: list[tuple[str, Any]] = [
    ("int", 3),
    ("float", 0.5),
    ("bool", True),
    ("str", "text"),
    ("list", [1, "a", [2]]),
    ("dict", {"a": [1], "b": None}),
    ("array", np.arange(6, dtype="float32").reshape(2, 3)),
    ("array", np.array([1, 2], dtype="int16")),
    ("any", None),
]


def cell(type_: str, value: Any) -> DspyCell:
    made = DspyCell(make_spec(type_), "x")
    made.set(value)
    return made


@pytest.mark.parametrize(("type_", "value"), VALUES)
def test_a_state_goes_through_json_and_comes_back_as_it_was(type_: str, value: Any) -> None:
    state = orjson.loads(orjson.dumps(cell(type_, value).dump_state()))
    loaded = DspyCell(make_spec(type_), "x").load_state(state).value
    assert type(loaded) is type(value)
    assert getattr(loaded, "dtype", None) == getattr(value, "dtype", None)
    assert np.array_equal(loaded, value) if type_ == "array" else loaded == value


@pytest.mark.parametrize("json_mode", [True, False])
@pytest.mark.parametrize(("type_", "value"), [("list", [[1]]), ("dict", {"a": [1]})])
def test_a_state_is_a_copy(type_: str, value: Any, json_mode: bool) -> None:
    made = cell(type_, copy.deepcopy(value))
    state = made.dump_state(json_mode=json_mode)["value"]
    (state[0] if type_ == "list" else state["a"]).append(2)
    assert made.value == value


def test_the_version_is_no_part_of_the_state() -> None:
    made = cell("int", 1)
    made.set(2)
    assert made.dump_state() == {"value": 2}


def test_a_refused_state_changes_nothing() -> None:
    made = cell("int", 1)
    with pytest.raises(ConstraintViolationError):
        made.load_state({"value": "x"})
    with pytest.raises(KeyError):
        made.load_state({})
    assert made.value == 1


def test_an_equal_value_is_no_write_but_an_equal_one_of_another_type_is() -> None:
    made = cell("any", 1)
    version = made.version
    made.load_state({"value": 1})
    assert made.version == version
    made.load_state({"value": 1.0})
    assert (made.version, type(made.value)) == (version + 1, float)


def test_values_that_cannot_be_compared_are_written() -> None:
    class Odd:
        def __eq__(self, other: object) -> bool:
            raise RuntimeError("ask somebody else")

        __hash__ = None  # type: ignore[assignment]

    made = cell("any", Odd())
    version = made.version
    made.load_state({"value": Odd()})
    assert made.version == version + 1


def test_the_gradient_is_part_of_the_state() -> None:
    spec = make_spec("float", 1.0, requires_grad=True, momentum=0.5, learning_rate=0.1)
    made = DspyCell(spec, "x")
    made.apply_gradient(2.0)
    other = DspyCell(spec, "x").load_state(made.dump_state())
    assert (other.value, other.grad) == (made.value, made.grad)
