"""The LM, the adapter and the like for a compile: what the caller has set, taken along; and made the settings of the compile.

`dspy.context` of the caller goes before the module's own `lm:` and `dspy:`, and these before the caller's `dspy.configure`: as for
a call of a proxy.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Final

import dspy

from dspex_runtime.modules.dspy_settings import DEFAULTS, configured, overrides

__all__ = ["applied", "of_caller"]

_TAKEN: Final = ("lm", "adapter", "rm", "interpreter_factory", "num_threads", "max_errors", "warn_on_type_mismatch")


def of_caller() -> dict[str, dict[str, Any]]:
    """Return what this thread has set, as {"context": {...}, "configured": {...}}: only what is not dspy's default."""
    here = overrides.get()
    return {
        # dspy.context copies all of the configuration: what is the same there was not said here.
        "context": {
            name: _portable(here[name])
            for name in _TAKEN
            if name in here and here[name] is not configured.get(name) and here[name] is not None
        },
        "configured": {
            name: _portable(configured[name])
            for name in _TAKEN
            if configured.get(name) is not None and configured[name] != DEFAULTS.get(name)
        },
    }


def applied(settings: Mapping[str, Mapping[str, Any]]) -> AbstractContextManager[None]:
    """Return a context in which they hold, in this process."""
    own = dspy.settings
    free = {name: value for name, value in settings.get("configured", {}).items() if own.get(name) == DEFAULTS.get(name)}
    context: AbstractContextManager[None] = dspy.context(**{**free, **settings.get("context", {})})
    return context


def _portable(value: Any) -> Any:
    """Return an LM without the calls that were made with it; all else as it is."""
    if not isinstance(value, dspy.BaseLM):
        return value
    copy = object.__new__(type(value))
    copy.__dict__.update(value.__dict__)
    copy.history = []
    return copy
