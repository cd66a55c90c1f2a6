"""Which names a declared member of a module may not have, and why. Decides only; raises nothing.

A name is taken when dspy gives it a meaning (as a method, as an attribute of an instance or of a predictor, as a key of a saved
state), when this package calls it on a user's module, or when one of the accessors made for it would be so taken.
"""

from __future__ import annotations

from collections.abc import Container
from enum import StrEnum
from typing import Final

import dspy

from dspex_runtime.modules.parts import OF_CALLS

# What a program defines, and the instance attributes of a module and of a predictor. `get_lm` and `set_lm` are dspy's own, so
# `lm` may not be declared either.
_INSTANCE: Final = frozenset(
    {
        "forward",
        "aforward",
        "_compiled",
        *OF_CALLS,
        "lm",
        "signature",
        "demos",
        "traces",
        "train",
        "config",
        "fields",
        "stage",
    }
)
# Keys of dspy's saved states: `metadata` is written beside the parameters, `self` names a bare predictor.
_STATE_KEYS: Final = frozenset({"metadata", "self"})
# What a user's module may define for us to call, what a proxy adds, what a runtime knows a module by, and what dx.Module adds.
_OURS: Final = frozenset(
    {"setup", "terminate", "forward_degraded", "get_state", "set_state", "state", "code_change", "handle_info", "verify"}
    | {"dx", "train", "eval", "training", "mode", "compile_status", "executions", "metrics", "module_config"}
)
_DSPY: Final = frozenset(dir(dspy.Module)) | _INSTANCE | _STATE_KEYS


class Declared(StrEnum):
    """What a member is declared as; its accessors depend on it."""

    PARAMETER = "parameter"
    PREDICTOR = "predictor"
    SUB_MODULE = "sub_module"


_ACCESSORS: Final = {
    Declared.PARAMETER: ("get_{}", "set_{}", "{}_type", "{}_opts"),
    Declared.PREDICTOR: ("predict_{}", "{}_signature", "{}_opts"),
    Declared.SUB_MODULE: ("get_{}", "{}_type", "{}_opts"),
}


def accessor_names(name: str, declared: Declared) -> tuple[str, ...]:
    """Return the names of a member's accessors: getter, setter, type and options of a parameter, and so on."""
    return tuple(form.format(name) for form in _ACCESSORS[declared])


def refusal(name: str, others: Container[str], declared: Declared) -> str | None:
    """Return why a declared member may not have this name, or None.

    Args:
        name: Of the attribute.
        others: The names of the other declared members of the class.
        declared: What it is declared as.
    """
    if name in _DSPY:
        return f"{name!r} is a name of dspy.Module"
    if name in _OURS or (name.startswith("__") and name.endswith("__")):
        return f"{name!r} has a meaning of its own in a hosted module"
    for accessor in accessor_names(name, declared):
        if accessor in _DSPY or accessor in _OURS:
            return f"its accessor {accessor!r} has a meaning of its own in a module"
        if accessor in others:
            return f"its accessor {accessor!r} is declared too"
    return None
