"""dspex stop: an end in order."""

from __future__ import annotations

import click

from dspex_cli import completing
from dspex_cli.each import for_each
from dspex_cli.group import command
from dspex_cli.options import DURATION, Settings


@command("stop")
@click.argument("ids", metavar="ID...", nargs=-1, required=True, shell_complete=completing.ids)
@click.option("--timeout", type=DURATION, metavar="DURATION", help="Wait this long for each; the stop itself goes on; exit 8.")
@click.pass_obj
def command_object(settings: Settings, ids: tuple[str, ...], timeout: float | None) -> int:
    """Stop children in order; start brings them back."""
    return for_each(settings, ids, lambda runtime, child: runtime.stop(child, timeout=timeout), "stopped")
