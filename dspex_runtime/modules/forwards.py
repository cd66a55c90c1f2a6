"""How a program is called: its `forward`, its `aforward`, or a `__call__` or `acall` of its own in place of dspy's. Calls none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import dspy

from dspex_runtime.modules.module import Module

_CALLED_BY: Final = {"forward": "__call__", "aforward": "acall"}


def has(module: Any, name: str) -> bool:
    """Return whether a program can be called by its "forward" (or instead by a `__call__` of its own), or by its "aforward"."""
    # Not getattr on the instance: reading `.forward` there logs dspy's warning about calling it directly.
    if callable(vars(module).get(name)) or callable(getattr(type(module), name, None)):
        return True
    called_by = _CALLED_BY[name]
    return getattr(type(module), called_by) not in (getattr(dspy.Module, called_by), getattr(Module, called_by))


def forward_of(module: Any) -> Callable[..., Any] | None:
    """Return the `forward`, else `aforward`, that the program was written with; None: it has a `__call__` of its own."""
    name = "forward" if has(module, "forward") else "aforward"
    found: Callable[..., Any] | None = vars(module).get(name) or getattr(type(module), name, None)
    return found
