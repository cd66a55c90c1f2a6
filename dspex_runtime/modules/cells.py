"""The cell of a dx.Parameter in a dspy program: found by dspy's `named_parameters`, saved and loaded with the rest.

Adds dspy's three verbs (dump_state, load_state, reset) to a `Cell`. Its state is `{"value": ...}`, with "grad" once there is one
and "dtype" beside the items of an array in JSON. The version is no part of it: equal programs have equal states.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from dspy.predict.parameter import Parameter as DspyParameter
from dspy.predict.predict import serialize_object

from dspex_runtime.params.cell import Cell


class DspyCell(Cell, DspyParameter):  # type: ignore[misc] # dspy has no types
    """One dx.Parameter of one module."""

    __slots__ = ()

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        """Return the value, and the accumulated gradient where there is one; a copy."""
        state = _dumped(self.value, json_mode)
        if self.grad is not None:
            state["grad"] = _dumped(self.grad, json_mode)["value"]
        return state

    def load_state(self, state: Mapping[str, Any]) -> DspyCell:
        """Set the value of a state, for everybody where the cell is bound. An equal value is no write.

        Raises:
            KeyError: There is no "value" in the state.
            ConstraintViolationError: The value is refused; nothing was changed.
        """
        value = state["value"]
        if "dtype" in state:
            import numpy as np

            value = np.asarray(value, dtype=state["dtype"])
        if not _equal(value, self.value):
            self.set(value, who="load_state")
        if self.owner is None and "grad" in state:
            self.grad = self._gradient(state["grad"])
        return self

    def _gradient(self, grad: Any) -> Any:
        if not hasattr(self.value, "dtype"):
            return float(grad)
        import numpy as np

        return np.array(grad, dtype=self.value.dtype)


def _dumped(value: Any, json_mode: bool) -> dict[str, Any]:
    if not json_mode:
        return {"value": copy.deepcopy(value)}
    if hasattr(value, "dtype"):
        return {"value": value.tolist(), "dtype": str(value.dtype)}
    return {"value": serialize_object(copy.deepcopy(value))}


def _equal(left: Any, right: Any) -> bool:
    if type(left) is not type(right):
        return False
    if hasattr(left, "dtype"):
        return left.dtype == right.dtype and left.shape == right.shape and bool((left == right).all())
    try:
        return bool(left == right)
    except Exception:  # objects of the user's own: not known to be equal
        return False
