"""dspex logs: the output of modules."""

from __future__ import annotations

import queue
import re
import sys
import threading
from typing import TYPE_CHECKING

import click

from dspex_cli import completing, link
from dspex_cli.group import command
from dspex_cli.options import Settings
from dspex_cli.output import Output, paint, visible

if TYPE_CHECKING:
    import dspex_runtime as dx

_COLOUR = re.compile(r"(\x1b\[[0-9;]*m)")
COLOURS = ("cyan", "yellow", "green", "red")


@command("logs")
@click.argument("ids", metavar="[ID]...", nargs=-1, shell_complete=completing.ids)
@click.option("-f", "--follow", is_flag=True, help="Go on printing what is written, until Ctrl-C or the runtime's end.")
@click.option(
    "-n", "--lines", type=click.IntRange(min=0), default=100, show_default=True, help="How many of the newest lines of each."
)
@click.pass_obj
def command_object(settings: Settings, ids: tuple[str, ...], follow: bool, lines: int) -> None:
    """Print what modules wrote to stdout and stderr.

    Without IDs: of all of them. The lines of several are preceded by their id. Of a child that is forgotten (one of a dynamic
    supervisor, say) the log can be read for a while by its full id. On a terminal control characters other than colours are shown
    escaped.
    """
    output = Output(settings)
    with link.runtime(settings) as runtime:
        supervisors = [id for id in ids if _kind(runtime, id) == "supervisor"]
        if supervisors:
            raise click.UsageError(f"{supervisors[0]!r} is a supervisor and writes no log; its children do")
        wanted = [one for id in ids for one in _replicas(runtime, id)]
        wanted = wanted or [info.id for info in runtime.modules() if str(info.kind) != "supervisor"]
        if follow and len(wanted) > 1:
            _follow_all(output, runtime, wanted, lines)
        else:
            for place, id in enumerate(wanted):
                for line in runtime.logs(id, n=lines, follow=follow):
                    _print(output, id, line, wanted, place)


def _kind(runtime: dx.Runtime, id: str) -> str | None:
    from dspex_runtime.errors import NoProcessError

    try:
        return str(runtime.info(id).kind)
    except NoProcessError:
        return None  # its log may be there all the same, and the runtime says so if it is not


def _replicas(runtime: dx.Runtime, id: str) -> list[str]:
    """Return the ids of whoever writes a log: of a group its replicas."""
    from dspex_runtime.errors import NoProcessError

    try:
        replicas = runtime.info(id).replicas
    except NoProcessError:  # as above
        return [id]
    return [id] if replicas is None else replicas


def _follow_all(output: Output, runtime: dx.Runtime, ids: list[str], lines: int) -> None:
    """Merge the logs as they grow: one thread each reads, this one prints, until the runtime ends. The threads are daemons."""
    merged: queue.SimpleQueue[tuple[int, str | BaseException | None]] = queue.SimpleQueue()

    def read(place: int, id: str) -> None:
        try:
            for line in runtime.logs(id, n=lines, follow=True):
                merged.put((place, line))
            merged.put((place, None))
        except BaseException as exc:
            merged.put((place, exc))

    for place, id in enumerate(ids):
        threading.Thread(target=read, args=(place, id), name=f"logs-{id}", daemon=True).start()
    reading = len(ids)
    while reading:
        place, line = merged.get()
        if line is None:
            reading -= 1
            continue
        if isinstance(line, BaseException):
            raise line
        _print(output, ids[place], line, ids, place)


def coloured(text: str) -> str:
    """Return a line for a terminal: its colours stay, other control characters are escaped."""
    parts = _COLOUR.split(text)  # text and colours in turn
    return "".join(part if place % 2 else visible(part) for place, part in enumerate(parts))


def _print(output: Output, id: str, line: str, ids: list[str], place: int) -> None:
    text = line.rstrip("\n")
    if not output.structured and sys.stdout.isatty():
        text = coloured(text)
    if output.structured:
        output.item({"id": id, "line": text}, lambda: None)
        return
    width = max(len(name) for name in ids)
    prefix = paint(f"{id:{width}} | ", COLOURS[place % len(COLOURS)]) if len(ids) > 1 else ""
    output.line(prefix + text)
