"""Printing. Owns stdout: one result as table, JSON or YAML; rich only on a terminal, and never imported before it is needed."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from dspex_cli.options import Settings
from dspex_cli.plain import to_plain

STATE_STYLES: Final = {
    "READY": "green", "DEGRADED": "yellow", "BACKOFF": "yellow", "DRAINING": "cyan", "SWAPPING": "cyan", "PENDING": "cyan",
    "STARTING": "cyan", "STOPPING": "cyan", "STOPPED": "dim", "EXITED": "dim", "FAILED": "bold red",
}  # fmt: skip
MIN_LAST_COLUMN: Final = 10  # characters: enough to see that there is a reason
# C0 but for tab and newline, DEL, C1, what turns the direction of writing around, and halves of characters.
_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# Of these what JSON may leave as it is; it has an escape for them, too.
_LEFT_BY_JSON: Final = re.compile("[\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_CODES: Final = {"green": "32", "yellow": "33", "cyan": "36", "dim": "2", "bold red": "1;31", "bold": "1", "red": "31"}


def on_terminal() -> bool:
    """Return whether stdout is a terminal that takes colour; NO_COLOR (any value but empty) and TERM=dumb say no."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, style: str) -> str:
    """Return the text with a style on a terminal, unchanged elsewhere."""
    code = _CODES.get(style)
    return Painted(f"\x1b[{code}m{text}\x1b[0m") if code and on_terminal() else text


class Painted(str):
    """Text with a style of ours in it: the one kind whose control characters are meant for the terminal."""

    __slots__ = ()


def visible(text: str) -> str:
    """Return text of a module, or of anybody else, with its control characters escaped; lines and tabs stay."""
    return text if isinstance(text, Painted) else _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def one_line(value: Any) -> str:
    """Return a value as one line, control characters escaped; None is "-"."""
    text = "-" if value is None else visible(str(value))
    return "".join(char if char.isprintable() else " " for char in text) if not text.isprintable() else text


@contextmanager
def interruptible(left: Callable[[], str], *, quiet: bool) -> Iterator[None]:
    """Within this, an interrupt says what it leaves. `left` takes no lock: the thread that is interrupted may hold it."""
    try:
        yield
    except KeyboardInterrupt:
        if not quiet:
            print(f"\ninterrupted; {left()}", file=sys.stderr, flush=True)
        raise


class Output:
    """Where a command puts its result."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.structured = settings.output != "table"

    def result(self, data: Any, show: Callable[[], None]) -> None:
        """Print data as JSON or YAML, or call `show`, which prints it for people."""
        if not self.structured:
            show()
        elif self.settings.output == "json":
            self.line(dumps(data, indent=2))
        else:
            import yaml

            self.line(yaml.safe_dump(to_plain(data), sort_keys=False, allow_unicode=True).rstrip())

    def item(self, data: Any, show: Callable[[], None]) -> None:
        """Print one item of an endless result: JSON on one line, YAML as one document."""
        if self.structured and self.settings.output == "json":
            self.line(dumps(data))
        elif self.structured:
            self.line("---")
            self.result(data, show)
        else:
            show()

    def say(self, text: str) -> None:
        """Tell people what was done; silent with -q, and when a program reads the output."""
        if not self.settings.quiet and not self.structured:
            self.line(visible(text))

    def line(self, text: str = "") -> None:
        """Print one line at once: whoever reads a pipe sees events when they happen."""
        try:
            print(text, flush=True)
        except UnicodeEncodeError:
            encoding = sys.stdout.encoding or "ascii"
            print(text.encode(encoding, "replace").decode(encoding), flush=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, styled: str | None = "STATE") -> None:
        """Print aligned columns; on a terminal with rich, the column named `styled` coloured by state."""
        texts = [[one_line(cell) for cell in row] for row in rows]
        if on_terminal():
            _rich_table(columns, texts, styled)
        else:
            for text in plain_table(columns, texts):
                self.line(text)

    def fields(self, pairs: Iterable[tuple[str, Any]]) -> None:
        """Print `name  value` lines, aligned; a value of several lines is indented below its name."""
        items = [(name, value) for name, value in pairs if value is not None]
        width = max((len(name) for name, _ in items), default=0)
        for name, value in items:
            text = value if isinstance(value, str) else str(value)
            first, *rest = visible(text).removesuffix("\n").split("\n")
            self.line(f"{paint(name.ljust(width), 'bold')}  {first}")
            for line in rest:
                self.line(f"{' ' * width}  {line}")


def dumps(data: Any, indent: int | None = None) -> str:
    """Return JSON of any value; NaN and Infinity as Python's json writes and reads them, so that --json takes them back."""
    import json

    text = json.dumps(to_plain(data), indent=indent, ensure_ascii=False)
    return _LEFT_BY_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return header and rows in columns of equal width, two spaces apart, no trailing blanks."""
    widths = [max(len(line[place]) for line in (columns, *rows)) for place in range(len(columns))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in (columns, *rows)]


def _rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]], styled: str | None) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    widths = [max(len(line[place]) for line in (columns, *rows)) for place in range(len(columns) - 1)]
    for name, width in zip(columns, (*widths, None), strict=True):
        # Ids and states stay whole on a narrow terminal; the reason at the end gives way.
        table.add_column(name, no_wrap=True, min_width=width, overflow="ellipsis")
    for row in rows:
        cells = [
            Text(cell, style=STATE_STYLES.get(cell, "") if name == styled else "") for name, cell in zip(columns, row, strict=True)
        ]
        table.add_row(*cells)
    console = Console(highlight=False, soft_wrap=False)
    # What does not fit even so is wrapped by the terminal, as of any other command, and not cut in every column.
    console.width = max(console.width, sum(widths) + 2 * len(columns) + MIN_LAST_COLUMN)
    console.print(table, crop=False)
