"""dspex rollback: a version that has served serves again."""

from __future__ import annotations

import click

from dspex_cli import completing, link
from dspex_cli.group import command
from dspex_cli.options import DURATION, Settings
from dspex_cli.output import Output, interruptible
from dspex_cli.swaps import Shown, show


@command("rollback")
@click.argument("id", shell_complete=completing.ids)
@click.argument("version", required=False, shell_complete=completing.versions)
@click.option("--drain", type=DURATION, metavar="DURATION", help="That running calls have to finish; by default the module's own.")
@click.option("--timeout", type=DURATION, default=30.0, metavar="DURATION", help="For all of it; exit 8.  [default: 30s]")
@click.pass_obj
def command_object(settings: Settings, id: str, version: str | None, drain: float | None, timeout: float) -> None:
    """Swap a module back to a version that has served.

    VERSION is a number that `dspex versions` shows, or the text of a version; by default the one before. It is the code of then,
    whatever the file has become; the state is kept, and migrated down where the class has a code_change.
    """
    output = Output(settings)
    which = int(version) if version is not None and version.isdecimal() else version
    shown = Shown(output, id)
    with link.runtime(settings) as runtime, interruptible(shown.left, quiet=settings.quiet):
        result = runtime.rollback(id, which, drain=drain, timeout=timeout, on_progress=shown.event)
    show(output, result)
