"""dspex ps: one row per child."""

from __future__ import annotations

from typing import Any

import click

from dspex_cli import link, wording
from dspex_cli.group import command
from dspex_cli.options import DURATION, Settings, pairs
from dspex_cli.output import Output, on_terminal

COLUMNS = ("ID", "KIND", "STATE", "PID", "UPTIME", "RESTARTS", "CALLS", "LAST EXIT")
MORE_COLUMNS = (*COLUMNS[:-1], "FAILURES", "VERSION", "METADATA", COLUMNS[-1])


@command("ps")
@click.option("-w", "--watch", is_flag=True, help="Print again at every interval until Ctrl-C.")
@click.option("--interval", type=DURATION, default=1.0, metavar="DURATION", help="Of --watch.  [default: 1s]")
@click.option("--where", multiple=True, metavar="KEY=VALUE", help="Only those with this metadata; may be repeated.")
@click.option("--version", metavar="VERSION", help="Only those of this version.")
@click.pass_obj
def command_object(settings: Settings, watch: bool, interval: float, where: tuple[str, ...], version: str | None) -> None:
    """List modules, servers and supervisors."""
    output = Output(settings)
    metadata = pairs(where)
    with link.runtime(settings) as runtime:
        if not watch:
            _once(output, link.modules(runtime, version, metadata))
            return
        import time

        while True:
            _again(output, link.modules(runtime, version, metadata))
            time.sleep(max(interval, 0.05))


def _once(output: Output, modules: list[dict[str, Any]]) -> None:
    output.result(modules, lambda: _table(output, modules))


def _again(output: Output, modules: list[dict[str, Any]]) -> None:
    if output.structured:
        output.item(modules, lambda: None)
        return
    if on_terminal():
        print("\x1b[H\x1b[2J", end="")
    _table(output, modules)
    if not on_terminal():
        output.line()


def _table(output: Output, modules: list[dict[str, Any]]) -> None:
    verbose = output.settings.verbose
    output.table(MORE_COLUMNS if verbose else COLUMNS, [row(module, verbose=verbose) for module in modules])


def row(module: dict[str, Any], *, verbose: bool = False) -> list[Any]:
    """Return the cells of one child, in the order of COLUMNS."""
    metrics = module.get("metrics") or {}
    start = [module["id"], module["kind"], module["state"], module["pid"], wording.uptime(module["uptime_s"]), module["restarts"]]
    more = [metrics.get("failures"), module["version"], _pairs(module["metadata"])] if verbose else []
    return [*start, metrics.get("calls"), *more, wording.reason(module["last_exit"])]


def _pairs(metadata: dict[str, Any]) -> str | None:
    return " ".join(f"{key}={value}" for key, value in metadata.items()) or None
