"""The parameters of the whole runtime, as `shared:` declares them: a plain value, or type, default and constraints.

Every constraint is plain data: whoever writes these parameters runs no user code. What a constraint means is `params`'s to
say; here is only what a file may hold, and where it is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dspex_runtime.config.collections_of import ListOf, MapOf
from dspex_runtime.config.problems import INVALID, Broken, Path, Problems, shown
from dspex_runtime.config.quantities import Integer, Number
from dspex_runtime.config.section import Key, Section
from dspex_runtime.config.value_types import Opaque, Text, Type, Word
from dspex_runtime.errors import ConstraintViolationError
from dspex_runtime.types import Durability

__all__ = ["SHARED", "SharedParameter"]

TYPES: Final = ("int", "float", "bool", "str", "list", "dict", "array", "any")
_NUMBERS: Final = frozenset({"int", "float", "array"})
_SIZED: Final = frozenset({"str", "list", "dict"})
# Key -> the types that it can constrain.
_APPLIES: Final[Mapping[str, frozenset[str]]] = {
    "min": _NUMBERS,
    "max": _NUMBERS,
    "min_length": _SIZED,
    "max_length": _SIZED,
    "length": _SIZED,
    "shape": frozenset({"array"}),
    "pattern": frozenset({"str"}),
}


def _is_pattern(text: str) -> bool:
    try:
        re.compile(text)
    except re.error:
        return False
    return True


_DECLARED: Final = Section(
    title="a shared parameter",
    keys=(
        Key("type", Word(TYPES), "What it holds; when it is left out, what the default is."),
        Key("default", Opaque(), "Its value until it is set."),
        Key("min", Number(), "No number, and no element of an array, is below."),
        Key("max", Number(), "No number, and no element of an array, is above."),
        Key("choices", ListOf(Opaque(), "a list of values"), "The only values that it takes."),
        Key("min_length", Integer(0), "No text, list or map is shorter."),
        Key("max_length", Integer(0), "No text, list or map is longer."),
        Key("length", Integer(0), "Every text, list or map is just so long."),
        Key("shape", ListOf(Integer(0), "a list of whole numbers"), "Of every array."),
        Key("pattern", Text("a regular expression", fits=_is_pattern), "Every text fits it from end to end."),
        Key("durability", Word(tuple(Durability)), "What a write of it survives.", Durability.JOURNAL.value),
        Key("metadata", MapOf(Opaque(), "a map"), "Data of yours."),
    ),
)


@dataclass(frozen=True, slots=True)
class SharedParameter(Type):
    """One of them; what comes out is always a map with a type and a default."""

    @property
    def expects(self) -> str:
        """A value or a declaration."""
        return f"a value, or {_DECLARED.expects}"

    def check(self, value: Any, path: Path, problems: Problems) -> Any:
        """Return the declaration, whose default keeps its own constraints, or INVALID after reporting it."""
        if isinstance(value, Broken):
            return problems.add(path, value.why)
        before = len(problems.paths)
        if isinstance(value, Mapping):
            declared = _DECLARED.check(value, path, problems)
        else:
            declared = {"default": Opaque().check(value, path, problems)}
        if declared is INVALID or len(problems.paths) > before:
            return INVALID
        if declared.get("default") is None and not ("default" in declared and declared.get("type") == "any"):
            return problems.add(path, f"found {shown(value, path)}; allowed: a value that is not null, or a map with a default")
        kind = declared.setdefault("type", _type_of(declared["default"]))
        for key in declared:
            types = _APPLIES.get(key)
            if types is not None and kind not in types:
                problems.add((*path, key), f"found on type {kind}; allowed: with {', '.join(sorted(types))}", at_key=True)
        return INVALID if len(problems.paths) > before else _agreeing(declared, path, problems)

    def json(self) -> dict[str, Any]:
        """A declaration, or anything that is no map."""
        return {"anyOf": [_DECLARED.json(), {"not": {"type": ["object", "null"]}}]}


SHARED: Final = MapOf(SharedParameter(), "a map of parameter names to values, or to maps with type, default and constraints")


def _type_of(value: Any) -> str:
    names = {bool: "bool", int: "int", float: "float", str: "str", list: "list", tuple: "list", dict: "dict"}
    return names.get(type(value), "any")


def _agreeing(declared: dict[str, Any], path: Path, problems: Problems) -> Any:
    """Return the declaration if its parts agree: the words for what does not are those that a set would get."""
    from dspex_runtime.params.constraints import check  # only where there is something shared
    from dspex_runtime.params.spec import ParameterSpec

    try:
        check(ParameterSpec.from_meta(declared), declared["default"])
    except ConstraintViolationError as exc:
        return problems.add((*path, "default") if problems.places.get((*path, "default")) else path, f"its default: {exc}")
    except (TypeError, ValueError) as exc:
        return problems.add(path, str(exc))
    return declared
