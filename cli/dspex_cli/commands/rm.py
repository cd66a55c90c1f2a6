"""dspex rm: stop and forget."""

from __future__ import annotations

import click

from dspex_cli import completing
from dspex_cli.each import for_each
from dspex_cli.group import command
from dspex_cli.options import Settings


@command("rm")
@click.argument("ids", metavar="ID...", nargs=-1, required=True, shell_complete=completing.ids)
@click.pass_obj
def command_object(settings: Settings, ids: tuple[str, ...]) -> int:
    """Stop children if they run, and forget them."""
    return for_each(settings, ids, lambda runtime, child: runtime.delete(child), "removed")
