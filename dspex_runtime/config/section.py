"""Types with parts: sections (maps with known keys), alternatives and references. Lists and free maps are in collections_of.py.

A section is the one declaration from which checking, defaults, "did you mean" and JSON Schema come.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from dspex_runtime.config.collections_of import ListOf, MapOf
from dspex_runtime.config.problems import INVALID, Broken, EnvText, Path, Problems, shown
from dspex_runtime.config.suggestions import suggest
from dspex_runtime.config.value_types import MAX_NESTING, Constant, Scalar, Type, Word

__all__ = ["EVERY_KIND", "Either", "Key", "Ref", "Section"]

EVERY_KIND: Final = frozenset({"module", "server", "supervisor"})


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a section.

    Attributes:
        default: What holds when the key is absent; documentation for people and editors, applied by build.py.
        internal: Written by clients and `normalize`, never by people: unknown in files, absent from the JSON Schema.
        kinds: Kinds of children that may have it.
    """

    name: str
    type: Type
    doc: str
    default: Any = None
    required: bool = False
    internal: bool = False
    kinds: frozenset[str] = EVERY_KIND

    def check(self, value: Any, path: Path, problems: Problems) -> Any:
        """Return the plain value, or INVALID after reporting it."""
        return self.type.check(value, path, problems)

    def json(self) -> dict[str, Any]:
        """Return the JSON Schema of the value, described."""
        described = {"description": self.doc} | ({} if self.default is None else {"default": self.default})
        return self.type.json() | described


@dataclass(frozen=True, slots=True)
class Section(Type):
    """A map with known keys; every other key is a mistake, unless `extra` says what it may hold.

    Attributes:
        title: How messages call it ("a child", "limits").
        one_of: Keys of which exactly one is there.
        switch: A key; while its text is empty by `${VAR:-}` the whole section counts as null, and other keys emptied so as absent.
        rules_json: Added to the JSON Schema (one-of rules).
    """

    title: str
    keys: tuple[Key, ...]
    extra: Type | None = None
    one_of: tuple[str, ...] = ()
    switch: str | None = None
    rules_json: Mapping[str, Any] = field(default_factory=dict)

    @property
    def expects(self) -> str:
        """The keys."""
        return f"a map with {', '.join(key.name for key in self.public)}"

    @property
    def public(self) -> list[Key]:
        """Keys that people write."""
        return [key for key in self.keys if not key.internal]

    def check(self, value: Any, path: Path, problems: Problems) -> Any:
        """Return the known keys with their plain values; keys that were wrong are left out. `x-` keys are dropped."""
        if isinstance(value, Broken):
            return problems.add(path, value.why)
        if not isinstance(value, Mapping):
            return problems.add(path, f"found {shown(value, path)}; allowed: {self.expects}")
        if len(path) > MAX_NESTING:
            return problems.add(path[:4], f"nested deeper than {MAX_NESTING} levels, or a map that contains itself")
        if self.switch and _emptied(value.get(self.switch)):
            return None
        by_name = {key.name: key for key in self.keys if not (key.internal and problems.source)}
        clean: dict[str, Any] = {}
        for name, item in value.items():
            if not isinstance(name, str):
                problems.add((*path, name), f"found {shown(name)} as a key; keys are text", at_key=True)
                continue
            if name.startswith("x-") or (self.switch and _emptied(item)):
                continue
            kind: Key | Type | None = by_name.get(name, self.extra)
            if kind is None:
                problems.add((*path, name), self._unknown(name, problems), at_key=True)
                continue
            checked = kind.check(item, (*path, name), problems)
            if checked is not INVALID:
                clean[str.__str__(name)] = checked
        for key in self.keys:
            if key.required and key.name not in value:
                problems.add(path, f"{self.title} needs {key.name}: ({key.type.expects}){_typo(key.name, value, by_name)}")
        self._check_one_of(value, by_name, path, problems)
        return clean

    def json(self) -> dict[str, Any]:
        """An object with these properties and no others."""
        result: dict[str, Any] = {
            "type": "object",
            "properties": {key.name: key.json() for key in self.public},
            "patternProperties": {"^x-": {}},
            "additionalProperties": self.extra.json() if self.extra else False,
        }
        required = [key.name for key in self.public if key.required]
        one = {"oneOf": [{"required": [name]} for name in self.one_of]} if self.one_of else {}
        return result | ({"required": required} if required else {}) | one | dict(self.rules_json)

    def _check_one_of(self, value: Mapping[Any, Any], known: Mapping[str, Key], path: Path, problems: Problems) -> None:
        given = [name for name in self.one_of if name in value]
        if not self.one_of or len(given) == 1:
            return
        if given:
            problems.add((*path, given[1]), f"found {' and '.join(given)}; allowed: one of them", at_key=True)
            return
        typo = next(filter(None, (_typo(name, value, known) for name in self.one_of)), "")
        problems.add(path, f"{self.title} needs {' or '.join(self.one_of)}{typo}")

    def _unknown(self, name: str, problems: Problems) -> str:
        names = [key.name for key in self.public]
        allowed = ", ".join(key.name for key in self.public)
        nested = [f"{key.name}.{inner}" for key in self.public for inner in _names_in(key.type)]
        home = problems.elsewhere.get(name)
        hint = suggest(name, names, nested=nested, similar=home is None) or (f"{name!r} belongs to {home}" if home else "")
        return "; ".join(filter(None, [f"found the unknown key {name[:60]!r}", f"allowed: {allowed}", hint]))


