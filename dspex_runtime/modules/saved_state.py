"""What `module.save` wrote: a whole program, or the state (.json) that a hosted program begins with.

A state is checked name by name and field by field, then loaded by dspy itself. dspy matches the fields of a signature by their
position: it would take a state of a signature whose fields had another order, and swap their descriptions. Here that is refused.
What dspy takes for unsafe in a state (endpoints and classes of LMs) it leaves out or refuses, as `module.load(path)` does.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from types import MappingProxyType
from typing import Any

import dspy

from dspex_runtime.errors import ConstraintViolationError, StartError
from dspex_runtime.modules.mirror.following import Remote, unfollowed
from dspex_runtime.modules.mirror.remote_state import of_part
from dspex_runtime.modules.predictors import PredictorHolder
from dspex_runtime.modules.pristine import pristine


def load_program(path: str) -> dspy.Module:
    """Return the program in a directory written by `module.save(path, save_program=True)`."""
    return dspy.load(path, allow_pickle=True)


def load(module: dspy.Module, path: str, parts: Mapping[str, Any] = MappingProxyType({}), new: Container[str] = ()) -> None:
    """Load a file that `save(path)` of such a program wrote.

    Args:
        module: The program.
        path: Of the file.
        parts: The proxies of its parts that are processes of their own.
        new: Names of those that are to have it: another one has begun with it, and has changed since.

    Raises:
        StartError: It cannot be read, or is the state of another program; nothing was changed.
    """
    name = type(module).__qualname__
    state = _read(path)
    with unfollowed():
        predictors = [(at, p) for at, p in module.named_parameters() if isinstance(p, dspy.Predict) and not isinstance(p, Remote)]
    try:
        theirs = {at: of_part(state, at, proxy) for at, proxy in parts.items()}
        for at, predictor in predictors:
            pristine(predictor)  # what every later state is loaded onto, not what this one makes of it
            own = _without_metadata(state) if predictor is module else state.get(at)
            if isinstance(own, Mapping):
                PredictorHolder(at, predictor).check(own)
        with unfollowed():
            module.load(path)
        for at, proxy in parts.items():
            if at in new:
                proxy.load_state(theirs[at])
    except KeyError as exc:
        has = ", ".join(sorted(_without_metadata(state)))
        only = f"only for {has}" if has else "and for no other predictor"
        raise StartError(f"{path} is no state of {name}: it has nothing for {exc}, {only}") from None
    except ConstraintViolationError as exc:
        raise StartError(f"{path} is no state of {name}: {exc}") from None
    except Exception as exc:
        raise StartError(f"{path} cannot be loaded into {name}: {type(exc).__name__}: {exc}") from exc


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            state = json.load(file)
    except (OSError, ValueError) as exc:
        raise StartError(f"the saved state {path} cannot be read: {type(exc).__name__}: {exc}") from None
    if not isinstance(state, dict) or "metadata" not in state:
        raise StartError(f'{path} is no saved state: expected a map with "metadata", as module.save(...) writes it')
    return state


def _without_metadata(state: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in state.items() if key != "metadata"}
