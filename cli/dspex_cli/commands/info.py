"""dspex info: everything about one child."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from dspex_cli import completing, link, wording
from dspex_cli.group import command
from dspex_cli.options import Settings
from dspex_cli.output import STATE_STYLES, Output, paint
from dspex_cli.swaps import under_way


@command("info")
@click.argument("id", shell_complete=completing.ids)
@click.pass_obj
def command_object(settings: Settings, id: str) -> None:
    """Show everything known about one child."""
    output = Output(settings)
    with link.runtime(settings) as runtime:
        info = {**runtime.info(id).as_dict(), "keys": [] if id == "root" else runtime.keys(id)}
    output.result(info, lambda: _show(output, info))


def _show(output: Output, info: dict[str, Any]) -> None:
    started = None
    if info["started_at"] is not None:
        import datetime

        started = datetime.datetime.fromtimestamp(info["started_at"]).astimezone().isoformat(sep=" ", timespec="seconds")
    output.fields(
        [
            ("id", info["id"]),
            ("kind", info["kind"]),
            ("state", paint(info["state"], STATE_STYLES.get(info["state"], ""))),
            ("pid", info["pid"]),
            ("incarnation", info["incarnation"]),
            ("restarts", info["restarts"]),
            ("started", started),
            ("uptime", None if info["uptime_s"] is None else wording.uptime(info["uptime_s"])),
            *_supervising(info["supervisor"]),
            ("group", info["group"]),
            ("replicas", None if info["replicas"] is None else ", ".join(info["replicas"]) or "none"),
            ("parameters", info["params"]),
            ("needs", _needs(info["depends_on"])),
            ("needed by", ", ".join(info["needed_by"]) or None),
            ("version", info["version"]),
            ("metadata", _lines(info["metadata"])),
            ("keys", ", ".join(map(repr, info["keys"])) or None),
            ("metrics", _lines(info["metrics"])),
            ("checkpoint", _checkpoint(info["checkpoint"])),
            ("swap", under_way(info["swap"])),
            ("last exit", None if info["last_exit"] is None else wording.reason(info["last_exit"])),
            ("traceback", _traceback(info["last_exit"])),
        ]
    )


def _supervising(supervisor: dict[str, Any] | None) -> Iterator[tuple[str, Any]]:
    if supervisor is None:
        return
    yield "strategy", f"{supervisor['strategy']}, dynamic" if supervisor["dynamic"] else supervisor["strategy"]
    yield "budget", wording.budget(supervisor)
    yield "auto_shutdown", supervisor["auto_shutdown"]
    yield "children", wording.population(supervisor)


def _needs(depends_on: dict[str, dict[str, Any]]) -> str | None:
    lines = []
    for id, edge in depends_on.items():
        how = f"{edge['on_down']} ({edge['fallback']})" if edge["fallback"] else edge["on_down"]
        state = edge["state"] or "not there"
        lines.append(f"{id}, {how}: {paint(state, STATE_STYLES.get(state, ''))}")
    return "\n".join(lines) or None


def _lines(values: dict[str, Any]) -> str | None:
    return "\n".join(f"{key} = {_figure(value)}" for key, value in values.items()) or None


def _checkpoint(newest: dict[str, Any] | None) -> str | None:
    if newest is None:
        return None
    import time

    return f"{newest['number']}, {wording.uptime(max(0.0, time.time() - newest['created_at']))} old, {newest['kind']}"


def _figure(value: Any) -> Any:
    return f"{value:.3g}" if isinstance(value, float) else value


def _traceback(reason: Any) -> str | None:
    match reason:
        case ("error", _, _, str(text)) if text:
            return text.rstrip()
        case _:
            return None
