"""dspex wait: until it is so."""

from __future__ import annotations

import click

from dspex_cli import completing, link
from dspex_cli.group import command
from dspex_cli.options import DURATION, Settings
from dspex_cli.output import Output

STATES = ("ready", "degraded", "backoff", "draining", "stopped", "exited", "failed")


@command("wait")
@click.argument("ids", metavar="ID...", nargs=-1, required=True, shell_complete=completing.ids)
@click.option(
    "--for", "state", type=click.Choice(STATES, case_sensitive=False), default="ready", show_default=True, help="State to wait for."
)
@click.option("--timeout", type=DURATION, default="30s", show_default=True, metavar="DURATION", help="Give up after this; exit 8.")
@click.pass_obj
def command_object(settings: Settings, ids: tuple[str, ...], state: str, timeout: float) -> None:
    """Wait until children are in a state; exit 8 after the time-out."""
    output = Output(settings)
    with link.runtime(settings) as runtime:
        runtime.wait(list(ids), state=state.lower(), timeout=timeout)
    result = [{"id": id, "state": state.upper()} for id in ids]
    output.result(result, lambda: output.say(f"{', '.join(ids)}: {state.upper()}"))
