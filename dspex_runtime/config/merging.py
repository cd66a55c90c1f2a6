"""How `lm`, `dspy`, `env` and `defaults` of a configuration flow into each child. Pure, on checked plain data.

Maps merge key by key, the child's keys over those it inherits; everything else replaces. Used by the rules (which look at the
result) and by build.py (which makes specs of it), so that both see the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["Inherited", "effective", "kind_of", "merge_dspy", "merge_lm", "merge_shutdown"]

KINDS: Final = ("module", "server", "supervisor")
_FOR_PROCESSES: Final = (
    "shutdown",
    "start_timeout",
    "limits",
    "liveness",
    "readiness",
    "trap_exit",
    "env",
    "concurrency",
    "lm",
    "dspy",
    "checkpoint",
    "durability",
    "template",
)
_FOR_MODULES: Final = ("readiness", "concurrency", "lm", "dspy")


@dataclass(frozen=True, slots=True)
class Inherited:
    """What a configuration gives to every child, as plain data.

    Attributes:
        lm: None: nothing said. An empty map: said to be none, as by `lm: {model: "${MODEL:-}"}`; a child's `{temperature: 0}` then
            adds nothing.
        shared: Whether the runtime has shared parameters.
    """

    lm: Mapping[str, Any] | None = None
    dspy: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    shared: bool = False

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Inherited:
        """Read it from a checked configuration."""
        env = config.get("runtime", {}).get("env", {})
        lm = config["lm"] or {} if "lm" in config else None  # switched off, or not said
        return cls(lm, config.get("dspy", {}), env, config.get("defaults", {}), bool(config.get("shared")))


def kind_of(child: Mapping[str, Any]) -> str | None:
    """Return the kind of a child, or None when it is not exactly one."""
    kinds = [kind for kind in KINDS if kind in child]
    return kinds[0] if len(kinds) == 1 else None


def effective(child: Mapping[str, Any], kind: str, inherited: Inherited) -> dict[str, Any]:
    """Return the child with everything it inherits; keys that nobody gave are absent.

    `shutdown` and `start_timeout` of `defaults` are not for supervisors: OTP waits for a subtree as long as its children need.
    `concurrency`, `lm`, `dspy` and `readiness` are not for servers.
    """
    given = dict(inherited.defaults)
    if kind == "module":
        if inherited.lm is not None or "lm" in given:
            given["lm"] = merge_lm(inherited.lm, given["lm"]) if "lm" in given else inherited.lm
        given["dspy"] = merge_dspy(inherited.dspy, given.get("dspy", {}))
    given["env"] = {**inherited.env, **given.get("env", {})}
    for key in _FOR_PROCESSES if kind == "supervisor" else _FOR_MODULES if kind == "server" else ():
        given.pop(key, None)
    return {**given, **{key: _merge(key, given.get(key), value) for key, value in child.items()}}


def merge_lm(base: Mapping[str, Any] | None, own: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return the LM of a child: its keys over the inherited ones; a class, or a model over a class, replaces all.

    See `Inherited.lm` for an empty base.
    """
    if own is None or base is None:
        return own
    if not base:
        return own if "model" in own or "class" in own else None
    if "class" in own or ("model" in own and "class" in base):
        return own
    return {**base, **own}


def merge_dspy(base: Mapping[str, Any] | None, own: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of a child: its keys over the inherited ones, those of `cache` too."""
    base = base or {}
    both = {**base, **own}
    old, new = base.get("cache"), own.get("cache")
    return {**both, "cache": {**old, **new}} if isinstance(old, Mapping) and isinstance(new, Mapping) else both


def merge_shutdown(base: Any, own: Any) -> Any:
    """Return `own` over `base`; a plain time-out is the map with only that."""
    if not isinstance(own, Mapping):
        return own
    if isinstance(base, Mapping):
        return {**base, **own}
    return own if base is None or base == "brutal_kill" else {"timeout": base, **own}


def _merge(key: str, base: Any, own: Any) -> Any:
    match key:
        case "lm":
            return merge_lm(base, own)
        case "dspy":
            return merge_dspy(base, own)
        case "shutdown":
            return merge_shutdown(base, own)
        case "readiness" if isinstance(base, Mapping) and isinstance(own, Mapping):
            kept = {name: value for name, value in base.items() if name not in ("call", "command")}
            return {**(kept if own.keys() & {"call", "command"} else base), **own}
        case "limits" | "backoff" | "liveness" | "env" | "checkpoint" if isinstance(base, Mapping) and isinstance(own, Mapping):
            return {**base, **own}
        case _:
            return own
