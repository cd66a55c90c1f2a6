"""LaunchSpec as a plain map and back: what the parent sends to the process that is to become the module."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from dspex_runtime.core.child_spec import LaunchSpec, Limits, Liveness, Readiness
from dspex_runtime.types import Kind


def to_map(launch: LaunchSpec) -> dict[str, Any]:
    """Return a map of plain values; `from_map` is its inverse."""
    data = asdict(launch)
    data["kind"] = launch.kind.value
    return data


def from_map(data: dict[str, Any]) -> LaunchSpec:
    """Rebuild the spec that `to_map` wrote."""
    fields = dict(data)
    fields["kind"] = Kind(fields["kind"])
    fields["args"] = tuple(fields["args"])
    fields["sys_path"] = tuple(fields["sys_path"])
    fields["limits"] = Limits(**fields["limits"])
    fields["liveness"] = Liveness(**fields["liveness"]) if fields["liveness"] else None
    fields["readiness"] = Readiness(**fields["readiness"]) if fields["readiness"] else None
    return LaunchSpec(**fields)
