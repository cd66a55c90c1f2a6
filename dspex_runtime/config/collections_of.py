"""Types of lists, and of maps with keys of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dspex_runtime.config.problems import INVALID, Broken, Path, Problems, shown
from dspex_runtime.config.value_types import Type

__all__ = ["ListOf", "MapOf"]


@dataclass(frozen=True, slots=True)
class ListOf(Type):
    """A list of one type; of so many items at least."""

    item: Type
    meaning: str
    least: int = 0

    @property
    def expects(self) -> str:
        """The meaning."""
        return self.meaning

    def check(self, value: Any, path: Path, problems: Problems) -> Any:
        """Return the good items in order."""
        if isinstance(value, Broken):
            return problems.add(path, value.why)
        if not isinstance(value, list | tuple) or len(value) < self.least:
            return problems.add(path, f"found {shown(value, path)}; allowed: {self.expects}")
        # A wrong item keeps its place: the paths of the others must still be theirs.
        return [self.item.check(item, (*path, index), problems) for index, item in enumerate(value)]

    def json(self) -> dict[str, Any]:
        """An array."""
        return {"type": "array", "items": self.item.json()} | ({"minItems": self.least} if self.least else {})


@dataclass(frozen=True, slots=True)
class MapOf(Type):
    """A map with keys of the user's own."""

    value: Type
    meaning: str
    key_fits: Callable[[str], bool] = str.isprintable

    @property
    def expects(self) -> str:
        """The meaning."""
        return self.meaning

    def check(self, value: Any, path: Path, problems: Problems) -> Any:
        """Return the good entries."""
        if isinstance(value, Broken):
            return problems.add(path, value.why)
        if not isinstance(value, Mapping):
            return problems.add(path, f"found {shown(value, path)}; allowed: {self.expects}")
        clean: dict[str, Any] = {}
        for key, item in value.items():
            if not isinstance(key, str) or not key or not self.key_fits(key):
                problems.add((*path, key), f"found {shown(key)} as a key; allowed: {self.expects}", at_key=True)
                continue
            checked = self.value.check(item, (*path, key), problems)
            if checked is not INVALID:
                clean[str.__str__(key)] = checked
        return clean

    def json(self) -> dict[str, Any]:
        """An object."""
        return {"type": "object", "additionalProperties": self.value.json()}
