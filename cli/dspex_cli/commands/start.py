"""dspex start: a new child, or an old one again."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from dspex_cli import completing, link
from dspex_cli.group import command
from dspex_cli.options import Settings, assignments
from dspex_cli.output import Output


@command("start")
@click.argument("target", metavar="TARGET|ID", shell_complete=completing.ids)
@click.argument("words", metavar="[K=V]...", nargs=-1)
@click.option("--id", "name", metavar="ID", help="Id of the new child; made from the class's name when left out.")
@click.option(
    "--supervisor",
    metavar="ID",
    help="Supervisor to start it under; by default it gets one of its own.",
    shell_complete=completing.ids,
)
@click.option(
    "--restart", type=click.Choice(["permanent", "transient", "temporary"]), help="When it is started again after it ended."
)
@click.option(
    "--load", metavar="FILE", type=click.Path(exists=True, dir_okay=False), help="Saved state (.json) that a module begins with."
)
@click.pass_obj
def command_object(
    settings: Settings,
    target: str,
    words: tuple[str, ...],
    name: str | None,
    supervisor: str | None,
    restart: str | None,
    load: str | None,
) -> None:
    """Start a new child from a class, or a stopped one by its id.

    TARGET is "pkg.mod:Name", "file.py:Name" or the directory of a saved program; K=V are constructor arguments
    (a GenServer's: init's).
    An ID is one that `dspex ps` shows as STOPPED, EXITED or FAILED.
    """
    output = Output(settings)
    arguments = assignments(words)
    options: dict[str, Any] = {
        key: value
        for key, value in (("id", name), ("supervisor", supervisor), ("restart", restart), ("load", load))
        if value is not None
    }
    with link.runtime(settings) as runtime:
        if is_target(target):
            if arguments:
                options["kwargs"] = arguments
            sys.path.insert(0, os.getcwd())  # as `python -m` has it: pkg.mod of where the user stands
            started = runtime.start(absolute(target), **options)
        else:
            if arguments or options:
                raise click.UsageError(
                    f"{target!r} is an id: what it is made of is known already, so no options or arguments go with it"
                )
            started = runtime.start(target)
        if started == "undefined" and name is None and is_target(target):
            output.result({"id": None, "state": None}, lambda: output.say(f"{target} asked not to be started (Ignore)"))
            return
        info = _info(runtime, started, name or target)
    output.result(info, lambda: output.say(f"{info['id']} is {info['state']}" + (f", pid {info['pid']}" if info["pid"] else "")))


def is_target(word: str) -> bool:
    """Return whether a word names code, not a child: it has a colon, or is a directory written as a path."""
    return ":" in word or (os.sep in word and os.path.isdir(word)) or word in (".", "..")


def absolute(target: str) -> str:
    """Return the target with its file or directory made absolute: the runtime lives in another directory."""
    path, colon, name = target.rpartition(":")
    if not colon:
        return os.path.abspath(target)
    return f"{os.path.abspath(path)}:{name}" if path.endswith(".py") else target


def _info(runtime: Any, started: Any, asked: str) -> dict[str, Any]:
    reference = getattr(started, "dx", started)  # a ModuleProxy has everything of ours on .dx
    id = getattr(reference, "id", None)
    found: dict[str, Any] = runtime.info(id if isinstance(id, str) else asked).as_dict()
    return found
