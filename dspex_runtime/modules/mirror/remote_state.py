"""A state that is loaded into a proxy and into the proxies of its parts, which are processes of their own: all of it or nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import dspy

__all__ = ["load_all"]


def load_all(
    remote: Mapping[str, Any], state: Mapping[str, Any], load_own: Callable[[], Any], *, allow_unsafe_lm_state: bool = False
) -> Any:
    """Load a program's state: that of each part into it, the rest with `load_own`; returns what that does.

    Args:
        remote: The proxies of the parts by name.
        state: As dspy saves it: by the names of parameters, those of a part behind its own name.
        load_own: Loads what is not theirs, or nothing.
        allow_unsafe_lm_state: As for dspy.

    Raises:
        Exception: What any of them raises; the others have again what they had.
    """
    states = {name: of_part(state, name, proxy) for name, proxy in remote.items()}
    loaded: list[tuple[Any, Any]] = []
    try:
        for name, proxy in remote.items():
            before = proxy.dump_state(json_mode=False)
            proxy.load_state(states[name], allow_unsafe_lm_state=allow_unsafe_lm_state)
            loaded.append((proxy, before))
        return load_own()
    except BaseException:
        for proxy, before in reversed(loaded):
            proxy.load_state(before, allow_unsafe_lm_state=True)
        raise


def of_part(state: Mapping[str, Any], name: str, proxy: Any) -> Mapping[str, Any]:
    """Return what a state has of one part.

    Raises:
        KeyError: It lacks a predictor of that.
    """
    if isinstance(proxy, dspy.Predict):  # one parameter, whose state is under its own name
        found: Mapping[str, Any] = state[name]
        return found
    prefix = f"{name}."
    theirs = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
    for inner, _ in proxy.named_predictors():
        if inner not in theirs:
            raise KeyError(prefix + inner)
    return theirs
