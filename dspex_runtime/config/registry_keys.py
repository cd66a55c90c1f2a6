"""The type of `register:`, a key of the registry. YAML has no tuples: a list stands for one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from dspex_runtime.config.problems import INVALID, Path, Problems, shown
from dspex_runtime.config.value_types import Opaque, Type
from dspex_runtime.core.keys import typed

__all__ = ["RegistryKey"]


@dataclass(frozen=True, slots=True)
class RegistryKey(Type):
    """A key; null is none."""

    expects: ClassVar[str] = "text, a number, true or false, or a list of these (a tuple)"

    def check(self, value: Any, path: Path, problems: Problems) -> Any:
        """Return the key, lists as tuples, or INVALID after reporting it."""
        plain = Opaque().check(value, path, problems)
        if problems.under(path):
            return INVALID
        key = _tuples(plain)
        try:
            typed(key)
        except ValueError:
            return problems.add(path, f"found {shown(value, path)}; allowed: {self.expects}")
        return key

    def json(self) -> dict[str, Any]:
        """A scalar, or an array of such."""
        return {"type": ["string", "number", "boolean", "array", "null"]}


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
