"""What an optimizer returned, against the program that it was given: the same tree or not, its score, what is another state now.

Knows no process; compares two programs. Parameters of dx.Modules are no optimizer's to set: copies have their defaults.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any, TypeGuard

import dspy

from dspex_runtime.errors import CompileError
from dspex_runtime.modules import rest
from dspex_runtime.modules.cells import DspyCell
from dspex_runtime.modules.predictors import dump
from dspex_runtime.modules.tree import frozen_parameters, named_modules, named_parameters

__all__ = ["check", "difference", "score_of"]

_CODE = ("forward", "aforward")


def check(root: dspy.Module, result: Any, label: str, id: str) -> None:
    """Raise CompileError unless the result is the same program in another state: state is all that a process can be given."""
    hint = f"use {label} in your own program, over the proxies of hosted modules"
    if not isinstance(result, dspy.Module):
        raise CompileError(f"{label} returned {type(result).__name__}, not a program", hint=hint)
    if _shape(result) != _shape(root):
        raise CompileError(
            f"{label} made another program of {id!r}, not another state of it: {_told(result)} instead of {_told(root)}", hint=hint
        )
    replaced = [name for name in _CODE if vars(result).get(name) is not None and vars(root).get(name) is None]
    if replaced:
        raise CompileError(
            f"{label} replaced {replaced[0]}() of {id!r}: that is code, and only states can be committed to a process", hint=hint
        )


def score_of(root: dspy.Module, result: dspy.Module, evaluated: float | None) -> float | None:
    """Return what the optimizer says that its result is worth, on its own scale; else the best evaluation that was seen."""
    said = {name: value for name, value in vars(result).items() if name not in vars(root)}
    if _is_number(said.get("score")):
        return float(said["score"])
    candidates = [each.get("score") for each in said.get("candidate_programs") or () if isinstance(each, dict)]
    details = getattr(said.get("detailed_results"), "val_aggregate_scores", None)  # GEPA's
    for scores in (candidates, details or ()):
        numbers = [float(score) for score in scores if _is_number(score)]
        if numbers:
            return max(numbers)
    return evaluated


def difference(root: dspy.Module, result: dspy.Module, listed: Container[str]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return the states that are others now, by name, and the rest that is."""
    before, after = _predictors(root, listed), _predictors(result, listed)
    states = {name: state for name, state in after.items() if state != before.get(name)}
    old, new = (rest.collect(program, listed, attributes=False) for program in (root, result))
    changed = {key: _changed(old[key], new[key]) for key in ("config", "frozen")}
    return states, {"compiled": new["compiled"], **{key: value for key, value in changed.items() if value}}


def _predictors(program: dspy.Module, listed: Container[str]) -> dict[str, dict[str, Any]]:
    found = named_parameters(program, listed)
    return {name: dump(parameter) for name, parameter in found if not isinstance(parameter, DspyCell) and name in listed}


def _changed(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in new.items() if value != old.get(name)}


def _shape(program: dspy.Module) -> tuple[Any, ...]:
    parameters = {name: type(parameter) for name, parameter in (*program.named_parameters(), *frozen_parameters(program))}
    return type(program), parameters, {path: type(module) for path, module in named_modules(program)}


def _told(program: Any) -> str:
    names = [name for name, _ in (*program.named_parameters(), *frozen_parameters(program))]
    return f"{type(program).__name__} with {', '.join(names[:5]) or 'no predictors'}{', ...' if len(names) > 5 else ''}"


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
