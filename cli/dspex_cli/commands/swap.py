"""dspex swap: another version of a module takes the place of the one that runs; how it goes, and what it came to."""

from __future__ import annotations

import os
import shlex
import sys
from typing import TYPE_CHECKING, Any

import click

from dspex_cli import completing, link
from dspex_cli.commands.start import absolute, is_target
from dspex_cli.failures import NOT_RUNNING, OK
from dspex_cli.group import command
from dspex_cli.options import DURATION, Settings, assignments
from dspex_cli.output import Output, interruptible
from dspex_cli.swaps import Shown, show, under_way

if TYPE_CHECKING:
    import dspex_runtime as dx


@command("swap")
@click.argument("id", shell_complete=completing.ids)
@click.argument("words", metavar="[K=V]...", nargs=-1)
@click.option("--to", metavar="TARGET", help="The new version; by default the same target, with the code that is on the disk now.")
@click.option("--version", metavar="VERSION", help="Of the new version, as ps shows it; by default its class says.")
@click.option("--migrate", metavar="FILE.py:FN", help="A function of (old_version, state, extra) that makes the new state.")
@click.option(
    "--verify", metavar="METHOD|FILE.py:FN", help="A method of the new version, or a function of it, that approves of it."
)
@click.option("--verify-command", metavar="COMMAND", help="A command that approves of it, with exit status 0.")
@click.option("--drain", type=DURATION, metavar="DURATION", help="That running calls have to finish; by default the module's own.")
@click.option("--timeout", type=DURATION, default=30.0, metavar="DURATION", help="For all of it; exit 8.  [default: 30s]")
@click.option("--why", metavar="TEXT", help="What `dspex versions` says of it.")
@click.option("--abort", is_flag=True, help="Give up the swap that is under way; exit 3 when there is none.")
@click.option("--status", is_flag=True, help="Show the swap that is under way; exit 3 when there is none.")
@click.pass_obj
def command_object(
    settings: Settings, /, id: str, words: tuple[str, ...], abort: bool, status: bool, verify_command: str | None, **options: Any
) -> int:
    """Replace a running module by another version, without losing a call.

    The new version starts beside the old one, takes over its state and is verified; then it serves, and the old one ends. Whatever
    fails before that, and Ctrl-C, leaves the old one serving as it was. TARGET is "pkg.mod:Name", "file.py:Name" or the directory
    of a saved program. K=V are all the constructor arguments of the new version; without any they stay as they were.
    """
    output = Output(settings)
    if abort or status:
        said = words or verify_command or any(value is not None for name, value in options.items() if name != "timeout")
        if said or (abort and status):
            raise click.UsageError("--abort and --status stand alone: they are about the swap that is under way")
        with link.runtime(settings) as runtime:
            return _abort(runtime, output, id) if abort else _status(runtime, output, id)
    arguments = assignments(words)
    if arguments:
        options["kwargs"] = arguments
    options["verify"] = _verify(options["verify"], verify_command)
    options["to"] = _target(options["to"])
    shown = Shown(output, id)
    sys.path.insert(0, os.getcwd())  # as `python -m` has it: pkg.mod of where the user stands
    with link.runtime(settings) as runtime, interruptible(shown.left, quiet=settings.quiet):
        result = runtime.swap(id, on_progress=shown.event, **options)
    show(output, result)
    return OK


def _target(word: str | None) -> str | None:
    if word is None:
        return None
    if not is_target(word):
        raise click.UsageError(f'--to is "pkg.mod:Name", "file.py:Name" or the directory of a saved program; got {word!r}')
    return absolute(word)


def _verify(word: str | None, line: str | None) -> str | list[str] | None:
    if word is not None and line is not None:
        raise click.UsageError("either --verify or --verify-command")
    if line is None:
        return word
    try:
        words = shlex.split(line)
    except ValueError as exc:
        raise click.UsageError(f"--verify-command: {str(exc).lower()} in {line!r}") from None
    if not words:
        raise click.UsageError("--verify-command is a command and its arguments; it is empty")
    return words


def _abort(runtime: dx.Runtime, output: Output, id: str) -> int:
    aborted = runtime.abort_swap(id)
    text = f"aborted the swap of {id}; it serves on as it was" if aborted else f"no swap of {id} is under way"
    output.result({"id": id, "aborted": aborted}, lambda: output.say(text))
    return OK if aborted else NOT_RUNNING


def _status(runtime: dx.Runtime, output: Output, id: str) -> int:
    info = runtime.info(id)
    told = f"{info.id}: {under_way(info.swap)}" if info.swap else f"no swap of {info.id} is under way"
    output.result({"id": info.id, "swap": info.swap}, lambda: output.line(told))
    return OK if info.swap else NOT_RUNNING
