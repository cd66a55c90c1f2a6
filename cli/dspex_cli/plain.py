"""Any value to plain JSON data. Never raises: what it does not know becomes its text."""

from __future__ import annotations

import base64
from typing import Any, Final

MAX_DEPTH: Final = 60  # deeper nesting is a mistake or a cycle


def to_plain(value: Any, depth: int = 0) -> Any:
    """Return dicts, lists, strings, numbers, booleans and None only."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if depth > MAX_DEPTH:
        return "…"
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(key): to_plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item, depth + 1) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((to_plain(item, depth + 1) for item in value), key=str)
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(bytes(value)).decode()
    return _foreign(value, depth)


def readable(value: Any) -> Any:
    """Return a value for a cell of a table: as it is, but for what came pickled."""
    from dspex_runtime.wire.ext import Opaque

    return _foreign(value, 0) if isinstance(value, Opaque) else value


def _foreign(value: Any, depth: int) -> Any:
    """Dates by isoformat, arrays by tolist, records by as_dict or toDict; anything else by its text."""
    from dspex_runtime.wire.ext import Opaque

    if isinstance(value, Opaque):
        # What is no plain data comes pickled, and this process unpickles nothing.
        return f"<a Python object, {len(value.data)} bytes pickled: call from Python to get it>"
    for name in ("as_dict", "toDict", "tolist", "isoformat"):
        convert = getattr(value, name, None)
        if callable(convert):
            return to_plain(convert(), depth + 1)
    return str(value)
