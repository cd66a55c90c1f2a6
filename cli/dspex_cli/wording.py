"""Figures as people read them: durations, ages, exit reasons."""

from __future__ import annotations

from typing import Any


def duration(seconds: float | None) -> str:
    """Return 0.42 ms, 13 ms, 1.5 s, 3m 20s, 2h 05m, 4d 3h; "-" for None."""
    if seconds is None:
        return "-"
    if seconds < 0.010:
        return f"{seconds * 1e3:.2f} ms"
    if seconds < 1:
        return f"{seconds * 1e3:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days}d {hours}h"
    return f"{hours}h {minutes:02}m" if hours else f"{minutes}m {whole % 60:02}s"


def uptime(seconds: float | None) -> str:
    """Return a duration without fractions below a minute."""
    return f"{int(seconds)}s" if seconds is not None and seconds < 60 else duration(seconds)


def size(n_bytes: int) -> str:
    """Return 512 B, 1.5 MiB, 23.1 GiB."""
    value = float(n_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def population(supervisor: dict[str, Any]) -> str:
    """Return "1 child", "3 children", "3 of 100 children" for what a runtime says of a supervisor."""
    children, limit = supervisor["children"], supervisor.get("max_children")
    if limit is not None:
        return f"{children} of {limit} children"
    return "1 child" if children == 1 else f"{children} children"


def budget(supervisor: dict[str, Any]) -> str:
    """Return "1 of 3 restarts in 5 s": how much of a supervisor's restart budget is used."""
    window_s = supervisor["max_seconds"]
    used = count(supervisor["max_restarts"], "restart")
    return f"{supervisor['restarts_used']} of {used} in {f'{window_s:g} s' if window_s < 60 else duration(window_s)}"


def reason(value: Any) -> str:
    """Return an exit reason on one line; "-" when there was none. Reasons that came as JSON lists are understood."""
    if value is None:
        return "-"
    from dspex_runtime.exit_reason import describe

    return describe(tuple(value) if isinstance(value, list) else value)


def count(number: int, noun: str) -> str:
    """Return "1 module", "3 modules"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
