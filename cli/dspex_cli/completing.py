"""What the shell offers for an ID when Tab is pressed: the ids of the runtime that is meant. Never prints, never fails."""

from __future__ import annotations

import click

from dspex_cli.options import Settings


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
