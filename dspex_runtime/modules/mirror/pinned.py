"""What an edit changes beside parameters and is kept with them: flags, configs of predictors, states of what is no parameter.

In the form of the rest of a checkpoint (see `modules.rest`), which the next incarnation is given. Pure: looks at the program and
at the edit, and changes neither.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dspex_runtime.modules import lm_state, rest
from dspex_runtime.modules.parts import ITSELF, ROOT, is_inside, parameter_name
from dspex_runtime.modules.predictors import dump

__all__ = ["Changes", "pinned", "within"]

_NONE: Final[dict[str, Any]] = {}


@dataclass(frozen=True, slots=True)
class Changes:
    """An edit that was read.

    Attributes:
        attributes: New ones of predictors, by part.
        flags: By part.
        replaced: What takes the place of a part.
    """

    attributes: Mapping[str, Mapping[str, Any]]
    flags: Mapping[str, bool]
    replaced: Mapping[str, Any]


def pinned(parts: Mapping[str, Any], listed: Container[str], changes: Changes, kept: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is to be kept from now on.

    Args:
        parts: Of the program as it is, by name.
        listed: Predictors that are parameters; their states are kept as those.
        changes: Of the program.
        kept: What was kept so far.
    """
    config, states = {}, {}
    before = rest.frozen(parts)
    flags = {name for name in before if not any(is_inside(name, outer) for outer in changes.replaced)}
    for part, attributes in changes.attributes.items():
        name = parameter_name(part)
        if "config" in attributes:
            config[name] = lm_state.plain(attributes["config"])
        if name not in listed:
            states[name] = rest.packed(dump(parts[part], attributes))
    for outer, part in changes.replaced.items():
        inside = rest.collect(part, (), attributes=False)
        config |= {within(outer, name): each for name, each in inside["config"].items()}
        flags |= {within(outer, name) for name in inside["compiled"]}
        states |= {
            within(outer, name): rest.packed(state) for name, state in inside["frozen"].items() if within(outer, name) not in listed
        }
    flags = (flags | {name for name, flag in changes.flags.items() if flag}) - {n for n, flag in changes.flags.items() if not flag}
    found = dict(kept)
    if changes.flags or "compiled" in kept or flags != set(before):
        found["compiled"] = sorted(flags)
    for key, new in (("config", config), ("frozen", states)):
        if new:
            found[key] = {**kept.get(key, _NONE), **new}
    return found


def within(outer: str, name: str) -> str:
    """Return what a part of what takes the place of `outer` is called in the program."""
    return outer if name in (ROOT, ITSELF) else f"{outer}.{name}"
