"""The settings of a relayed call in the host: the caller's, where the module's own config has not gone before. Host side.

Precedence: the caller's `dspy.context`, the module's own config (`lm:`, `dspy:`, what it configures itself), the caller's
`dspy.configure`, dspy's default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dspex_runtime.modules.dspy_settings import DEFAULTS, configured, overrides
from dspex_runtime.modules.relay.protocol import RELAYED
from dspex_runtime.modules.relayed.objects import guests

_MAX_TRACE: Final[int] = DEFAULTS["max_trace_size"]
_MISSING: Final = object()
# What this runtime configures in every module itself: no word of the module's own config.
_OURS: Final = frozenset(("max_trace_size", "max_history_size"))


def settings_of(context: Mapping[str, Any] | None, record: Any, live: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the overrides for a call.

    Args:
        context: As it travelled.
        record: Of the call; gets what came from the caller's configuration (`configured`).
        live: Those that the relay makes for a live call.
    """
    own = {"trace": record.trace, "caller_modules": [record], RELAYED: record}
    # The trace is the caller's, and so is its size.
    settings: dict[str, Any] = {**overrides.get(), "max_trace_size": _MAX_TRACE, **own}
    if context is not None:
        record.configured = {
            key: value_of(told)
            for key, told in context["configured"].items()
            if key in _OURS or configured.get(key, _MISSING) == DEFAULTS.get(key, _MISSING)
        }
        settings.update(record.configured)
        for key, told in context["set"].items():
            settings[key] = value_of(told)
    if record.usage is not None:
        settings["usage_tracker"] = record.usage
    if live is not None:
        settings.update(live)
    return settings


def value_of(told: Any) -> Any:
    """Return a value of the context: plain data, or an object kept by its token."""
    if type(told) is not dict:
        return told
    return guests.get(told["$"]) if "$" in told else told["="]


def own_callbacks() -> list[Any]:
    """Return the callbacks that the module's own config has."""
    return list(configured["callbacks"])
