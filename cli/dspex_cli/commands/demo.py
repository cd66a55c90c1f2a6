"""dspex demo: the quickstart, narrated."""

from __future__ import annotations

import os
import sys

import click

from dspex_cli.failures import ERROR, OK
from dspex_cli.group import command
from dspex_cli.options import Settings
from dspex_cli.output import Output, paint


@command("demo")
@click.option(
    "--config", type=click.Path(exists=True, dir_okay=False), metavar="FILE", help="Another copy of configs/quickstart.yaml."
)
@click.pass_obj
def command_object(settings: Settings, config: str | None) -> int:
    """Run the quickstart, kill a module in the middle of a question, and show what happens.

    Needs no key and no network, and leaves nothing behind. Exit 1 when something it promises does not happen.
    """
    from pathlib import Path

    from dspex_cli.demo import locate, story
    from dspex_cli.demo.narrator import Narrator, StepFailed

    output = Output(settings)
    path = Path(config) if config else locate.quickstart()
    locate.check_libraries()
    narrator = Narrator(output)
    try:
        found = story.tell(path, narrator, settings.runtime or f"demo-{os.getpid()}")
    except StepFailed as exc:
        if output.structured:
            raise click.ClickException(str(exc)) from exc
        print(f"   {paint('✗', 'bold red')} {exc}", file=sys.stderr, flush=True)
        return ERROR
    narrator.line()
    narrator.line(paint(f"All {narrator.checks} checks hold.", "green"))
    output.result(found, lambda: None)
    return OK
