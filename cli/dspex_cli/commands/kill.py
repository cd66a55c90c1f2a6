"""dspex kill: a signal to a process."""

from __future__ import annotations

import click

from dspex_cli import completing
from dspex_cli.each import for_each
from dspex_cli.group import command
from dspex_cli.options import Settings


@command("kill")
@click.argument("ids", metavar="ID...", nargs=-1, required=True, shell_complete=completing.ids)
@click.option(
    "-s",
    "--signal",
    default="KILL",
    show_default=True,
    metavar="NAME",
    help="KILL, TERM, INT, HUP, USR1, STOP, CONT, SEGV or a number.",
)
@click.pass_obj
def command_object(settings: Settings, ids: tuple[str, ...], signal: str) -> int:
    """Send a signal to children; counts as a crash."""
    name: str | int = int(signal) if signal.isdecimal() else signal.upper().removeprefix("SIG")
    return for_each(settings, ids, lambda runtime, child: runtime.kill(child, signal=name), f"sent {name} to")