@dataclass(frozen=True, slots=True)
class Either(Type):
    """One of several types; a map or list is judged by the alternative that is one, so that its own mistakes are named."""

    options: tuple[Type, ...]

    @property
    def expects(self) -> str:
        """All alternatives."""
        return ", or ".join(option.expects for option in self.options)

    def check(self, value: Any, path: Path, problems: Problems) -> Any:
        """Return what the first fitting alternative makes of the value."""
        if isinstance(value, Broken):
            return problems.add(path, value.why)
        for option in self.options:
            if isinstance(value, Mapping) and isinstance(option, Section | MapOf | Ref):
                return option.check(value, path, problems)
            if isinstance(value, list | tuple) and isinstance(option, ListOf):
                return option.check(value, path, problems)
        hints = []
        for option in self.options:
            if isinstance(option, Scalar):
                try:
                    return option.read(value)
                except ValueError:
                    hints.append(option.hint(value))
        words = [word for option in self.options for word in _words_of(option)]
        hints.append(suggest(value, words) if isinstance(value, str) else "")
        hint = next(filter(None, hints), "")
        return problems.add(path, "; ".join(filter(None, [f"found {shown(value, path)}", f"allowed: {self.expects}", hint])))

    def json(self) -> dict[str, Any]:
        """Any of them."""
        return {"anyOf": [option.json() for option in self.options]}


@dataclass(frozen=True, slots=True)
class Ref(Type):
    """A type by name, for sections that contain themselves and sections used in several places."""

    name: str
    get: Callable[[], Section]

    @property
    def expects(self) -> str:
        """What the type expects."""
        return self.get().expects

    def check(self, value: Any, path: Path, problems: Problems) -> Any:
        """Check with the type itself."""
        return self.get().check(value, path, problems)

    def json(self) -> dict[str, Any]:
        """A reference into $defs."""
        return {"$ref": f"#/$defs/{self.name}"}


def _emptied(value: Any) -> bool:
    return isinstance(value, EnvText) and not value


def _words_of(option: Type) -> tuple[str, ...]:
    match option:
        case Word(choices=choices):
            return choices
        case Constant(spelled):
            return (spelled,)
        case _:
            return ()


def _names_in(kind: Type) -> list[str]:
    match kind:
        case Section():
            return [key.name for key in kind.public]
        case Either(options):
            return [name for option in options for name in _names_in(option)]
        case Ref():
            return _names_in(kind.get())
        case _:
            return []


def _typo(missing: str, value: Mapping[Any, Any], known: Mapping[str, Any]) -> str:
    """Return a hint when an unknown key looks like the missing one."""
    for name in value:
        if isinstance(name, str) and name not in known and suggest(name, [missing]):
            return f"; found {name!r}, {suggest(name, [missing])}"
    return ""
