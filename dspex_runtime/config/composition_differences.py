"""What differs between two specs of one child in what it has to do with others: dependencies, replicas, parts. Pure.

Whom it depends on is live: only the runtime reads it, and tells the process. Its parts are made when its process asks for them, so
that other ones take a new process: a swap.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from dspex_runtime.config.composition_schema import OWN_PARAMS, SHARED_PARAMS
from dspex_runtime.config.steps import Action, Change
from dspex_runtime.core.child_spec import ChildSpec, Dependency, PartsSpec, Replica

__all__ = ["composition_changes"]

_SECRETS: Final = frozenset({"env", "lm", "dspy"})  # keys of a part of which nothing is told


def composition_changes(old: ChildSpec, new: ChildSpec) -> Iterator[Change]:
    """Yield what differs."""
    if old.depends_on != new.depends_on:
        yield from _each("depends_on", _dependencies(old.depends_on), _dependencies(new.depends_on), Action.LIVE)
    elif old.after != new.after:  # for the sake of somebody below it, or because the other's place is another
        yield Change("after", Action.LIVE, _listed(old), _listed(new))
    if old.replica != new.replica:
        yield Change("replicas.params", Action.LIVE, _params(old.replica), _params(new.replica))
    if old.parts is not new.parts:
        yield from _each("parts", _parts(old.parts), _parts(new.parts), Action.SWAP)


def _each(name: str, old: Mapping[str, Any], new: Mapping[str, Any], action: Action) -> Iterator[Change]:
    for key in dict.fromkeys((*old, *new)):
        before, after = old.get(key), new.get(key)
        if before == after and repr(before) == repr(after):  # 1, 1.0 and True are equal, and are not the same
            continue
        if isinstance(before, Mapping) or isinstance(after, Mapping):
            yield from _each(f"{name}.{key}", before or {}, after or {}, action)
        elif _SECRETS & {key, *name.split(".")[2:]}:
            yield Change(f"{name}.{key}", action, hidden=True)
        else:
            yield Change(f"{name}.{key}", action, _shown(before), _shown(after))


def _dependencies(depends_on: Mapping[str, Dependency]) -> dict[str, str]:
    return {
        id: edge.on_down.value if edge.fallback is None else f"{edge.on_down.value}, fallback {edge.fallback}"
        for id, edge in depends_on.items()
    }


def _params(replica: Replica | None) -> str | None:
    return None if replica is None else SHARED_PARAMS if replica.shares else OWN_PARAMS


def _parts(parts: PartsSpec | None) -> dict[str, Any]:
    if parts is None:
        return {}
    own = {
        "strategy": parts.strategy and parts.strategy.value,
        "max_restarts": parts.max_restarts,
        "max_seconds": parts.max_seconds,
    }
    return {**own, **parts.overrides}


def _listed(spec: ChildSpec) -> str | None:
    return ", ".join(sorted(spec.after)) or None


def _shown(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else repr(value)
