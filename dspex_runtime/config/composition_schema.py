"""The types of `depends_on` and `replicas`: each has short forms, of which the whole one is made.

What ids mean is dependency_rules.py's.

depends_on: [a, b] | {a: degrade} | {a: } | {a: {on_down: degrade, fallback: b}}     -> {a: {on_down: ..., fallback: ...}}
replicas: 3 | {count: 3, params: own}                                                -> {count: 3, params: own}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dspex_runtime.config.problems import INVALID, Broken, Path, Problems, shown
from dspex_runtime.config.quantities import Integer
from dspex_runtime.config.section import Key, Section
from dspex_runtime.config.value_types import Text, Type, Word
from dspex_runtime.types import OnDown

__all__ = ["FALLBACK", "MAX_REPLICAS", "ON_DOWN", "OWN_PARAMS", "SHARED_PARAMS", "DependsOn", "Replicas", "check_fallback"]

MAX_REPLICAS: Final = 1000
SHARED_PARAMS: Final = "shared"
OWN_PARAMS: Final = "own"

_WORDS: Final = Word(
    tuple(OnDown),
    advice={"block": "write wait", "park": "write wait", "error": "write fail", "raise": "write fail", "fallback": "write degrade"},
)
ON_DOWN: Final = Key(
    "on_down",
    _WORDS,
    "What it means that the other is down: calls wait, fail, or are answered without it; or this one is restarted, or stopped.",
    OnDown.WAIT.value,
)
FALLBACK: Final = Key("fallback", Text("the id of a module"), "With degrade: the module that answers calls meanwhile.")

_EDGE: Final = Section(title="a dependency", keys=(ON_DOWN, FALLBACK))
_COUNT: Final = Integer(1, MAX_REPLICAS)
_GROUP: Final = Section(
    title="replicas",
    keys=(
        Key("count", _COUNT, "Processes behind the id.", required=True),
        Key(
            "params",
            Word(
                (SHARED_PARAMS, OWN_PARAMS), advice={"per_replica": "write own", "separate": "write own", "common": "write shared"}
            ),
            "What is written under the group's id is written in all of them (shared), or is refused: each has its own (own).",
            SHARED_PARAMS,
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class DependsOn(Type):
    """Ids, each with what it means that it is down."""

    @property
    def expects(self) -> str:
        """The forms."""
        return "a list of ids, or a map of ids to on_down (wait, fail, degrade, restart, stop)"

    def check(self, value: Any, path: Path, problems: Problems) -> Any:
        """Return a map of ids to maps with on_down, or INVALID after reporting it."""
        if isinstance(value, Broken):
            return problems.add(path, value.why)
        if isinstance(value, list | tuple):
            return _from_list(value, path, problems)
        if not isinstance(value, Mapping):
            hint = f"; write [{value}]" if isinstance(value, str) else ""
            return problems.add(path, f"found {shown(value, path)}; allowed: {self.expects}{hint}")
        edges: dict[str, Any] = {}
        for id, item in value.items():
            if not isinstance(id, str) or not id.strip():
                problems.add((*path, id), f"found {shown(id)} as a key; allowed: ids", at_key=True)
                continue
            edge = _edge(item, (*path, id), problems)
            if edge is not INVALID:
                edges[str.__str__(id)] = edge
        return edges

    def json(self) -> dict[str, Any]:
        """An array of ids, or an object."""
        edge = {"anyOf": [_WORDS.json(), {"type": "null"}, _EDGE.json()]}
        ids = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
        return {"anyOf": [ids, {"type": "object", "additionalProperties": edge}]}


@dataclass(frozen=True, slots=True)
class Replicas(Type):
    """How many, and whether they share their parameters."""

    @property
    def expects(self) -> str:
        """The forms."""
        return f"{_COUNT.expects}, or {_GROUP.expects}"

    def check(self, value: Any, path: Path, problems: Problems) -> Any:
        """Return a map with count and params, or INVALID after reporting it."""
        if isinstance(value, Mapping):
            clean = _GROUP.check(value, path, problems)
            return {"params": SHARED_PARAMS, **clean} if clean is not INVALID and "count" in clean else INVALID
        if isinstance(value, Broken):
            return problems.add(path, value.why)
        try:
            count = _COUNT.read(value)
        except ValueError:
            hint = "; without the key it is one process, which `dspex stop` stops" if value == 0 else ""
            return problems.add(path, f"found {shown(value, path)}; allowed: {self.expects}{hint}")
        return {"count": count, "params": SHARED_PARAMS}

    def json(self) -> dict[str, Any]:
        """A number, or an object."""
        return {"anyOf": [_COUNT.json(), _GROUP.json()]}


def check_fallback(edge: Mapping[str, Any], path: Path, problems: Problems) -> Any:
    """Return the edge, or INVALID after reporting a fallback that nothing would ask."""
    on_down = edge.get("on_down", OnDown.WAIT.value)
    if "fallback" not in edge or on_down == OnDown.DEGRADE or problems.under((*path, "on_down")):
        return edge
    said = f"on_down: {on_down}" if "on_down" in edge else "no on_down, which is wait"
    return problems.add((*path, "fallback"), f"found with {said}; allowed: with on_down: degrade", at_key=True)


def _from_list(value: list[Any] | tuple[Any, ...], path: Path, problems: Problems) -> Any:
    edges: dict[str, Any] = {}
    for index, item in enumerate(value):
        here = (*path, index)
        if isinstance(item, Mapping):
            problems.add(here, "found a map; allowed: ids in a list, or one map of ids to on_down in place of the list")
            continue
        id = Text("an id").check(item, here, problems)
        if id is INVALID:
            continue
        if id in edges:
            problems.add(here, f"found {id!r} again; allowed: each id once")
        edges[id] = {"on_down": OnDown.WAIT.value}
    return edges


def _edge(item: Any, path: Path, problems: Problems) -> Any:
    if item is None:
        return {"on_down": OnDown.WAIT.value}
    if not isinstance(item, Mapping):
        word = _WORDS.check(item, path, problems)
        return INVALID if word is INVALID else {"on_down": word}
    before = len(problems.paths)
    edge = _EDGE.check(item, path, problems)
    if edge is INVALID or len(problems.paths) > before:
        return INVALID
    checked = check_fallback(edge, path, problems)
    return INVALID if checked is INVALID else {"on_down": OnDown.WAIT.value, **edge}
