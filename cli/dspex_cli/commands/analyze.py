"""dspex analyze: what a start of the tree has waited for."""

from __future__ import annotations

from typing import Any, Final

import click

from dspex_cli import link, wording
from dspex_cli.group import command
from dspex_cli.options import Settings
from dspex_cli.output import Output

COLUMNS: Final = ("ID", "BEGAN AT", "TOOK", "READY AT", "WAITED FOR")


@command("analyze")
@click.option("--all", "-a", "everyone", is_flag=True, help="Show all children, in the order of their starts.")
@click.pass_obj
def command_object(settings: Settings, everyone: bool) -> None:
    """Show which children made the latest start of the tree take as long as it did.

    Each waited for the one above it: for a dependency, for the sibling before it, or for its supervisor. Times count from the
    root's.
    """
    output = Output(settings)
    with link.runtime(settings) as runtime:
        found = runtime.analyze()
    output.result(found, lambda: show(output, found, everyone=everyone))


def show(output: Output, found: dict[str, Any], *, everyone: bool) -> None:
    """Print what `rt.analyze()` returns."""
    output.line(f"started in {wording.duration(found['seconds'])}" if found["seconds"] is not None else "nothing has started yet")
    rows = [row(each) for each in found["children" if everyone else "chain"]]
    if rows:
        output.table(COLUMNS, rows, styled=None)


def row(each: dict[str, Any]) -> list[Any]:
    """Return one child as cells."""
    waited_for = f"{each['waited_for']} ({each['why']})" if each["waited_for"] else None
    times = (wording.duration(each["started"]), wording.duration(each["seconds"]), wording.duration(each["ready"]))
    return [each["id"], *times, waited_for]
