"""Checkpoints as clients ask for them. Who makes them and has them stored is `node.checkpointing`.

    checkpoint    {id, kind?}            -> info                  a map with the fields of `types.CheckpointInfo`; of an owner its
                                                                  parts are saved with it
    checkpoints   {id}                   -> [info], newest first
    image         {id, number?}          -> info and a descriptor  of a `params.image`; without a number of the newest whole one
    export        {id, number?}          -> info and a descriptor  of a file that `import` takes, here or elsewhere
    import        {id, data}             -> info
    restore       {id, number?}          -> info                  of the checkpoint that it is put back to
    prune         {id, keep? | numbers?} -> [number]              those that are gone

One that names parts is exported and taken in with them. Images pass through unopened.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from dspex_runtime.core.child_spec import Checkpoint
from dspex_runtime.errors import CheckpointError, ConfigError
from dspex_runtime.node.composites.restoring import Restoring, running
from dspex_runtime.node.keeping import Answer
from dspex_runtime.node.operations.answers import Args
from dspex_runtime.node.registry import Record
from dspex_runtime.node.session import Responder
from dspex_runtime.types import Kind

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node

__all__ = ["checkpoint", "checkpoints", "export", "image", "import_", "kept", "past_events", "prune", "restore"]

Facts: TypeAlias = dict[str, Any]


def checkpoint(node: Node, args: Args, responder: Responder) -> None:
    """Take one of a running module, of an owner with its parts; answers when it is on the disk."""
    record = _worker(node, args["id"])
    process = running(record)
    if process is None:
        hint = f"its last one is kept: `rt.checkpoints({record.id!r})`; `rt.start({record.id!r})` brings it back"
        raise CheckpointError(f"{record.id!r} is {record.state}: only a running module can be saved", id=record.id, hint=hint)
    node.composites.save(process, str(args.get("kind") or "manual"), _pair(responder))


def checkpoints(node: Node, args: Args, responder: Responder) -> None:
    """Those of a child, newest first."""
    node.keeping.ask("checkpoints", {"id": _worker(node, args["id"]).id}, _told(responder))


def image(node: Node, args: Args, responder: Responder) -> None:
    """The contents of one."""
    node.keeping.ask("image", _one(node, args), _with_fd(responder))


def export(node: Node, args: Args, responder: Responder) -> None:
    """One as a file."""
    node.keeping.ask("export", _one(node, args), _with_fd(responder))


def import_(node: Node, args: Args, responder: Responder) -> None:
    """Take in a file that `export` made."""
    record = _worker(node, args["id"])
    fd = os.memfd_create("dspex-import", os.MFD_CLOEXEC)
    try:
        rest = memoryview(args["data"])
        while rest:
            rest = rest[os.write(fd, rest) :]
    except BaseException:
        os.close(fd)
        raise

    def imported(info: Any) -> None:
        for id, number in {record.id: info["number"], **info.get("parts", {})}.items():
            node.keeping.kept(id)
            node.checkpointing.newest(id, {**info, "number": number})
        responder.reply(info)

    node.keeping.ask("import", {"id": record.id, "keep": kept(record)}, _told(responder, imported), fds=(fd,))


def prune(node: Node, args: Args, responder: Responder) -> None:
    """Forget some: all but the newest `keep`, or those with these numbers."""
    record = _worker(node, args["id"])
    keep, numbers = args.get("keep"), args.get("numbers")
    if (keep is None) == (numbers is None):
        raise ConfigError("prune takes keep (how many of the newest stay) or numbers (which ones go)")
    if keep is not None and keep < 0:
        raise ConfigError(f"keep is 0 or more; got {keep}")
    if numbers is not None and not all(type(number) is int for number in numbers):
        raise ConfigError("numbers is a list of whole numbers")

    def pruned(gone: Any) -> None:
        node.keeping.ask("checkpoints", {"id": record.id}, left)
        responder.reply(gone)

    def left(infos: Any, fault: Facts | None, _fds: list[int]) -> None:
        if fault is None:
            node.checkpointing.newest(record.id, infos[0] if infos else None)

    node.keeping.ask("prune", {"id": record.id, "keep": keep, "numbers": numbers}, _told(responder, pruned))


def restore(node: Node, args: Args, responder: Responder) -> None:
    """Put a child back to a checkpoint. What it was before is saved first; a stopped one is put back for its next start."""
    record = _worker(node, args["id"])
    running(record)
    Restoring(node, record, args.get("number"), kept(record), _pair(responder)).begin()


def past_events(node: Node, args: Args, responder: Responder) -> None:
    """The last events, oldest first: of earlier runtimes of this state directory, too."""
    node.event_store.flush()
    node.keeping.ask("past_events", {"n": args.get("n", 1000)}, _told(responder))


def _worker(node: Node, id: str) -> Record:
    record = node.registry.resolve(id)
    if record.spec.kind is Kind.SUPERVISOR:
        raise CheckpointError(f"{record.id!r} is a supervisor: it has no state of its own", id=record.id)
    return record


def _one(node: Node, args: Args) -> Facts:
    return {"id": _worker(node, args["id"]).id, "number": args.get("number")}


def kept(record: Record) -> int:
    """Return how many checkpoints are kept of a child."""
    launch = record.spec.launch
    return ((launch.checkpoint if launch is not None else None) or Checkpoint()).keep


def _pair(responder: Responder) -> Callable[[Any, Facts | None], None]:
    return lambda value, fault: responder.reply(value) if fault is None else responder.fault(fault)


def _told(responder: Responder, found: Callable[[Any], None] | None = None) -> Answer:
    """Answer with the keeper's value, or its fault."""

    def answer(value: Any, fault: Facts | None, _fds: list[int]) -> None:
        if fault is not None:
            responder.fault(fault)
        else:
            (found or responder.reply)(value)

    return answer


def _with(responder: Responder, found: Callable[[Facts, int], None]) -> Answer:
    """Go on with the keeper's value and its descriptor."""

    def answer(value: Any, fault: Facts | None, fds: list[int]) -> None:
        if fault is not None:
            responder.fault(fault)
        else:
            found(value, fds[0])

    return answer


def _with_fd(responder: Responder) -> Answer:
    return _with(responder, responder.give)
