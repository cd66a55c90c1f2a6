"""LaunchSpec as a plain map and back: what the parent sends to the process that is to become the module."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Final

from dspex_runtime.core.child_spec import Checkpoint, LaunchSpec, Limits, Liveness, Readiness
from dspex_runtime.types import Durability, Kind

_NAMES: Final = tuple(field.name for field in fields(LaunchSpec))
_NESTED: Final = {
    name: tuple(field.name for field in fields(cls))
    for name, cls in (("limits", Limits), ("liveness", Liveness), ("readiness", Readiness), ("checkpoint", Checkpoint))
}


def to_map(launch: LaunchSpec) -> dict[str, Any]:
    """Return a map of plain values, to be packed; `from_map` is its inverse. Nothing is copied: asdict takes ten times as long."""
    data = {name: getattr(launch, name) for name in _NAMES}
    data["kind"] = launch.kind.value
    data["durability"] = launch.durability.value
    for name, names in _NESTED.items():
        value = data[name]
        if value is not None:
            data[name] = {inner: getattr(value, inner) for inner in names}
    return data


def from_map(data: dict[str, Any]) -> LaunchSpec:
    """Rebuild the spec that `to_map` wrote."""
    values = dict(data)
    values["kind"] = Kind(values["kind"])
    values["args"] = tuple(values["args"])
    values["sys_path"] = tuple(values["sys_path"])
    values["limits"] = Limits(**values["limits"])
    values["liveness"] = Liveness(**values["liveness"]) if values["liveness"] else None
    values["readiness"] = Readiness(**values["readiness"]) if values["readiness"] else None
    values["durability"] = Durability(values["durability"])
    values["checkpoint"] = Checkpoint(**values["checkpoint"]) if values["checkpoint"] else None
    return LaunchSpec(**values)
