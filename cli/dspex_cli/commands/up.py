"""dspex up: start a tree and stay with it, or leave it in the background."""

from __future__ import annotations

import os

import click

from dspex_cli import link, trees
from dspex_cli.foreground import Foreground, Terminated
from dspex_cli.group import command
from dspex_cli.options import Settings
from dspex_cli.output import Output
from dspex_cli.progress import Progress


@command("up")
@click.argument("file", type=click.Path())
@click.option("-d", "--detach", is_flag=True, help="Return when the tree is ready, and leave it running.")
@click.option("--fresh", is_flag=True, help="Forget parameters, history and checkpoints of an earlier run.")
@click.option("--watch", is_flag=True, help="Swap modules whose source is edited, and reload when FILE is.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Check the file and print the start order, what starts side by side in the same step; start nothing.",
)
@click.pass_obj
def command_object(settings: Settings, file: str, detach: bool, fresh: bool, watch: bool, dry_run: bool) -> int:
    """Start the tree of a YAML file, in the foreground or with -d in the background.

    In the foreground it prints what happens until Ctrl-C, which stops the tree in order; a second Ctrl-C kills it.
    SIGTERM stops it in order, too, also while it starts. Exit 1 when a child cannot be started or the root supervisor gives up,
    0 when the root supervisor shuts itself down (auto_shutdown). --runtime NAME replaces the name in the file. What the tree's
    modules had learnt when it ran last (parameters, checkpoints) is taken up again, but with --fresh. With --watch an edit of a
    module's code, helper modules included, swaps it without losing a call; one that does not work is shown, and what ran runs on.
    """
    if watch and detach:
        raise click.UsageError(
            "--watch stays in the foreground: leave out -d; in the background `dspex reload` swaps what was edited"
        )
    output = Output(settings)
    checked = trees.check(file)
    if dry_run:
        order = trees.start_order(checked.spec.tree)
        output.result(order, lambda: output.table(trees.COLUMNS, [trees.row(child) for child in order], styled=None))
        return 0
    for warning in checked.warnings:
        output.say(f"warning: {warning}")
    try:
        with Progress(output) as progress:
            runtime = link.boot(file, detach=detach, name=settings.runtime, fresh=fresh, on_progress=progress.event)
    except Terminated:
        return 0
    if not detach:
        return Foreground(output, runtime, progress.seconds, os.path.abspath(file) if watch else None).run()
    about = runtime.status()
    runtime.close()
    shown = {key: about[key] for key in ("name", "socket", "pid", "state_dir")}
    output.result(shown, lambda: output.line(f"{about['name']}  {about['socket']}"))
    return 0
