"""dspex events: what happened, one line each."""

from __future__ import annotations

import click

from dspex_cli import link
from dspex_cli.events import event_line
from dspex_cli.group import command
from dspex_cli.options import Settings
from dspex_cli.output import Output


@command("events")
@click.option("-f", "--follow", is_flag=True, help="Go on printing what happens, until Ctrl-C.")
@click.option("--since", type=int, default=0, show_default=True, metavar="SEQ", help="Only events after this number.")
@click.option("--past", type=click.IntRange(min=1), metavar="N", help="The last N that are stored, of earlier runtimes, too.")
@click.pass_obj
def command_object(settings: Settings, follow: bool, since: int, past: int | None) -> None:
    """Print what happened in the tree.

    First what the runtime still remembers (the last 10 000 events), then, with -f, what happens.
    -o json prints one object per line, the first of which is a snapshot of all children.

    --past reads the store instead: what led to the end of a runtime that was killed.
    """
    if past is not None and (follow or since):
        raise click.UsageError("--past goes with neither --follow nor --since: the numbers of events begin anew in each runtime")
    output = Output(settings)
    with link.runtime(settings) as runtime:
        for event in runtime.past_events(past) if past is not None else ():
            output.item(event, lambda event=event: output.line(event_line(event)))  # type: ignore[misc]
        if past is not None:
            return
        for event in runtime.events(since=since, follow=follow):
            if event.get("type") != "snapshot":
                output.item(event, lambda event=event: output.line(event_line(event)))  # type: ignore[misc]
            elif output.structured:
                output.item(event, lambda: None)
