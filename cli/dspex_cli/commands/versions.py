"""dspex versions: what has served under an id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from dspex_cli import completing, link
from dspex_cli.commands.param import when
from dspex_cli.group import command
from dspex_cli.options import Settings
from dspex_cli.output import Output

if TYPE_CHECKING:
    import dspex_runtime as dx

COLUMNS: Final = ("NUMBER", "VERSION", "TARGET", "SOURCE", "WHEN", "WHY", "CURRENT")
FACTS: Final = ("number", "version", "target", "args", "source_hash", "when", "why", "current")
HASH_CHARS: Final = 12  # of the source hash in the table


@command("versions")
@click.argument("id", shell_complete=completing.ids)
@click.pass_obj
def command_object(settings: Settings, id: str) -> None:
    """List the versions of a module that have served, newest first.

    SOURCE is the beginning of a hash of the code; -o json has all of it, and the arguments. `dspex rollback` goes back to one.
    """
    output = Output(settings)
    with link.runtime(settings) as runtime:
        found = known(runtime, id)
    output.result(found, lambda: output.table(COLUMNS, [row(each) for each in found], styled=None))


def known(runtime: dx.Runtime, id: str) -> list[dict[str, Any]]:
    """Return the versions as maps."""
    return [{name: getattr(info, name) for name in FACTS} for info in runtime.versions(id)]


def row(each: dict[str, Any]) -> list[Any]:
    """Return one as cells."""
    short = each["source_hash"][:HASH_CHARS] if each["source_hash"] else None
    facts = (each["number"], each["version"], each["target"], short, when(each["when"]), each["why"])
    return [*facts, "*" if each["current"] else ""]
