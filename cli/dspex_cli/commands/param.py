"""dspex param: parameters of modules, of servers and of the runtime itself."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from dspex_cli import completing, link, wording
from dspex_cli.group import NumbersCommand, subgroup
from dspex_cli.options import Settings, json_or_text
from dspex_cli.output import Output, dumps, one_line, paint, visible
from dspex_cli.plain import readable

if TYPE_CHECKING:
    import dspex_runtime as dx

VALUE_CHARS = 60  # of a value in a table
OF_NUMBERS = ("float", "array", "list", "dict")  # types whose values may have a NaN in them; of others it is a word

command_object = subgroup("param", "Read, set, list, roll back and watch parameters.")


def target(text: str) -> tuple[str, str]:
    """Return (id, name) of ID.NAME; the runtime's own parameters are "$shared.NAME", or ".NAME"."""
    id, dot, name = text.partition(".")
    if not dot or not name:
        raise click.UsageError(f"expected ID.NAME, got {text!r}; `dspex param list {id or 'ID'}` shows the names")
    return id or link.SHARED, name


@command_object.subcommand("get")
@click.argument("parameter", metavar="ID.NAME", shell_complete=completing.parameters)
@click.pass_obj
def get(settings: Settings, parameter: str) -> None:
    """Print the value of a parameter.

    Reads shared memory: also of a module that is busy, suspended or stopped. -o json has version, time and writer, too.
    """
    output = Output(settings)
    id, name = target(parameter)
    with link.runtime(settings) as runtime:
        params = link.params(runtime, id)
        entry = params.entry(name)
        facts = {"id": params.id, "name": name, **_entry(entry)}
        # Into a file or a pipe text goes as it is; a terminal would obey what is in it.
        shown = _text(entry.value)
        output.result(facts, lambda: output.line(visible(shown) if sys.stdout.isatty() else shown))


@command_object.subcommand("set", cls=NumbersCommand)
@click.argument("parameter", metavar="ID.NAME", shell_complete=completing.parameters)
@click.argument("text", metavar="VALUE", required=False)
@click.option("--json", "json_text", metavar="JSON|-", help="The value as JSON; - is stdin.")
@click.option("--expect", type=int, metavar="VERSION", help="Only if the parameter is of this version; exit 1 otherwise.")
@click.pass_obj
def set_value(settings: Settings, parameter: str, text: str | None, json_text: str | None, expect: int | None) -> None:
    """Set a parameter.

    VALUE is parsed as JSON when it is JSON; for a parameter of type str it is the text itself. Numbers may be negative, and NaN,
    Infinity or -Infinity where a parameter is one of numbers. A value that breaks a limit of the parameter is refused, and changes
    nothing.
    """
    _write(settings, parameter, lambda params, name: params.set(name, _given(params, name, text, json_text), expect))


@command_object.subcommand("list")
@click.argument("ids", metavar="[ID]...", nargs=-1, shell_complete=completing.ids)
@click.pass_obj
def list_all(settings: Settings, ids: tuple[str, ...]) -> None:
    """List parameters with their values; without ID those of all modules and of the runtime itself."""
    output = Output(settings)
    with link.runtime(settings) as runtime:
        found = [row for id in (ids or _everybody(runtime)) for row in _listed(runtime, id)]
        columns = ("ID", "NAME", "TYPE", "VALUE", "VERSION", "UPDATED", "WHO")
        output.result(found, lambda: output.table(columns, [_row(facts) for facts in found], styled=None))


@command_object.subcommand("history")
@click.argument("parameter", metavar="ID.NAME", shell_complete=completing.parameters)
@click.option("-n", "--lines", "count", type=click.IntRange(1, 100), default=20, show_default=True, help="How many changes.")
@click.pass_obj
def history(settings: Settings, parameter: str, count: int) -> None:
    """Show the last changes of a parameter, newest first."""
    output = Output(settings)
    id, name = target(parameter)
    with link.runtime(settings) as runtime:
        changes = link.params(runtime, id).history(name, count)
        rows = [[c["version"], when(c["when"]), c["who"], _past(c, "old", "old_bytes"), _past(c, "new", "bytes")] for c in changes]
        output.result(changes, lambda: output.table(("VERSION", "WHEN", "WHO", "OLD", "NEW"), rows, styled=None))


@command_object.subcommand("rollback", cls=NumbersCommand)
@click.argument("parameter", metavar="ID.NAME", shell_complete=completing.parameters)
@click.argument("version", type=click.IntRange(min=1))
@click.pass_obj
def rollback(settings: Settings, parameter: str, version: int) -> None:
    """Set the value that a parameter had at a version; it gets a new version."""
    _write(settings, parameter, lambda params, name: params.rollback(name, version))


