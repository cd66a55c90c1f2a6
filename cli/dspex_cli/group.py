"""The command group: commands are imported when they are run, global options stand anywhere, and typos get a suggestion."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import click

from dspex_cli.options import global_options

_NEGATIVE: Final = re.compile(r"-(\.?\d[\d.eE+-]*|Infinity)")  # no letter in it that is an option


class ReaderGone(Exception):  # noqa: N818 - nobody's error: `dspex ps | head -1` has read what it wanted
    """Whoever read our stdout closed it."""


class DspexCommand(click.Command):
    """A command that also takes the global options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(global_options())


class NumbersCommand(DspexCommand):
    """A command to which `-5` is a value; any other word with a dash in front is an option still."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the words after making sure, with numbers that nobody takes for options, that there is no unknown option."""
        end = args.index("--") if "--" in args else len(args)
        if not ctx.resilient_parsing:
            self.make_parser(ctx).parse_args(["0" if _NEGATIVE.fullmatch(word) else word for word in args[:end]] + args[end:])
        ctx.ignore_unknown_options = True
        return super().parse_args(ctx, args)


def command(name: str, cls: type[DspexCommand] = DspexCommand, **attributes: Any) -> Callable[[Callable[..., Any]], DspexCommand]:
    """Decorate a function as the command of that name; the help text is the docstring."""
    return click.command(name, cls=cls, context_settings={"help_option_names": ["-h", "--help"]}, **attributes)


class DspexSubgroup(click.Group):
    """Several commands under one name (`param get`, `param set`); they and the group take the global options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(global_options())

    def subcommand(self, name: str, **attributes: Any) -> Callable[[Callable[..., Any]], DspexCommand]:
        """Decorate a function as one of its commands."""

        def add(function: Callable[..., Any]) -> DspexCommand:
            found = command(name, **attributes)(function)
            self.add_command(found)
            return found

        return add

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order in which they were added."""
        return list(self.commands)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or fail with what was probably meant."""
        name = args[0]
        if name not in self.commands and not name.startswith("-") and not ctx.resilient_parsing:
            raise click.UsageError(f"no such command {name!r}{did_you_mean(name, self.commands)}", ctx)
        return super().resolve_command(ctx, args)


def subgroup(name: str, help: str) -> DspexSubgroup:
    """Return a new group of commands."""
    return DspexSubgroup(name, help=help, context_settings={"help_option_names": ["-h", "--help"]})


class DspexGroup(click.Group):
    """Knows the names and one-line helps of all commands without importing one of them."""

    def __init__(self, *args: Any, table: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.table = table
        self.params.extend(global_options())

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order of the table, which is the order a reader needs them in."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import and return one command."""
        entry = self.table.get(cmd_name)
        if entry is None:
            return None
        found: click.Command = importlib.import_module(f"dspex_cli.commands.{entry[0]}").command_object
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Write the list of commands from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help) for name, (_, help) in self.table.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or fail with what was probably meant."""
        name = args[0]
        if name not in self.table and not name.startswith("-") and not ctx.resilient_parsing:
            raise click.UsageError(f"no such command {name!r}{did_you_mean(name, self.table)}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a closed stdout is told apart here, before click turns it into an exit status of 1."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as exc:
            raise ReaderGone from exc


def did_you_mean(word: str, allowed: Any) -> str:
    """Return "; did you mean 'x'?" for the nearest words, or nothing."""
    from difflib import get_close_matches

    near = get_close_matches(word, list(allowed), n=2, cutoff=0.6)
    return f"; did you mean {' or '.join(repr(name) for name in near)}?" if near else ""
