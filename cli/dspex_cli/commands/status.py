"""dspex status: does it run?"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

import click

from dspex_cli import completing, link, wording
from dspex_cli.failures import NOT_RUNNING, OK
from dspex_cli.group import command
from dspex_cli.options import Settings
from dspex_cli.output import STATE_STYLES, Output, one_line, paint
from dspex_cli.plain import readable

RUNNING: Final = frozenset({"READY", "DEGRADED", "DRAINING", "SWAPPING"})  # there is a process, and it takes calls or parks them


@command("status")
@click.argument("ids", metavar="[ID]...", nargs=-1, shell_complete=completing.ids)
@click.pass_obj
def command_object(settings: Settings, ids: tuple[str, ...]) -> int:
    """Show whether things run; exit 3 when one does not.

    Without IDs: the runtime, and everything in it.
    """
    output = Output(settings)
    with link.runtime(settings) as runtime:
        about = {**runtime.status(), "alarms": [asdict(alarm) for alarm in runtime.alarms()]}
        asked = [runtime.info(id).as_dict() for id in ids] if ids else link.modules(runtime)
    if ids:
        output.result(asked, lambda: _children(output, asked))
    else:
        output.result({**about, "children": asked}, lambda: _everything(output, about, asked))
    return OK if all(child["state"] in RUNNING for child in asked) else NOT_RUNNING


def _everything(output: Output, about: dict[str, Any], children: list[dict[str, Any]]) -> None:
    ready = f"{about['ready']} of {wording.count(about['modules'], 'module')} ready"
    output.line(f"{paint(str(about['name']), 'bold')}  {about['state']}  pid {about['pid']}  {ready}  {about['socket']}")
    for alarm in about["alarms"]:
        text = "" if alarm["description"] is None else f"  {one_line(readable(alarm['description']))}"
        output.line(f"{paint('alarm', 'yellow')} {alarm['id']!r}{text}")
    _children(output, children)


def _children(output: Output, children: list[dict[str, Any]]) -> None:
    width = max((len(child["id"]) for child in children), default=0)
    for child in children:
        state = paint(f"{child['state']:9}", STATE_STYLES.get(child["state"], ""))
        if child["state"] in RUNNING:
            pid = f"pid {child['pid']}  " if child["pid"] else ""
            detail = f"{pid}up {wording.uptime(child['uptime_s'])}"
        else:
            detail = "" if child["last_exit"] is None else f"last exit: {one_line(wording.reason(child['last_exit']))}"
        output.line(f"{child['id']:{width}}  {state} {detail}".rstrip())
