"""A YAML tree before it runs: checked, and in the order it would start. Starts nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dspex_runtime.config.runtime_spec import RuntimeSpec
    from dspex_runtime.core.child_spec import ChildSpec, SupervisorSpec


@dataclass(frozen=True, slots=True)
class Checked:
    """A valid file: what it means, and what is legal but probably not meant."""

    spec: RuntimeSpec
    warnings: tuple[str, ...]


def check(file: str) -> Checked:
    """Read a YAML file and return it checked.

    Raises:
        ConfigError: Something is wrong; `problems` lists all of it, each with file, line and column.
    """
    from dspex_runtime.config import inspect, normalize, parse

    report = inspect(file)
    # Read again only to raise: the text of the error is the configuration layer's own.
    return Checked(parse(normalize(file) if report.problems else report.config), report.warnings)


def walk(tree: SupervisorSpec, path: str = "") -> Iterator[tuple[str, ChildSpec]]:
    """Yield (full id, spec) of every child in the order they are started; a supervisor comes before its children."""
    for child in tree.children:
        full_id = f"{path}/{child.id}" if path else str(child.id)
        yield full_id, child
        if child.supervisor is not None:
            yield from walk(child.supervisor, full_id)


def start_order(tree: SupervisorSpec) -> list[dict[str, Any]]:
    """Return what `up --dry-run` prints."""
    return [
        {
            "id": full_id,
            "kind": str(child.kind),
            "target": child.launch.target if child.launch is not None else None,
            "strategy": str(child.supervisor.strategy) if child.supervisor is not None else None,
            "restart": str(child.restart),
        }
        for full_id, child in walk(tree)
    ]
