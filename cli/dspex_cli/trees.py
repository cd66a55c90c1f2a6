"""A YAML tree before it runs: checked, and in the order it would start. Starts nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from dspex_runtime.config.runtime_spec import RuntimeSpec
    from dspex_runtime.core.child_spec import ChildSpec, SupervisorSpec

COLUMNS: Final = ("STEP", "ID", "KIND", "RESTART", "STRATEGY", "DEPENDS ON", "TARGET")


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
    from dspex_runtime.core.dependency_order import walk

    return walk(tree, path)


def start_order(tree: SupervisorSpec) -> list[dict[str, Any]]:
    """Return what `up --dry-run` prints; children of the same step are started side by side."""
    steps = dict(_steps(tree))
    return [
        {
            "id": full_id,
            "kind": str(child.kind),
            "target": child.launch.target if child.launch is not None else None,
            "strategy": str(child.supervisor.strategy) if child.supervisor is not None else None,
            "restart": str(child.restart),
            "step": steps[full_id],
            "depends_on": {id: str(edge.on_down) for id, edge in child.depends_on.items()},
        }
        for full_id, child in walk(tree)
    ]


def row(child: dict[str, Any]) -> list[Any]:
    """Return the cells of one child of `start_order`."""
    needs = ", ".join(id if on_down == "wait" else f"{id} ({on_down})" for id, on_down in child["depends_on"].items())
    return [child["step"], child["id"], child["kind"], child["restart"], child["strategy"], needs or None, child["target"]]


def _steps(tree: SupervisorSpec, path: str = "", above: str = "") -> Iterator[tuple[str, str]]:
    """Yield (full id, "2.1") of every child: one after the other; with dependencies each when what it needs is up."""
    from dspex_runtime.core.names import full_id

    one_by_one = not any(child.after for child in tree.children)
    reached: dict[str, int] = {}
    for number, child in enumerate(tree.children, 1):
        reached[child.id] = number if one_by_one else 1 + max((reached.get(id, 0) for id in child.after), default=0)
        id, step = full_id(path, child.id), f"{above}{reached[child.id]}"
        yield id, step
        if child.supervisor is not None:
            yield from _steps(child.supervisor, id, f"{step}.")
