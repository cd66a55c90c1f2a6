"""What the shell offers at Tab: ids, parameters, checkpoints, versions of the runtime that is meant. Never prints, never fails."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from dspex_cli.options import Settings

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def parameters(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return ID.NAME for every parameter of the module that was typed up to its dot; before that, the ids with a dot."""
    from dspex_cli import link

    id, dot, begun = incomplete.partition(".")
    if not dot:
        return [f"{id}." for id in ids(ctx, param, incomplete)]
    try:
        with link.runtime(ctx.find_object(Settings) or Settings()) as runtime:
            names = link.params(runtime, id).names()
    except Exception:  # as below
        return []
    return [f"{id}.{name}" for name in names if name.startswith(begun)]


def checkpoints(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the numbers of the checkpoints of the module that was typed before, newest first, with when and why they were made."""
    from dspex_cli.commands.param import when

    given = ctx.params.get(param.name or "") or ()
    taken = set(given) if param.nargs == -1 else set()
    found = [(info.number, f"{when(info.created_at)} {info.kind}") for info in _of_the_id(ctx, "checkpoints")]
    return _numbers((each for each in found if each[0] not in taken), incomplete)


def versions(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001 - click's signature
    """Return the numbers of the versions that the module typed before can go back to, newest first, with when and why they came."""
    from dspex_cli.commands.param import when

    found = [info for info in _of_the_id(ctx, "versions") if not info.current]
    return _numbers(((info.number, f"{when(info.when)} {info.version or ''} {info.why}") for info in found), incomplete)


def _of_the_id(ctx: click.Context, what: str) -> list[Any]:
    from dspex_cli import link

    try:
        with link.runtime(ctx.find_object(Settings) or Settings()) as runtime:
            return list(getattr(runtime, what)(ctx.params["id"]))
    except Exception:  # as below
        return []


def _numbers(found: Iterable[tuple[int, str]], incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(str(number), help=told) for number, told in found if str(number).startswith(incomplete)]


def ids(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the ids that begin with what was typed, as a whole or in their last part; none where no runtime answers."""
    from dspex_cli import link

    settings = ctx.find_object(Settings) or Settings()
    given = ctx.params.get(param.name or "") or ()
    taken = set(given) if param.nargs == -1 else set()
    try:
        with link.runtime(settings) as runtime:
            there = link.modules(runtime)
            found = [str(id) for info in there for id in (info.get("group"), info["id"]) if id is not None]
    except Exception:  # whatever it is: a message would land in the middle of the line that is being typed
        return []
    matching = [id for id in found if id.startswith(incomplete)]
    matching += [last for id in found if (last := id.rpartition("/")[2]) != id and incomplete and last.startswith(incomplete)]
    return [id for id in dict.fromkeys(matching) if id not in taken]
