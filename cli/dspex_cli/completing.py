"""What the shell offers at Tab: ids, parameters and checkpoints of the runtime that is meant. Never prints, never fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    from click.shell_completion import CompletionItem

    from dspex_cli import link
    from dspex_cli.commands.param import when

    given = ctx.params.get(param.name or "") or ()
    taken = set(given) if param.nargs == -1 else set()
    try:
        with link.runtime(ctx.find_object(Settings) or Settings()) as runtime:
            found = runtime.checkpoints(ctx.params["id"])
    except Exception:  # as below
        return []
    return [
        CompletionItem(str(info.number), help=f"{when(info.created_at)} {info.kind}")
        for info in found
        if str(info.number).startswith(incomplete) and info.number not in taken
    ]


def ids(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the ids that begin with what was typed, as a whole or in their last part; none where no runtime answers."""
    from dspex_cli import link

    settings = ctx.find_object(Settings) or Settings()
    given = ctx.params.get(param.name or "") or ()
    taken = set(given) if param.nargs == -1 else set()
    try:
        with link.runtime(settings) as runtime:
            found = [str(info["id"]) for info in link.modules(runtime)]
    except Exception:  # whatever it is: a message would land in the middle of the line that is being typed
        return []
    matching = [id for id in found if id.startswith(incomplete)]
    matching += [last for id in found if (last := id.rpartition("/")[2]) != id and incomplete and last.startswith(incomplete)]
    return [id for id in dict.fromkeys(matching) if id not in taken]
