"""Types of single values: each says what it expects, checks one value, and describes itself as JSON Schema.

Numbers and what has units are in quantities.py, maps and lists in section.py. Never knows a key's name (schema.py).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from dspex_runtime.config.problems import Broken, EnvText, Path, Problems, shown
from dspex_runtime.config.scalars import resolve
from dspex_runtime.config.suggestions import suggest

__all__ = ["ENV_JSON", "MAX_NESTING", "Boolean", "Constant", "Null", "Opaque", "Scalar", "Text", "Type", "Word"]

ENV_JSON: Final = {"type": "string", "pattern": r"\$\{"}  # editors see the file before `${VAR}` is replaced


class Type(ABC):
    """What a value must be."""

    __slots__ = ()

    @property
    @abstractmethod
    def expects(self) -> str:
        """What is allowed, for people."""

    @abstractmethod
    def check(self, value: Any, path: Path, problems: Problems) -> Any:
        """Return the value as plain data, or INVALID after reporting it."""

    @abstractmethod
    def json(self) -> dict[str, Any]:
        """Return the JSON Schema of the type."""


class Scalar(Type):
    """A type whose values have no parts."""

    __slots__ = ()

    @abstractmethod
    def read(self, value: Any) -> Any:
        """Return the plain value; ValueError when it does not fit."""

    def hint(self, value: Any) -> str:  # noqa: ARG002
        """Return a correction for a wrong value, or ""."""
        return ""

    def check(self, value: Any, path: Path, problems: Problems) -> Any:
        """Return the plain value, or INVALID after reporting it."""
        if isinstance(value, Broken):
            return problems.add(path, value.why)
        try:
            return self.read(value)
        except ValueError:
            return problems.add(
                path, "; ".join(filter(None, [f"found {shown(value, path)}", f"allowed: {self.expects}", self.hint(value)]))
            )


@dataclass(frozen=True, slots=True)
class Text(Scalar):
    """Text; `fits` and `pattern` narrow it, `meaning` says how."""

    meaning: str = "text"
    fits: Callable[[str], bool] | None = None
    pattern: str | None = None
    empty: bool = False

    @property
    def expects(self) -> str:
        """What is allowed."""
        return self.meaning

    def read(self, value: Any) -> str:
        """Return the text itself, whatever subclass of str it was."""
        if not isinstance(value, str):
            raise ValueError("not text")
        text = str.__str__(value)
        if not (text.strip() or self.empty) or (self.fits and not self.fits(text)):
            raise ValueError("does not fit")
        return text

    def hint(self, value: Any) -> str:
        """A number is usually text without its quotes."""
        return "put it in quotes" if isinstance(value, bool | int | float) and self.pattern is None else ""

    def json(self) -> dict[str, Any]:
        """A string."""
        return {"type": "string"} | ({"anyOf": [{"pattern": self.pattern}, ENV_JSON]} if self.pattern else {})


@dataclass(frozen=True, slots=True)
class Word(Scalar):
    """One word of a list; `advice` says what to write instead of words from elsewhere."""

    choices: tuple[str, ...]
    advice: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def expects(self) -> str:
        """The words."""
        return ", ".join(self.choices)

    def read(self, value: Any) -> str:
        """Return the word."""
        if not isinstance(value, str) or value not in self.choices:
            raise ValueError("not one of the words")
        return str.__str__(value)

    def hint(self, value: Any) -> str:
        """The advice for it, or the closest word."""
        return (self.advice.get(value) or suggest(value, self.choices)) if isinstance(value, str) else ""

    def json(self) -> dict[str, Any]:
        """An enum."""
        return {"enum": [str(choice) for choice in self.choices]}


@dataclass(frozen=True, slots=True)
class Boolean(Scalar):
    """true or false, nothing that looks like it."""

    expects: ClassVar[str] = "true or false"

    def read(self, value: Any) -> bool:
        """Return the boolean."""
        value = resolve(value) if isinstance(value, EnvText) else value
        if not isinstance(value, bool):
            raise ValueError("not a boolean")
        return value

    def hint(self, value: Any) -> str:
        """YAML 1.1's words are text here."""
        words = {"yes": "true", "on": "true", "no": "false", "off": "false", "true": "true", "false": "false"}
        meant = words.get(value.lower()) if isinstance(value, str) else None
        return f"write {meant}" if meant else ""

    def json(self) -> dict[str, Any]:
        """A boolean."""
        return {"anyOf": [{"type": "boolean"}, ENV_JSON]}


@dataclass(frozen=True, slots=True)
class Constant(Scalar):
    """A word (or null) that stands for a plain value: `none` for None."""

    spelled: str
    value: Any

    @property
    def expects(self) -> str:
        """The spelling."""
        return self.spelled

    def read(self, value: Any) -> Any:
        """Return what the word stands for."""
        if not isinstance(value, str) or value != self.spelled:
            raise ValueError("another word")
        return self.value

    def json(self) -> dict[str, Any]:
        """A const."""
        return {"const": self.spelled}


@dataclass(frozen=True, slots=True)
class Null(Scalar):
    """Null."""

    expects: ClassVar[str] = "null"

    def read(self, value: Any) -> None:
        """Return None."""
        if value is not None:
            raise ValueError("not null")

    def json(self) -> dict[str, Any]:
        """Null."""
        return {"type": "null"}


@dataclass(frozen=True, slots=True)
class Opaque(Type):
    """Data of the user's (arguments, metadata): maps and lists are copied, what is in them passes as it is."""

    expects: ClassVar[str] = "any value"

    def check(self, value: Any, path: Path, problems: Problems) -> Any:
        """Return a copy without the loader's marks; reports values that could not be read, and endless nesting."""
        if len(path) > MAX_NESTING:
            return problems.add(path[:4], f"nested deeper than {MAX_NESTING} levels, or a value that contains itself")
        match value:
            case Broken(why):
                return problems.add(path, why)
            case EnvText():
                return resolve(value) if value.plain else str.__str__(value)
            case Mapping():
                return {key: self.check(item, (*path, key), problems) for key, item in value.items()}
            case list():
                return [self.check(item, (*path, index), problems) for index, item in enumerate(value)]
            case _:
                return value

    def json(self) -> dict[str, Any]:
        """Anything."""
        return {}


MAX_NESTING: Final = 120  # levels, a little more than the loader's bound: lists and maps of Python can contain themselves
