"""A whole configuration as one frozen value: what the runtime process boots from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dspex_runtime.core.child_spec import SupervisorSpec

__all__ = ["RuntimeSpec"]


@dataclass(frozen=True, slots=True)
class RuntimeSpec:
    """What `parse` makes of a configuration; already validated.

    Attributes:
        name: Name of the runtime; "runtime" for a dict that gives none.
        state_dir: Absolute directory for logs and state, or None: a temporary one.
        preload: Python modules that the zygote imports before it forks.
        env: Environment variables of every process.
        spares: Forked processes kept warm.
        lm, dspy, defaults: What children inherit, as plain data (already part of every launch spec of `tree`).
        shared: Specs of the runtime-wide parameters, by name: maps with type, default and constraints.
        tree: The root supervisor.
        base_dir: Absolute folder that relative paths start from.
        file: The YAML file, or None for a dict.
        given: What was said by whoever started it and not in the file: "name", "state_dir", "preload". A reload leaves that alone.
    """

    name: str = "runtime"
    state_dir: str | None = None
    preload: tuple[str, ...] = ("dspy",)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)  # variables and lm hold secrets
    spares: int = 4
    lm: Mapping[str, Any] | None = field(default=None, repr=False)
    dspy: Mapping[str, Any] = field(default_factory=dict, repr=False)
    defaults: Mapping[str, Any] = field(default_factory=dict, repr=False)
    shared: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tree: SupervisorSpec = field(default=SupervisorSpec(), repr=False)
    base_dir: str = "/"
    file: str | None = None
    given: tuple[str, ...] = ()
