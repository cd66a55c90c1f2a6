"""Loading a dspy state into a program as dspy does, and any number of times: onto the signatures that predictors were built with.

What the state does not know of dx.Parameters is their default. A signature that comes out as it was stays the same class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import dspy

from dspex_runtime.modules.cells import DspyCell
from dspex_runtime.modules.pristine import pristine


def load_onto_pristine(module: Any, state: Mapping[str, Any], load: Callable[[Mapping[str, Any]], Any]) -> Any:
    """Load a state into a module: all of it or, when any part is refused, nothing.

    Args:
        module: The program.
        state: What `dump_state` returned.
        load: dspy's own `load_state` of that module.
    """
    named = module.named_parameters()
    whole = state
    if not isinstance(module, dspy.Predict):  # dspy's state of one holds nothing else
        missing = {name: cell for name, cell in named if isinstance(cell, DspyCell) and name not in state}
        whole = {**state, **{name: {"value": cell.initial()} for name, cell in missing.items()}}
    before = [(predictor, predictor.signature) for _, predictor in named if isinstance(predictor, dspy.Predict)]
    try:
        for predictor, _ in before:
            predictor.signature = pristine(predictor)
        result = load(whole)
    except BaseException:
        for predictor, signature in before:
            predictor.signature = signature
        raise
    for predictor, signature in before:
        if predictor.signature is not signature and _same(predictor.signature, signature):
            predictor.signature = signature
    return result


def _same(one: Any, other: Any) -> bool:
    return list(one.fields) == list(other.fields) and one.dump_state() == other.dump_state()
