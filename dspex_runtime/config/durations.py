"""Durations: `100ms`, `5s`, `1m`, `2h`, `1m30s` or a number of seconds -> seconds. Pure."""

from __future__ import annotations

import math
import re
from typing import Any, Final

__all__ = ["EXPECTED", "PATTERN", "duration_hint", "parse_duration", "show_duration"]

EXPECTED: Final = "a duration such as 100ms, 5s, 1m or 2h, or a number of seconds"
PATTERN: Final = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$"
MAX_S: Final = 10 * 365 * 86400.0  # 10 years; a larger number of seconds overflows the clocks of the kernel

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)", re.ASCII)
_WORDY = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)", re.ASCII)
_LONG_UNITS: Final = {
    "": "s",
    "sec": "s",
    "second": "s",
    "min": "m",
    "minute": "m",
    "hr": "h",
    "hour": "h",
    "day": "d",
    "milli": "ms",
}


def parse_duration(value: Any) -> float:
    """Return seconds.

    Raises:
        ValueError: Not a duration, negative, not finite or longer than ten years; a bool is not a number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("not a duration")
    seconds = _from_text(value.strip()) if isinstance(value, str) else value
    if not 0 <= seconds <= MAX_S:  # also refuses nan; ints are compared before they could overflow a float
        raise ValueError("out of range")
    return float(seconds)


def duration_hint(value: Any) -> str:
    """Return what the writer of a wrong duration may have meant: `5` -> "write 5s", `5min` -> "write 5m"."""
    if not isinstance(value, str):
        return ""
    match = _WORDY.fullmatch(value.strip())
    if not match:
        return ""
    unit = match[2].lower().rstrip("s") if len(match[2]) > 1 else match[2].lower()
    unit = _LONG_UNITS.get(unit, unit or "s")
    return f"write {match[1]}{unit}" if unit in _UNITS else ""


def show_duration(seconds: float) -> str:
    """Return seconds as people write them: 0.1 -> "100ms", 90 -> "90s"."""
    if 0 < seconds < 1:
        return f"{seconds * 1000:g}ms"
    return f"{seconds:g}s"


def _from_text(text: str) -> float:
    if len(text) > 40 or not re.fullmatch(PATTERN.strip("^$"), text, re.ASCII):
        raise ValueError("not a duration")
    return math.fsum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
