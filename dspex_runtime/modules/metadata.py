"""What `__module_metadata__()` tells of a dx.Module class: its declarations, as the original design names them. Plain data."""

from __future__ import annotations

from typing import Any

from dspex_runtime.modules.members import Predictor, SubModule, members_of
from dspex_runtime.params.parameter import declared


def describe(cls: type) -> dict[str, Any]:
    """Return module, parameters, predictors, sub_modules, config and compiled_at of a class."""
    members = members_of(cls)
    return {
        "module": f"{cls.__module__}:{cls.__qualname__}",
        "parameters": {name: parameter.spec.to_meta() for name, parameter in declared(cls).items()},
        "predictors": {
            name: {"signature": member.signature.signature, **predictor_options(member)}
            for name, member in members.items()
            if isinstance(member, Predictor)
        },
        "sub_modules": {
            name: {"type": member.type_name, **sub_module_options(member)}
            for name, member in members.items()
            if isinstance(member, SubModule)
        },
        "config": dict(getattr(cls, "module_config", None) or {}),
        "compiled_at": getattr(cls, "__compiled_at__", None),
    }


def predictor_options(member: Predictor) -> dict[str, Any]:
    """Return the kind, as text, and the options."""
    kind = member.kind if isinstance(member.kind, str) else f"{member.kind.__module__}:{member.kind.__qualname__}"
    return {"kind": kind, **member.options}


def sub_module_options(member: SubModule) -> dict[str, Any]:
    """Return where it is, and the constructor's arguments."""
    return {"inline": member.inline, **({"process": dict(member.process)} if member.process else {}), **member.options}
