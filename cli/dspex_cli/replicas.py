"""Replicas as people read them: under their group, as the runtime's tree has them side by side. Never asks anybody."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["grouped"]


def grouped(children: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the children of a supervisor with those of a group below one that stands for it, where the first of them was."""
    found: dict[str, list[dict[str, Any]]] = {}  # what belongs together, in the order in which the first of each came
    for child in children:
        group = child.get("group")
        found.setdefault(child["id"] if group is None else f"{group}#", []).append(child)
    return [each[0] if each[0].get("group") is None else _as_one(each[0]["group"], each) for each in found.values()]


def _as_one(group: str, members: list[dict[str, Any]]) -> dict[str, Any]:
    from dspex_runtime.core.replicas import group_state
    from dspex_runtime.types import State

    ids = [member["id"] for member in members]
    return {
        "id": group,
        "kind": members[0]["kind"],
        "state": group_state([State(member["state"]) for member in members]).value,
        "replicas": ids,
        "children": [_alone(each) for each in members],
    }


def _alone(member: dict[str, Any]) -> dict[str, Any]:
    return {**member, "group": None}
