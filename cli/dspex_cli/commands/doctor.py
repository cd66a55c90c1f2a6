"""dspex doctor: what the machine allows."""

from __future__ import annotations

from typing import Any

import click

from dspex_cli import wording
from dspex_cli.failures import ERROR, OK
from dspex_cli.group import command
from dspex_cli.options import Settings
from dspex_cli.output import Output, one_line, paint

IN_BYTES = frozenset({"memory", "dev_shm"})


@command("doctor")
@click.pass_obj
def command_object(settings: Settings) -> int:
    """Check what this machine allows: processes, descriptors, memory, kernel features.

    Needs no runtime. Exit 1 when something that is needed is missing.
    """
    from dspex_runtime.osproc.limits import probe

    output = Output(settings)
    found: dict[str, dict[str, Any]] = {name: dict(check) for name, check in probe().items()}
    output.result(found, lambda: _show(output, found))
    return OK if all(check.get("ok") for check in found.values()) else ERROR


def _show(output: Output, found: dict[str, dict[str, Any]]) -> None:
    width = max(len(name) for name in found)
    for name, check in found.items():
        mark = paint("ok  ", "green") if check.get("ok") else paint("FAIL", "bold red")
        value, needed = check.get("value"), check.get("needed")
        more = f"  (needed: {_readable(name, needed)})" if needed and needed != value else ""
        output.line(f"{mark} {name:{width}}  {_readable(name, value)}{more}")
        if check.get("advice") and not check.get("ok"):
            output.line(f"     {'':{width}}  {check['advice']}")


def _readable(name: str, value: Any) -> str:
    return wording.size(value) if name in IN_BYTES and isinstance(value, int) else one_line(value)
