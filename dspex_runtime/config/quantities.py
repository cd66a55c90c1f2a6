"""Types of numbers: with bounds, with units of time, with units of memory. Booleans are never numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from dspex_runtime.config import durations, sizes
from dspex_runtime.config.problems import EnvText
from dspex_runtime.config.scalars import resolve
from dspex_runtime.config.value_types import ENV_JSON, Scalar

__all__ = ["Duration", "Integer", "Number", "Size"]


@dataclass(frozen=True, slots=True)
class Number(Scalar):
    """A finite number within bounds; booleans are not numbers."""

    minimum: float = -math.inf
    maximum: float = math.inf
    whole: ClassVar[bool] = False

    @property
    def expects(self) -> str:
        """The kind of number and its bounds."""
        if self.minimum == self.maximum:
            return f"{self.minimum}"
        kind = "a whole number" if self.whole else "a number"
        if math.isfinite(self.minimum) and math.isfinite(self.maximum):
            return f"{kind} from {self.minimum} to {self.maximum}"
        return f"{kind} >= {self.minimum}" if math.isfinite(self.minimum) else kind

    def read(self, value: Any) -> float:
        """Return the number."""
        number: Any = resolve(value) if isinstance(value, EnvText) else value
        if isinstance(number, bool) or not isinstance(number, int | float) or (self.whole and not isinstance(number, int)):
            raise ValueError("not such a number")
        if not self.minimum <= number <= min(self.maximum, 2**63):  # the last: what floats and msgpack carry
            raise ValueError("out of range")
        return int(number) if self.whole else float(number)

    def hint(self, value: Any) -> str:
        """A number in quotes is text."""
        return f"write {value} without quotes" if isinstance(value, str) and _fits(self.read, resolve(value)) else ""

    def json(self) -> dict[str, Any]:
        """A number with its bounds."""
        result: dict[str, Any] = {"type": "integer" if self.whole else "number"}
        if math.isfinite(self.minimum):
            result["minimum"] = self.minimum
        if math.isfinite(self.maximum):
            result["maximum"] = self.maximum
        return {"anyOf": [result, ENV_JSON]}


@dataclass(frozen=True, slots=True)
class Integer(Number):
    """A whole number within bounds."""

    whole: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Duration(Scalar):
    """Seconds, written as `100ms`, `5s`, `1m` or a number; the plain value is a float."""

    positive: bool = False

    @property
    def expects(self) -> str:
        """The spellings."""
        return durations.EXPECTED + (", above 0" if self.positive else "")

    def read(self, value: Any) -> float:
        """Return seconds."""
        number = resolve(value) if isinstance(value, EnvText) else value
        seconds = durations.parse_duration(number)
        if self.positive and seconds == 0:
            raise ValueError("zero")
        return seconds

    def hint(self, value: Any) -> str:
        """The unit that may have been meant."""
        return durations.duration_hint(value)

    def json(self) -> dict[str, Any]:
        """A number of seconds or a text with a unit."""
        number = {"type": "number", "exclusiveMinimum" if self.positive else "minimum": 0}
        return {"anyOf": [number, {"type": "string", "pattern": durations.PATTERN}, ENV_JSON]}


@dataclass(frozen=True, slots=True)
class Size(Scalar):
    """Bytes, written as `512MiB` or a whole number; the plain value is an int."""

    minimum: int = 0

    @property
    def expects(self) -> str:
        """The spellings."""
        return sizes.EXPECTED + (f", at least {self.minimum / 2**20:g}MiB" if self.minimum else "")

    def read(self, value: Any) -> int:
        """Return bytes."""
        size = sizes.parse_size(resolve(value) if isinstance(value, EnvText) else value)
        if size < self.minimum:
            raise ValueError("too small")
        return size

    def hint(self, value: Any) -> str:
        """The unit that may have been meant."""
        return "" if _fits(sizes.parse_size, value) else sizes.size_hint(value)

    def json(self) -> dict[str, Any]:
        """A number of bytes or a text with a unit."""
        return {"anyOf": [{"type": "number", "minimum": self.minimum}, {"type": "string", "pattern": sizes.PATTERN}, ENV_JSON]}


def _fits(read: Callable[[Any], Any], value: Any) -> bool:
    try:
        read(value)
    except ValueError:
        return False
    return True
