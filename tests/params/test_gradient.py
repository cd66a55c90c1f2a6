"""One step of momentum SGD."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dspex_runtime.errors import ConstraintViolationError
from dspex_runtime.params.gradient import step


def test_a_step_of_a_number_is_the_original_designs() -> None:
    value, grad = step(1.0, None, 0.5, 0.1, 0.9)
    assert grad == pytest.approx(0.05)
    assert value == pytest.approx(0.995)
    value, grad = step(value, grad, 0.5, 0.1, 0.9)
    assert grad == pytest.approx(0.9 * 0.05 + 0.1 * 0.5)
    assert value == pytest.approx(0.995 - 0.1 * grad)


def test_without_momentum_it_is_plain_descent() -> None:
    assert step(1.0, 7.0, 2, 0.5, 0.0) == (0.0, 2.0)
    assert step(1.0, None, np.float32(2), 0.5, 0.0) == (0.0, 2.0)


def test_an_array_steps_item_by_item_and_nothing_given_is_changed() -> None:
    value, before, by = np.array([1.0, 2.0]), np.array([1.0, 0.0]), np.array([0.0, 1.0])
    new, grad = step(value, before, by, 1.0, 0.5)
    assert new.tolist() == [0.5, 1.5]
    assert grad.tolist() == [0.5, 0.5]
    assert (value.tolist(), before.tolist(), by.tolist()) == ([1.0, 2.0], [1.0, 0.0], [0.0, 1.0])


def test_an_array_keeps_its_dtype() -> None:
    new, grad = step(np.ones(2, dtype=np.float32), None, [1.0, 2.0], 0.1, 0.9)
    assert (new.dtype, grad.dtype) == (np.float32, np.float32)


def test_a_gradient_of_a_value_that_had_another_shape_is_forgotten() -> None:
    _, grad = step(np.ones(3), np.ones(2), [1.0, 1.0, 1.0], 0.1, 0.5)
    assert grad.tolist() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("value", "gradient", "expected"),
    [
        (1.0, "x", "a gradient that is a number; got 'x'"),
        (1.0, True, "a gradient that is a number"),
        (1.0, None, "a gradient that is a number"),
        (1.0, np.ones(2), "a gradient that is one number"),
        (1.0, 10**400, "a gradient that is one number"),
        (1.0, float("nan"), "a finite gradient; got nan"),
        (1.0, float("inf"), "a finite gradient"),
        (np.ones(2), [1.0], r"a gradient of shape \(2,\), not \(1,\)"),
        (np.ones(2), 1.0, r"a gradient of shape \(2,\), not \(\)"),
        (np.ones(2), ["x", "y"], "a gradient of dtype float64"),
        (np.ones(2), [1.0, float("nan")], "a finite gradient"),
    ],
)
def test_a_gradient_that_does_not_fit_is_refused(value: Any, gradient: Any, expected: str) -> None:
    with pytest.raises(ConstraintViolationError, match=f"w must be stepped by {expected}") as caught:
        step(value, None, gradient, 0.1, 0.9, name="w")
    assert caught.value.constraint == "gradient"
