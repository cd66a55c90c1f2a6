"""What a checkpoint of a program holds beside its parameters, because dspy's own state leaves it out.

Frozen (`_compiled`) flags, the config of predictors, the states of predictors inside frozen children, and plain attributes.
Put back only when somebody restores a checkpoint: after a restart the constructor has said what attributes are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Mapping
from typing import Any, Final

import dspy

from dspex_runtime.modules import lm_state
from dspex_runtime.modules.cells import DspyCell
from dspex_runtime.modules.mirror.following import unfollowed
from dspex_runtime.modules.predictors import PredictorHolder, dump
from dspex_runtime.modules.tree import frozen_parameters, named_modules, named_parameters

log = logging.getLogger("dspex_runtime.module")

# Items of one attribute, counted through its lists and dicts: a corpus comes from the constructor, not from a checkpoint.
MOST_ITEMS: Final = 1000
MOST_CHARACTERS: Final = 1 << 16
_DSPYS: Final = frozenset({"_compiled", "callbacks", "history", "training"})


def collect(root: dspy.Module, listed: Container[str], *, attributes: bool) -> dict[str, Any]:
    """Return the rest as plain data.

    Args:
        root: The program.
        listed: Predictors that are parameters; of frozen ones only the others are taken.
        attributes: Whether to take plain attributes; not of a program that keeps a state of its own.
    """
    with unfollowed():
        return _collected(root, listed, attributes=attributes)


def _collected(root: dspy.Module, listed: Container[str], *, attributes: bool) -> dict[str, Any]:
    frozen = [(name, p) for name, p in frozen_parameters(root) if not isinstance(p, DspyCell)]
    predictors = [(name, p) for name, p in (*root.named_parameters(), *frozen) if isinstance(p, dspy.Predict)]
    modules = named_modules(root)
    return {
        "compiled": [path for path, module in modules if getattr(module, "_compiled", False)],
        "config": {name: lm_state.plain(p.config) for name, p in predictors},
        "frozen": {name: dump(p) for name, p in frozen if name not in listed},
        "attributes": {path: taken for path, module in modules if (taken := _attributes(module))} if attributes else {},
    }


def put_back(root: dspy.Module, rest: Mapping[str, Any]) -> None:
    """Put the rest back. What the program has no place for any more, or refuses, is left out and logged."""
    modules = named_modules(root)
    for path, module in modules:
        for name, value in rest.get("attributes", {}).get(path, {}).items():
            if not hasattr(getattr(type(module), name, None), "__set__"):  # a property or a Parameter by now
                _leniently(f"{path}.{name}", setattr, module, name, value)
    frozen = dict(frozen_parameters(root))
    for name, parameter in [*named_parameters(root), *frozen.items()]:
        if name in rest.get("config", {}) and isinstance(parameter, dspy.Predict):
            # What is not plain was never saved, and stays.
            closed = {key: value for key, value in parameter.config.items() if not lm_state.plain({key: value})}
            parameter.config = {**closed, **rest["config"][name]}
        if name in rest.get("frozen", {}) and not isinstance(parameter, DspyCell):
            _leniently(name, PredictorHolder(name, parameter).store, rest["frozen"][name])
    if "compiled" in rest:
        for path, module in modules:
            module._compiled = path in rest["compiled"]


def _leniently(what: str, put: Callable[..., Any], *args: Any) -> None:
    try:
        put(*args)
    except Exception as exc:
        log.warning("%s of the checkpoint is left out: %s: %s", what, type(exc).__name__, exc)


def _attributes(module: dspy.Module) -> dict[str, Any]:
    own = {name: value for name, value in module.__dict__.items() if name not in _DSPYS}
    return _plain_entries(own)


def _plain_entries(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Return what can be written: plain, not large, no credential; the constructor has those again."""
    return {name: value for name, value in mapping.items() if not lm_state.is_secret(name) and _size(value, MOST_ITEMS) is not None}


def _size(value: Any, most: int) -> int | None:
    """Return how many items a plain value has, or None when it is not plain, holds a credential or has more than `most`."""
    if value is None or type(value) in (bool, int, float):
        return 1
    if type(value) in (str, bytes):
        return 1 if len(value) <= MOST_CHARACTERS else None
    if type(value) not in (list, tuple, dict):
        return None
    count = 1
    if type(value) is dict and not all(type(key) is str and not lm_state.is_secret(key) for key in value):
        return None
    for item in value.values() if type(value) is dict else value:
        size = _size(item, most - count)
        if size is None or (count := count + size) > most:
            return None
    return count
