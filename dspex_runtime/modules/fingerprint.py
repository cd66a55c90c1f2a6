"""Whether a dspy parameter was changed since it was last looked at, by identity alone: a microsecond, nothing is dumped.

A fingerprint holds what it compares, so that an identity is never that of a later object. It misses what keeps every identity
and length: a field of a signature edited in place, a list inside a demo. Whoever must not miss it dumps and compares.
"""

from __future__ import annotations

from itertools import chain
from operator import is_
from typing import Any

from dspex_runtime.modules.parts import OF_CALLS

_NO_FIELDS: dict[str, Any] = {}


class Fingerprint:
    """Of one dspy.Parameter: its attributes; of a predictor also its instructions and its demos, field by field.

    Args:
        parameter: A predictor, or any other object with a `__dict__`.
    """

    __slots__ = ("_attributes", "_demos", "_fields", "_instructions", "_items", "_now", "_sizes", "_values", "_values_now")

    def __init__(self, parameter: Any) -> None:
        # Kept, because every attribute access of a dspy.Module runs a function of dspy's.
        self._attributes: dict[str, Any] = parameter.__dict__
        self._values_now = self._attributes.values()
        self.take()

    def take(self) -> None:
        """Remember the parameter as it is now."""
        attributes = self._attributes
        self._values = tuple(self._values_now)
        signature = attributes.get("signature")
        self._instructions = signature.__doc__ if isinstance(signature, type) else None
        self._sizes = [
            (value, len(value)) for value in self._values if type(value) in (list, dict) and _is_state(value, attributes)
        ]
        demos = attributes.get("demos")
        self._demos = demos if isinstance(demos, list) else []
        self._items = tuple(self._demos)
        # Live views: what `differs` walks is what the demos hold by then.
        self._now = [_fields(demo).values() for demo in self._items]
        self._fields = tuple(chain.from_iterable(self._now))

    def differs(self) -> bool:
        """Return whether the parameter is another than it was at the last `take`."""
        values, now = self._values, self._values_now
        if len(now) != len(values) or not all(map(is_, now, values)):
            return True
        for value, size in self._sizes:
            if len(value) != size:
                return True
        if self._instructions is not None and self._attributes["signature"].__doc__ is not self._instructions:
            return True
        if not self._items:
            return False
        return (
            not all(map(is_, self._demos, self._items))
            or sum(map(len, self._now)) != len(self._fields)
            or not all(map(is_, chain.from_iterable(self._now), self._fields))
        )


def _fields(demo: Any) -> dict[str, Any]:
    """Return the mapping that holds a demo's fields: that of an Example, or the demo itself."""
    return demo if type(demo) is dict else getattr(demo, "_store", _NO_FIELDS)


def _is_state(value: Any, attributes: dict[str, Any]) -> bool:
    # What grows with every call is no state.
    return all(value is not attributes.get(name) for name in OF_CALLS)
