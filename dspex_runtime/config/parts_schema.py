"""The type of `parts`: how the sub-modules of one owner are supervised, and keys for each of them by its name.

The names are those of the class's attributes, which are known only where it is imported: any that can be an id will do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dspex_runtime.config import names
from dspex_runtime.config.composition_schema import check_fallback
from dspex_runtime.config.problems import INVALID, Broken, Path, Problems, shown
from dspex_runtime.config.quantities import Duration, Integer
from dspex_runtime.config.section import Key, Ref, Section
from dspex_runtime.config.suggestions import suggest
from dspex_runtime.config.value_types import Type, Word
from dspex_runtime.types import Strategy

__all__ = ["SUPERVISION", "Parts", "supervision_keys"]

SUPERVISION: Final = ("strategy", "max_restarts", "max_seconds")


def supervision_keys() -> tuple[Key, ...]:
    """Return what every supervisor has, that of parts too."""
    return (
        Key(
            "strategy",
            Word(tuple(Strategy), advice={"simple_one_for_one": "write dynamic: true"}),
            "Which siblings a restart takes along.",
            "one_for_one",
        ),
        Key("max_restarts", Integer(0), "More restarts than this within max_seconds, and the supervisor gives up.", 3),
        Key("max_seconds", Duration(positive=True), "The window of max_restarts.", 5),
    )


@dataclass(frozen=True, slots=True)
class Parts(Type):
    """A map with what a supervisor has, and maps by the names of parts.

    Attributes:
        part: What may be said of a part.
    """

    part: Ref

    @property
    def expects(self) -> str:
        """The keys."""
        return f"a map with {', '.join(SUPERVISION)}, and maps of child keys by the names of sub-modules"

    def check(self, value: Any, path: Path, problems: Problems) -> Any:
        """Return the map with the plain values of what is right, or INVALID after reporting it."""
        if isinstance(value, Broken):
            return problems.add(path, value.why)
        if not isinstance(value, Mapping):
            return problems.add(path, f"found {shown(value, path)}; allowed: {self.expects}")
        own = {
            name: item for name, item in value.items() if name in SUPERVISION or not isinstance(name, str) or name.startswith("x-")
        }
        clean: dict[str, Any] = Section("parts", supervision_keys()).check(own, path, problems)
        for name, item in value.items():
            if name in own:
                continue
            here = (*path, name)
            if not isinstance(item, Mapping | Broken):
                text = f"found {shown(item, here)}; allowed: {self.expects}"
                problems.add(here, "; ".join(filter(None, [text, suggest(name, SUPERVISION)])))
                continue
            if not names.is_id(name):
                problems.add(here, f"found {shown(name)} as the name of a sub-module; allowed: {names.ID_EXPECTED}", at_key=True)
                continue
            part = self.part.check(item, here, problems)
            if part is not INVALID and check_fallback(part, here, problems) is not INVALID:
                clean[str.__str__(name)] = part
        return clean

    def json(self) -> dict[str, Any]:
        """An object."""
        return {
            "type": "object",
            "properties": {key.name: key.json() for key in supervision_keys()},
            "patternProperties": {"^x-": {}},
            "additionalProperties": self.part.json(),
        }
