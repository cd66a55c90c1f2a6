"""reload {config, plan, why} -> {steps, refused, left, fault}; changed_sources {} -> {full id: [[path, mtime_ns, size], ...]}.

`config` is what `config.normalize` returns: a file is read where it is and where its variables are. While steps are done, whoever
asked is told.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from dspex_runtime.config import parse
from dspex_runtime.errors import BusyError, DspexError
from dspex_runtime.node import sources
from dspex_runtime.node.operations.answers import Args
from dspex_runtime.node.reloading.reload import Reload, planned, refusal
from dspex_runtime.node.session import Responder, Session

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node

__all__ = ["changed_sources", "reload"]


def reload(node: Node, args: Args, responder: Responder) -> None:
    """Bring what runs to what a configuration says; with `plan` only say how."""
    if node.state != "running":
        raise DspexError(f"the runtime is {node.state}: it can be reloaded while it runs")
    wanted = parse(args["config"])
    found = planned(node, wanted)
    if args.get("plan"):
        responder.reply({**found.as_map(), "fault": None})
        return
    if (error := refusal(found)) is not None:
        raise error
    session = responder.session
    if not isinstance(session, Session):
        raise DspexError("a module reloads the runtime as a client: dx.connect().reload(...)")
    if node.reload is not None:
        raise BusyError("the runtime is being reloaded already", hint="`dspex events -f` shows how it goes")
    Reload(node, wanted, found, who=session.label, why=args.get("why") or "reload", responder=responder).begin()


def changed_sources(node: Node, _args: Args, responder: Responder) -> None:
    """Answer which running modules were made of files that are others now, and what those files are."""
    seen: dict[Any, list[list[Any]]] = {}  # many are made of the same
    found: dict[str, list[list[Any]]] = {}
    for record in node.registry:
        process = record.process
        if process is None or not process.serving or not process.files:
            continue
        key = tuple(map(tuple, process.files))
        if key not in seen:
            seen[key] = [_stamp(path) for path in sources.changed(process.files)]
        if seen[key]:
            found[record.id] = seen[key]
    responder.reply(found)


def _stamp(path: str) -> list[Any]:
    try:
        info = os.stat(path)
    except OSError:
        return [path, None, None]
    return [path, info.st_mtime_ns, info.st_size]
