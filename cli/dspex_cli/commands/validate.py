"""dspex validate: every mistake of a file at once."""

from __future__ import annotations

import click

from dspex_cli import trees, wording
from dspex_cli.group import command
from dspex_cli.options import Settings
from dspex_cli.output import Output, paint


@command("validate")
@click.argument("file", type=click.Path())
@click.pass_obj
def command_object(settings: Settings, file: str) -> None:
    """Check a YAML file and list every mistake at once.

    Each mistake has its file, line and column. Nothing is started and no code of yours is imported. Exit 2 when something is wrong.
    """
    output = Output(settings)
    checked = trees.check(file)
    children = sum(1 for _ in trees.walk(checked.spec.tree))
    result = {
        "file": file,
        "valid": True,
        "problems": [],
        "warnings": list(checked.warnings),
        "name": checked.spec.name,
        "children": children,
    }

    def show() -> None:
        for warning in checked.warnings:
            output.line(f"{paint('warning', 'yellow')}: {warning}")
        found = f", {wording.count(len(checked.warnings), 'warning')}" if checked.warnings else ""
        output.say(f"{file}: ok, {'1 child' if children == 1 else f'{children} children'}{found}")

    output.result(result, show)
