"""compile {id, job, timeout?} -> facts of the run, with the checkpoints before it and of its result.

The job passes through unopened (`modules.compiling.driver` says what is in it). While it runs, whoever asked is told how it goes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dspex_runtime.errors import BusyError, CompileError
from dspex_runtime.node.compile_copy import copy_id
from dspex_runtime.node.compiling import Compile
from dspex_runtime.node.operations.answers import Args
from dspex_runtime.node.registry import Record
from dspex_runtime.node.session import Responder, Session
from dspex_runtime.types import Kind

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node

Others = Callable[[str, int, Callable[[dict[str, Any] | None], None]], None]


def compile_(node: Node, args: Args, responder: Responder, others: Others | None = None) -> None:
    """Compile a module that runs; answers when the result is committed and saved. `others`: see `Compile`."""
    record = node.registry.resolve(args["id"])
    session = responder.session
    if not isinstance(session, Session):
        raise CompileError("a module compiles another one as a client: dx.connect().compile(...)", id=record.id)
    kind = record.kind or record.spec.kind
    if kind is not Kind.MODULE or record.id.endswith("$compile"):
        what = "the compile of another module" if kind is Kind.MODULE else f"a {kind}"
        raise CompileError(f"{record.id!r} is {what}: only dspy programs can be compiled", id=record.id)
    for member in node.composites.members(record):
        _check_idle(node, member)
    assert record.process is not None
    Compile(node, record, record.process, args["job"], session.label, responder, others).begin(args.get("timeout"))


def _check_idle(node: Node, record: Record) -> None:
    """Raise unless it, which may be a part of what is to be compiled, runs and nothing else is being made of it."""
    id = record.id
    if record.process is None or not record.process.serving:
        hint = f"`rt.start({id!r})` brings it back" if record.gone else f"`rt.wait([{id!r}])` returns when it runs"
        raise CompileError(f"{id!r} is {record.state}: only a running module can be compiled", id=id, hint=hint)
    if id in node.compiles:
        hint = f"`dspex logs '{copy_id(id)}'` shows how it goes"
        raise BusyError(f"{id!r} is being compiled already", id=id, hint=hint)
    if id in node.swaps:
        raise BusyError(f"{id!r} is being swapped", id=id, hint=f"`rt.abort_swap({id!r})` gives that up")
