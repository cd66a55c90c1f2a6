"""What every command understands: where the runtime is, how to print, and how words on a command line become values.

Imports nothing but click: this file is on the start-up path of every command.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    _Parameter = click.ParamType[float]  # generic since click 8.2 only
else:
    _Parameter = click.ParamType

FORMATS: Final = ("table", "json", "yaml")
_DURATION = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(ms|s|m|h)?")
_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(slots=True)
class Settings:
    """The global options; each is accepted before and after the command, and the later one wins."""

    socket: str | None = None
    runtime: str | None = None
    output: str = "table"
    quiet: bool = False
    verbose: bool = False


class Duration(_Parameter):
    """Seconds from `100ms`, `5s`, `1.5m`, `2h` or a bare number of seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds, or fail with the forms that are understood."""
        if isinstance(value, int | float):
            return float(value)
        match = _DURATION.fullmatch(str(value))
        if match is None:
            self.fail(f"{value!r} is not a duration; write 100ms, 5s, 1m or a number of seconds", param, ctx)
        return float(match[1]) * _UNITS_S[match[2] or "s"]


DURATION: Final = Duration()


def global_options() -> list[click.Option]:
    """Return fresh instances of the options of `dspex` itself, for the group and for each command."""
    return [
        _option("--socket", metavar="PATH", help="Socket of the runtime [env: DSPEX_SOCKET]."),
        _option("--runtime", metavar="NAME", help="Name of the runtime; may be left out when only one is running."),
        _option("-o", "--output", type=click.Choice(FORMATS), help="How results are printed."),
        _option("-q", "--quiet", is_flag=True, help="Print results and errors only."),
        _option("-v", "--verbose", is_flag=True, help="Print more: remote tracebacks, all columns."),
    ]


def _option(*names: str, **attributes: Any) -> click.Option:
    return click.Option(list(names), expose_value=False, callback=_remember, **attributes)


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    # Called for options that were not given, too: those must not undo what was said before the command.
    if value and param.name:
        setattr(ctx.ensure_object(Settings), param.name, value)


def asks_for_json(arguments: Iterable[str]) -> bool:
    """Return whether a command line asks for JSON, also one that click could not parse: its error must be JSON as well."""
    previous = ""
    asked = False
    for word in arguments:
        if word == "--":
            break
        if previous in ("-o", "--output"):
            asked = word == "json"
        elif word.startswith(("-o", "--output=")) and word != "-o" and not word.startswith("--output-"):
            asked = word.removeprefix("--output=").removeprefix("-o").removeprefix("=") == "json"
        previous = word
    return asked


def json_or_text(text: str, *, constants: bool = False) -> Any:
    """Return the value of a text that is JSON, else the text itself: `k=3` is a number, `k=three` a string.

    With `constants` NaN, Infinity and -Infinity are numbers, too.
    """
    import json

    try:
        return json.loads(text, parse_constant=None if constants else _no_constant)
    except ValueError:
        return text


def _no_constant(name: str) -> Any:
    raise ValueError(name)  # `NaN` and `Infinity` are not JSON, and somebody's words


def is_assignment(word: str) -> bool:
    """Return whether a word is `name=value`; what follows the first `=` is free."""
    name, equals, _ = word.partition("=")
    return bool(equals) and name.isidentifier()


def pairs(words: Iterable[str]) -> dict[str, Any]:
    """Return `key=value` words as a dict; a key is any text, `assignments` wants names.

    Raises:
        click.UsageError: A word has no `=`, or no key before it.
    """
    values: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not (key and equals):
            raise click.UsageError(f"expected KEY=VALUE, got {word!r}")
        values[key] = json_or_text(text)
    return values


def assignments(words: Iterable[str]) -> dict[str, Any]:
    """Return `k=v` words as a dict.

    Raises:
        click.UsageError: A word is no assignment, or a name is given twice.
    """
    values: dict[str, Any] = {}
    for word in words:
        name, _, text = word.partition("=")
        if not is_assignment(word):
            raise click.UsageError(f"expected name=value, got {word!r}")
        if name in values:
            raise click.UsageError(f"{name!r} is given twice")
        values[name] = json_or_text(text)
    return values
