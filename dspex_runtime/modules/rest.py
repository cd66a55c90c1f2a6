"""What a checkpoint of a program holds beside its parameters, because dspy's own state leaves it out.

Frozen (`_compiled`) flags, the config of predictors, the states of predictors that are no parameters (inside frozen children and
nested containers), and plain attributes. Put back when somebody restores a checkpoint; after a restart the constructor has said
what attributes are, and of the others only what a client had changed is put back.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Container, Mapping
from typing import Any, Final

import dspy
from dspy.predict.parameter import Parameter

from dspex_runtime.errors import UnserialisableError
from dspex_runtime.modules import lm_state
from dspex_runtime.modules.cells import DspyCell
from dspex_runtime.modules.mirror.following import Remote, unfollowed
from dspex_runtime.modules.parts import OF_CALLS, ROOT, named_parts, parameter_name
from dspex_runtime.modules.predictors import PredictorHolder, dump
from dspex_runtime.modules.tree import named_modules
from dspex_runtime.wire.by_value import dumps
from dspex_runtime.wire.codec import Codec

log = logging.getLogger("dspex_runtime.module")

# Items of one attribute, counted through its lists and dicts: a corpus comes from the constructor, not from a checkpoint.
MOST_ITEMS: Final = 1000
MOST_CHARACTERS: Final = 1 << 16
_plain: Final = Codec()
_DSPYS: Final = frozenset({"_compiled", *OF_CALLS, "training"})


def collect(root: dspy.Module, listed: Container[str], *, attributes: bool) -> dict[str, Any]:
    """Return the rest as plain data.

    Args:
        root: The program.
        listed: Predictors that are parameters; states are taken only of the others.
        attributes: Whether to take plain attributes; not of a program that keeps a state of its own.
    """
    with unfollowed():
        return _collected(root, listed, attributes=attributes)


def _collected(root: dspy.Module, listed: Container[str], *, attributes: bool) -> dict[str, Any]:
    parts = _own_parts(root)
    parameters = {parameter_name(name): part for name, part in parts.items() if isinstance(part, Parameter)}
    others = {name: p for name, p in parameters.items() if name not in listed and not isinstance(p, DspyCell)}
    return {
        "compiled": frozen(parts),
        "config": {name: lm_state.plain(p.config) for name, p in parameters.items() if isinstance(p, dspy.Predict)},
        "frozen": {name: state for name, p in others.items() if (state := _state(name, p)) is not None},
        "attributes": {path: taken for path, module in named_modules(root) if (taken := _attributes(module))} if attributes else {},
    }


def frozen(parts: Mapping[str, Any]) -> list[str]:
    """Return the names of those parts whose flag says that dspy is not to change them any more."""
    return [name for name, part in _modules(parts).items() if getattr(part, "_compiled", False)]


def packed(state: Mapping[str, Any]) -> dict[str, Any] | bytes:
    """Return a state as it can be kept: plain data as it is, a pickle of what has objects in it."""
    try:
        _plain.pack([state])
    except UnserialisableError:
        return dumps(state)
    return dict(state)


def put_back(root: dspy.Module, rest: Mapping[str, Any]) -> None:
    """Put the rest back. What the program has no place for any more, or refuses, is left out and logged."""
    with unfollowed():  # what is in a proxy is another program's
        _put_back(root, rest)


def _put_back(root: dspy.Module, rest: Mapping[str, Any]) -> None:
    for path, module in named_modules(root):
        for name, value in rest.get("attributes", {}).get(path, {}).items():
            if not hasattr(getattr(type(module), name, None), "__set__"):  # a property or a Parameter by now
                _leniently(f"{path}.{name}", setattr, module, name, value)
    parts = _own_parts(root)
    for name, part in parts.items():
        if name in rest.get("config", {}) and isinstance(part, dspy.Predict):
            # What is not plain was never saved, and stays.
            closed = {key: value for key, value in part.config.items() if not lm_state.plain({key: value})}
            part.config = {**closed, **rest["config"][name]}
        if name in rest.get("frozen", {}) and isinstance(part, Parameter) and not isinstance(part, DspyCell):
            _leniently(name, _store, name, part, rest["frozen"][name])
    if "compiled" in rest:
        for name, part in _modules(parts).items():
            if bool(getattr(part, "_compiled", False)) != (name in rest["compiled"]):
                part._compiled = not getattr(part, "_compiled", False)


def _own_parts(root: dspy.Module) -> dict[str, Any]:
    """Return the parts by name, but for those that are processes of their own."""
    return {name: part for name, part in named_parts(root).items() if not isinstance(part, Remote)}


def _modules(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the modules among the parts, each once: a program that is a parameter itself has two names."""
    return {
        name: part for name, part in parts.items() if isinstance(part, dspy.Module) and (name == ROOT or part is not parts[ROOT])
    }


def _state(name: str, parameter: Any) -> dict[str, Any] | None:
    if not hasattr(parameter, "dump_state") or not hasattr(parameter, "load_state"):
        return None
    try:
        return dump(parameter)
    except Exception as exc:  # of user code: it works as it is, and its state cannot be had
        log.debug("%s gives no state: %s: %s", name, type(exc).__name__, exc)
        return None


def _store(name: str, parameter: Any, state: Any) -> None:
    PredictorHolder(name, parameter).store(pickle.loads(state) if isinstance(state, bytes) else state)


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
