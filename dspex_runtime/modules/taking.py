"""What a call of a program takes, as far as its code says so: by these keywords, or whatever it is given. Never calls it."""

from __future__ import annotations

import inspect
from typing import Any, Final

import dspy

from dspex_runtime.modules import forwards

__all__ = ["is_awaited", "takes"]

_BY_KEYWORD: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def takes(module: Any) -> list[str] | None:
    """Return the keywords that a call takes; None where it takes any, or does not say.

    Of dspy's own modules they are the inputs of the signature; of any other program the parameters of its forward.
    """
    if type(module).__module__.partition(".")[0] == "dspy" or isinstance(module, dspy.Predict):
        for part in (module, getattr(module, "predict", None)):  # ChainOfThought and its kin have one that says it
            fields = getattr(getattr(part, "signature", None), "input_fields", None)
            if fields is not None:
                return list(fields)
    forward = forwards.forward_of(module)
    if forward is None:
        return None
    try:
        parameters = list(inspect.signature(forward).parameters.values())
    except (TypeError, ValueError):  # in C, or it says something else than its signature
        return None
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return None
    bound = getattr(forward, "__self__", None) is not None
    named = [parameter.name for parameter in parameters if parameter.kind in _BY_KEYWORD]
    return named if bound or forward in vars(module).values() else named[1:]


def is_awaited(module: Any) -> bool:
    """Return whether a call runs on the loop thread, with others: its forward is async, or there is only an `aforward`."""
    return not forwards.has(module, "forward") or inspect.iscoroutinefunction(forwards.forward_of(module))
