"""One step of momentum SGD, for numbers and arrays. Pure; numpy is not imported for numbers.

grad = momentum * grad + (1 - momentum) * gradient; value = value - learning_rate * grad.
"""

from __future__ import annotations

import math
from typing import Any

from dspex_runtime.params.constraints import refusal, shown

__all__ = ["step"]


def step(
    value: Any, grad: Any, gradient: Any, learning_rate: float, momentum: float, *, name: str = "the gradient"
) -> tuple[Any, Any]:
    """Return value and accumulated gradient after one step. Nothing that was given is changed.

    Args:
        value: A float, or an array.
        grad: What the step before returned; None before the first.
        gradient: A number, or of an array's shape.
        learning_rate: Of this step.
        momentum: Share of the steps before, 0 <= momentum < 1.
        name: Of the parameter, for messages.

    Raises:
        ConstraintViolationError: The gradient is of another shape, no number, or not finite.
    """
    if getattr(value, "shape", None) is not None:
        return _array_step(value, grad, gradient, learning_rate, momentum, name)
    if isinstance(gradient, bool | str) or not hasattr(type(gradient), "__float__"):
        raise refusal(name, "gradient", "float", gradient, "stepped by a gradient that is a number")
    try:
        by = float(gradient)
    except (TypeError, ValueError, OverflowError):  # an array of several numbers, an int beyond floats
        raise refusal(name, "gradient", "float", gradient, "stepped by a gradient that is one number") from None
    if not math.isfinite(by):
        raise refusal(name, "gradient", "finite", by, "stepped by a finite gradient")
    new = momentum * (grad or 0.0) + (1 - momentum) * by
    return value - learning_rate * new, new


def _array_step(value: Any, grad: Any, gradient: Any, learning_rate: float, momentum: float, name: str) -> tuple[Any, Any]:
    import numpy as np

    try:
        by = np.asarray(gradient, dtype=value.dtype)
    except (TypeError, ValueError):
        raise refusal(name, "gradient", str(value.dtype), gradient, f"stepped by a gradient of dtype {value.dtype}") from None
    if by.shape != value.shape:
        expected = f"stepped by a gradient of shape {value.shape}, not {by.shape}"
        raise refusal(name, "gradient", list(value.shape), shown(gradient), expected)
    if not np.isfinite(by).all():
        raise refusal(name, "gradient", "finite", shown(gradient), "stepped by a finite gradient")
    before = grad if grad is not None and getattr(grad, "shape", None) == value.shape else np.zeros_like(value)
    new = momentum * before + (1 - momentum) * by
    return value - learning_rate * new, new
