"""Training data: maps and Examples to Examples that know their inputs, checked before an optimizer has spent anything on them.

Which keys are inputs: what the caller says, what an Example says itself, else the arguments of `forward`, and for a forward that
takes any (`**kwargs`) the input fields of the signature.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import dspy

from dspex_runtime.config.suggestions import suggest
from dspex_runtime.errors import CompileError

__all__ = ["datasets", "expected_inputs"]


def datasets(
    root: dspy.Module, trainset: Sequence[Any], valset: Sequence[Any] | None, inputs: Sequence[str] | None
) -> tuple[list[dspy.Example], list[dspy.Example] | None]:
    """Return both as Examples.

    Raises:
        CompileError: One is empty, or an example lacks what the program takes; names it by its number.
    """
    taken, required = expected_inputs(root)
    named = list(inputs) if inputs is not None else None
    return (
        _examples("trainset", trainset, named, taken, required),
        None if valset is None else _examples("valset", valset, named, taken, required),
    )


def expected_inputs(root: dspy.Module) -> tuple[list[str], list[str]]:
    """Return the names that a program takes, and those that it does not do without."""
    forward = vars(root).get("forward") or getattr(type(root), "forward", None) or getattr(type(root), "aforward", None)
    parameters = [] if forward is None else list(inspect.signature(forward).parameters.values())
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != "self"]
    if named:
        return [p.name for p in named], [p.name for p in named if p.default is p.empty]
    own: Any = getattr(root, "signature", None)
    signatures = [own] if hasattr(own, "input_fields") else [predictor.signature for predictor in root.predictors()]
    fields = list(dict.fromkeys(name for signature in signatures for name in signature.input_fields))
    return fields, fields if len(signatures) == 1 else []


def _examples(
    what: str, given: Sequence[Any], inputs: list[str] | None, taken: list[str], required: list[str]
) -> list[dspy.Example]:
    if not given:
        raise CompileError(f"{what} is empty: an optimizer needs examples")
    return [_example(f"{what}[{index}]", each, inputs, taken, required) for index, each in enumerate(given)]


def _example(place: str, given: Any, inputs: list[str] | None, taken: list[str], required: list[str]) -> dspy.Example:
    if isinstance(given, Mapping):
        example = dspy.Example(**given)
    elif isinstance(given, dspy.Example):
        example = given
    else:
        raise CompileError(f"{place} is an Example or a map of fields; got {given!r:.100}")
    keys = list(example.keys())
    if inputs is not None:
        _check_present(place, inputs, keys, "which `inputs` names")
        example = example.with_inputs(*inputs)
    elif example._input_keys is None:
        _check_present(place, required, keys, "which the program takes")
        example = example.with_inputs(*(name for name in taken if name in keys))
    if not example._input_keys:
        takes = ", ".join(taken) or "nothing by name"
        raise CompileError(f"{place} has no inputs: its keys are {', '.join(keys)}; the program takes {takes}", hint="inputs=[...]")
    return example


def _check_present(place: str, wanted: list[str], keys: list[str], why: str) -> None:
    for name in wanted:
        if name not in keys:
            near = suggest(name, keys)
            found = f"{near.removeprefix('did you mean ').removesuffix('?')} is one of its keys" if near else ""
            raise CompileError(f"{place} has no {name!r}, {why}; it has {', '.join(keys) or 'nothing'}", hint=found or None)
