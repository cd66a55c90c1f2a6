"""dspex scale: how many replicas a group has."""

from __future__ import annotations

import re
from functools import partial
from typing import Final

import click

from dspex_cli import completing, link
from dspex_cli.group import command
from dspex_cli.options import Settings
from dspex_cli.output import Output

_WANTED: Final = re.compile(r"(?P<id>[^=]+)=(?P<n>[0-9]+)")


@command("scale")
@click.argument("wanted", metavar="ID=N...", nargs=-1, required=True, shell_complete=completing.ids)
@click.pass_obj
def command_object(settings: Settings, wanted: tuple[str, ...]) -> None:
    """Make a group of replicas larger or smaller; a child that is alone becomes one.

    The next numbers are added; the highest are drained, stopped and forgotten. N may be 0.
    """
    output = Output(settings)
    asked = [_asked(word) for word in wanted]
    with link.runtime(settings) as runtime:
        for id, n in asked:
            replicas = runtime.scale(id, n)
            output.item({"id": id, "replicas": replicas}, partial(output.say, _told(id, replicas)))


def _asked(word: str) -> tuple[str, int]:
    found = _WANTED.fullmatch(word)
    if found is None:
        raise click.UsageError(f"{word!r} is no ID=N: write the id of a group and how many replicas it is to have, qa=3")
    return found["id"], int(found["n"])


def _told(id: str, replicas: list[str]) -> str:
    there = ", ".join(each.rpartition("/")[2] for each in replicas)
    return f"{id} has {len(replicas)} replica{'' if len(replicas) == 1 else 's'}{f': {there}' if there else ''}"
