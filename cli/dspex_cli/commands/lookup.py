"""dspex lookup: who is registered under a key."""

from __future__ import annotations

from typing import Any

import click

from dspex_cli import link
from dspex_cli.group import command
from dspex_cli.options import Settings, json_or_text
from dspex_cli.output import Output, on_terminal
from dspex_cli.plain import readable

KEY_CHARS = 40  # of a key, on a terminal
COLUMNS = ("KEY", "ID", "INCARNATION", "KIND", "UNIQUE", "VALUE")


@command("lookup")
@click.argument("key", required=False)
@click.pass_obj
def command_object(settings: Settings, key: str | None) -> None:
    """Show who is registered under a key; exit 3 when nobody is.

    KEY is parsed as JSON when it is JSON: 1, "1" and 1.0 are three keys, ["worker", 1] is a tuple. Without KEY: all keys.
    """
    output = Output(settings)
    with link.runtime(settings) as runtime:
        entries = runtime.registered() if key is None else runtime.registered(_tuples(json_or_text(key)))
    if key is not None and not entries:
        from dspex_runtime.errors import NoProcessError

        raise NoProcessError(f"nobody is registered under key {_tuples(json_or_text(key))!r}", hint="`dspex lookup` lists all keys")
    output.result([_shown(entry) for entry in entries], lambda: output.table(COLUMNS, map(_row, entries)))


def _tuples(key: Any) -> Any:
    return tuple(map(_tuples, key)) if isinstance(key, list) else key


def _shown(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: entry[name] for name in ("key", "id", "incarnation", "kind", "unique", "value")}


def _row(entry: dict[str, Any]) -> list[Any]:
    unique = "yes" if entry["unique"] else "no"
    return [_cut(repr(entry["key"])), entry["id"], entry["incarnation"], entry["kind"], unique, readable(entry["value"])]


def _cut(key: str) -> str:
    """A long key leaves room for the columns behind it, where there is a width to keep to."""
    return key if len(key) <= KEY_CHARS or not on_terminal() else f"{key[: KEY_CHARS - 1]}…"
