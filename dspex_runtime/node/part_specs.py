"""What an owner's process wants to have as parts, made into specs: with what the owner has, and what the YAML says of them.

Pure. A part has its owner's LM, dspy settings, environment and durability where nothing else is said: in one process it would have
them, too. What the YAML says wins over the class; of maps (`args`, `limits`) key by key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from dspex_runtime.config import parse_child
from dspex_runtime.config.runtime_spec import RuntimeSpec
from dspex_runtime.core.child_spec import ChildSpec, Dependency, LaunchSpec, PartsSpec, SupervisorSpec
from dspex_runtime.errors import ConfigError
from dspex_runtime.types import ChildId, OnDown, Strategy

__all__ = ["Wanted", "wanted"]

SUPERVISION: Final = ("strategy", "max_restarts", "max_seconds")
EDGE: Final = ("on_down", "fallback")
#: After nothing that there is: with it the parts of an owner are started side by side.
SIDE_BY_SIDE: Final = frozenset({ChildId("")})
_TARGETS: Final = frozenset({"module", "server"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """The parts of one owner.

    Attributes:
        supervision: Of their supervisor; without children.
        specs: By name, in the order of their declarations.
        edges: What it means to the owner that a part is down, by the part's name.
    """

    supervision: SupervisorSpec
    specs: Mapping[str, ChildSpec]
    edges: Mapping[str, Dependency]


def wanted(asked: Mapping[str, Any], runtime: RuntimeSpec, owner: ChildSpec, launch: LaunchSpec) -> Wanted:
    """Return what the request of an owner's process asks for.

    Args:
        asked: {"parts": [{"name", "spec"}, ...], "strategy", "max_restarts", "max_seconds"}: see `modules.parts_process`.
        runtime: With the defaults of all children.
        owner: Its spec, with what the YAML says of its parts.
        launch: As its process has it.

    Raises:
        ConfigError: Anything in it is wrong, or the YAML names a part that there is not.
    """
    said = owner.parts or PartsSpec()
    names = [str(part["name"]) for part in asked["parts"]]
    unknown = [name for name in said.overrides if name not in names]
    if unknown:
        raise ConfigError(f"parts.{unknown[0]}: {owner.id!r} has no sub-module of that name as a process; it has {_listed(names)}")
    supervision = _supervision(asked, said)
    inherited = _inherited(runtime, launch)
    specs, edges = {}, {}
    for part in asked["parts"]:
        name = str(part["name"])
        keys = _merged(part["spec"], said.overrides.get(name, {}))
        edge = {key: keys.pop(key) for key in EDGE if keys.get(key) is not None}
        edges[name] = _edge(edge, name)
        spec = parse_child({**keys, "id": name}, spec=inherited, under=supervision)
        specs[name] = replace(spec, after=SIDE_BY_SIDE)
    return Wanted(supervision, specs, edges)


def _supervision(asked: Mapping[str, Any], said: PartsSpec) -> SupervisorSpec:
    chosen = {name: asked[name] if getattr(said, name) is None else getattr(said, name) for name in SUPERVISION}
    restarts, seconds = chosen["max_restarts"], chosen["max_seconds"]
    if type(restarts) is not int or restarts < 0 or type(seconds) not in (int, float) or not seconds > 0:
        raise ConfigError(
            f"parts have max_restarts, a whole number, and max_seconds, a number above 0; got {restarts!r}, {seconds!r}"
        )
    return SupervisorSpec(Strategy(chosen["strategy"]), restarts, seconds)


def _inherited(runtime: RuntimeSpec, launch: LaunchSpec) -> RuntimeSpec:
    """Return the runtime's spec with the owner's own in the place of what all children get."""
    defaults = {key: value for key, value in runtime.defaults.items() if key not in ("lm", "dspy", "env")}
    defaults["durability"] = launch.durability.value
    return replace(runtime, lm=launch.lm, dspy=launch.dspy or {}, env=launch.env, defaults=defaults)


def _merged(declared: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    keys = dict(declared)
    if said.keys() & _TARGETS:  # another one, of which the class knows nothing
        keys = {key: value for key, value in keys.items() if key not in (*_TARGETS, "pickled")}
    for key, value in said.items():
        both = isinstance(value, Mapping) and isinstance(keys.get(key), Mapping)
        keys[key] = {**keys[key], **value} if both else value
    return keys


def _edge(said: Mapping[str, Any], name: str) -> Dependency:
    try:
        on_down = OnDown(said.get("on_down", OnDown.WAIT))
    except ValueError:
        raise ConfigError(f"{name}: on_down is one of {', '.join(OnDown)}; got {said['on_down']!r}") from None
    if "fallback" in said and on_down is not OnDown.DEGRADE:
        raise ConfigError(f"{name}: fallback goes with on_down: degrade; got {on_down.value}")
    return Dependency(on_down, said.get("fallback"))


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"
