"""dspex down: the end of a runtime."""

from __future__ import annotations

import click

from dspex_cli import link
from dspex_cli.group import command
from dspex_cli.options import Settings
from dspex_cli.output import Output


@command("down")
@click.pass_obj
def command_object(settings: Settings) -> None:
    """Stop a runtime and everything in it, in order.

    Returns when the tree is stopped; children are stopped in reverse start order, each within its own shutdown time-out.
    """
    output = Output(settings)
    with link.runtime(settings) as runtime:
        about = runtime.status()
        runtime.shutdown()
    output.result({"name": about["name"], "stopped": True}, lambda: output.say(f"{about['name']} is stopped"))
