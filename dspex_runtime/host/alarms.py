"""Alarms, as functions for code inside a module process (OTP alarm_handler). An alarm outlives whoever set it."""

from __future__ import annotations

from typing import Any

from dspex_runtime.core.keys import typed
from dspex_runtime.host.parent import ask

__all__ = ["clear_alarm", "set_alarm"]


def set_alarm(alarm: Any, description: Any = None) -> None:
    """Set an alarm by its id, or replace the description of one that is set. It stays until it is cleared."""
    typed(alarm)
    ask("set_alarm", {"alarm": alarm, "description": description})


def clear_alarm(alarm: Any) -> bool:
    """Clear an alarm, whoever set it; returns whether it was set."""
    typed(alarm)
    return bool(ask("clear_alarm", {"alarm": alarm}))
