"""Sizes: `512MiB`, `1GiB`, `500MB` or a number of bytes -> bytes. Pure."""

from __future__ import annotations

import re
from typing import Any, Final

__all__ = ["EXPECTED", "PATTERN", "parse_size", "show_size", "size_hint"]

EXPECTED: Final = "a size such as 512MiB, 1GiB or 500MB, or a whole number of bytes"
PATTERN: Final = r"^[0-9]+(\.[0-9]+)? ?([kKMGT]i?B|B)$"
MAX_BYTES: Final = 2**60

_UNITS: Final = {
    "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40,
}  # fmt: skip
_TEXT = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kKMGT]i?B|B)", re.ASCII)
_LOOSE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(i?b?)", re.ASCII | re.IGNORECASE)


def parse_size(value: Any) -> int:
    """Return bytes.

    Raises:
        ValueError: Not a size, not a whole number of bytes, negative, or above 1 EiB; a bool is not a number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("not a size")
    if isinstance(value, str):
        match = _TEXT.fullmatch(value.strip()) if len(value) <= 40 else None
        if not match:
            raise ValueError("not a size")
        value = round(float(match[1]) * _UNITS[match[2].upper()])
    if not 0 <= value <= MAX_BYTES or value != int(value):  # the range first: int() of inf or nan raises
        raise ValueError("out of range")
    return int(value)


def size_hint(value: Any) -> str:
    """Return the spelling a wrong size may have meant: `512M` -> "write 512MiB", `1gb` -> "write 1GB"."""
    match = _LOOSE.fullmatch(value.strip()) if isinstance(value, str) and len(value) <= 40 else None
    if not match:
        return ""
    prefix, rest = match[2].upper(), match[3].lower()
    if not prefix:
        return f"write {match[1]}B, or {match[1]} without quotes"
    return f"write {match[1]}{prefix}{'B' if rest == 'b' else 'iB'}"


def show_size(n_bytes: int) -> str:
    """Return bytes as people write them: 1073741824 -> "1GiB"; whole units only, so that nothing is rounded."""
    for unit in ("TIB", "GIB", "MIB", "KIB"):
        if n_bytes and n_bytes % _UNITS[unit] == 0:
            return f"{n_bytes // _UNITS[unit]}{unit[0]}iB"
    return f"{n_bytes}B"