@command_object.subcommand("reset")
@click.argument("parameter", metavar="ID.NAME", shell_complete=completing.parameters)
@click.pass_obj
def reset(settings: Settings, parameter: str) -> None:
    """Set a parameter to its declared default."""
    _write(settings, parameter, lambda params, name: params.reset(name))


@command_object.subcommand("watch")
@click.argument("pattern", metavar="[ID.NAME]", default="*", shell_complete=completing.parameters)
@click.option("-n", "--count", type=click.IntRange(min=1), help="End after so many changes.")
@click.pass_obj
def watch(settings: Settings, pattern: str, count: int | None) -> None:
    """Print changes of parameters as they happen, until Ctrl-C or the runtime's end.

    The pattern is ID.NAME, an ID for all of it, or has * and ? in it: "*.temperature"; without one, everything. -o json prints one
    object per line. A change that follows others which were too many to be told has their number as "skipped".
    """
    output = Output(settings)
    with link.runtime(settings) as runtime, link.notes(), runtime.watch(pattern) as changes:
        for told, change in enumerate(changes, 1):
            facts = {key: getattr(change, key) for key in ("id", "name", "version", "value", "when", "who", "skipped")}
            output.item(facts, lambda change=change: output.line(_line(change)))  # type: ignore[misc]
            if told == count:
                return


def _write(settings: Settings, parameter: str, action: Any) -> None:
    output = Output(settings)
    id, name = target(parameter)
    with link.runtime(settings) as runtime:
        params = link.params(runtime, id)
        version = action(params, name)
        entry = params.entry(name)
        # Somebody else may have written since: what is told is what this command wrote, as it was stored.
        value = entry.value if entry.version == version else params.at(name, version)
        facts = {"id": params.id, "name": name, "value": value, "version": version}
        output.result(facts, lambda: output.say(f"{parameter} is {_text(value)}  (version {version})"))


def _given(params: Any, name: str, text: str | None, json_text: str | None) -> Any:
    if (text is None) == (json_text is None):
        raise click.UsageError("say the new value: VALUE, or --json")
    if json_text is not None:
        import json

        source = "stdin" if json_text == "-" else "--json"
        try:
            return json.loads(sys.stdin.read() if json_text == "-" else json_text)
        except ValueError as exc:
            raise click.UsageError(f"{source} is not JSON: {exc}") from None
    assert text is not None
    type = params.meta(name).get("type")
    return text if type == "str" else json_or_text(text, constants=type in OF_NUMBERS)


def _everybody(runtime: dx.Runtime) -> list[str]:
    return [link.SHARED, *(str(info["id"]) for info in link.modules(runtime) if info["kind"] != "supervisor")]


def _listed(runtime: dx.Runtime, id: str) -> list[dict[str, Any]]:
    params = link.params(runtime, id)
    return [
        {"id": params.id, "name": name, "type": params.meta(name).get("type"), **_entry(params.entry(name))}
        for name in params.names()
    ]


def _entry(entry: Any) -> dict[str, Any]:
    return {"value": entry.value, "version": entry.version, "updated_at": entry.updated_at, "who": entry.who}


def _row(facts: dict[str, Any]) -> list[Any]:
    start = [facts["id"], facts["name"], facts["type"], cell(facts["value"])]
    return [*start, facts["version"], when(facts["updated_at"]), facts["who"]]


def _line(change: dx.Change) -> str:
    skipped = paint(f"  ({wording.count(change.skipped, 'version')} skipped)", "yellow") if change.skipped else ""
    name = paint(one_line(f"{change.id}.{change.name}"), "bold")
    start = f"{paint(when(change.when), 'dim')}  {name}  {cell(change.value)}"
    return f"{start}  version {change.version}  {one_line(change.who)}{skipped}"


def _past(change: dict[str, Any], key: str, size: str) -> str:
    """A value of a history; of one that is not small there is the size only."""
    return f"({wording.size(change[size])})" if size in change else cell(change[key])


def when(stamp: float) -> str:
    """Return a time as people read it, in their own zone."""
    import datetime

    return datetime.datetime.fromtimestamp(stamp).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _text(value: Any) -> str:
    shown = readable(value)
    return shown if isinstance(shown, str) else dumps(shown)


def cell(value: Any) -> str:
    """Return a value on one line of a table. None is a value here: as JSON writes it."""
    text = one_line(_text(value))
    return text if len(text) <= VALUE_CHARS else f"{text[: VALUE_CHARS - 1]}…"
