"""`lm` and `dspy` of a child spec in which a program put objects: found here, so that they can be sent. Text and maps stay.

Never pickles itself, knows no dspy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

__all__ = ["portable"]

_OBJECTS: Final = ("adapter", "rm", "interpreter_factory")


def portable(keys: Mapping[str, Any], carry: Callable[[Any, str], dict[str, Any]]) -> dict[str, Any]:
    """Return child keys whose `lm` and `dspy` hold plain data only.

    Args:
        keys: Of a child, of `defaults` or of a whole configuration.
        carry: Makes a map of an object; gets it and what messages call it.
    """
    ready = dict(keys)
    if "lm" in ready:
        ready["lm"] = _lm(ready["lm"], carry)
    if isinstance(ready.get("dspy"), Mapping):
        settings = ready["dspy"] = dict(ready["dspy"])
        for name in _OBJECTS:
            if name in settings:
                settings[name] = _plain(settings[name], f"dspy.{name}", carry)
        settings |= _callbacks(settings, "dspy.callbacks", carry)
    return ready


def _lm(lm: Any, carry: Callable[[Any, str], dict[str, Any]]) -> Any:
    if isinstance(lm, Mapping):
        return {**lm, **_callbacks(lm, "lm.callbacks", carry)}
    # dspy's own copy: an LM without the calls that were made with it.
    fresh = lm.copy() if hasattr(lm, "history") and callable(getattr(lm, "copy", None)) else lm
    return _plain(fresh, "lm", carry)


def _callbacks(holder: Mapping[str, Any], what: str, carry: Callable[[Any, str], dict[str, Any]]) -> dict[str, Any]:
    callbacks = holder.get("callbacks")
    if not isinstance(callbacks, list | tuple):
        return {}
    return {"callbacks": [_plain(callback, what, carry) for callback in callbacks]}


def _plain(value: Any, what: str, carry: Callable[[Any, str], dict[str, Any]]) -> Any:
    if value is None or isinstance(value, str | bool | int | float | Mapping | list | tuple):
        return value  # right or wrong, the runtime's validation says
    return carry(value, what)
