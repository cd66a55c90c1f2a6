"""compile {id, job, timeout?} -> facts of the run, with the checkpoints before it and of its result.

The job passes through unopened (`modules.compiling.driver` says what is in it). While it runs, whoever asked is told how it goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dspex_runtime.errors import BusyError, CompileError
from dspex_runtime.node.compile_copy import copy_id
from dspex_runtime.node.compiling import Compile
from dspex_runtime.node.operations.answers import Args
from dspex_runtime.node.session import Responder, Session
from dspex_runtime.types import Kind

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node


def compile_(node: Node, args: Args, responder: Responder) -> None:
    """Compile a module that runs; answers when the result is committed and saved."""
    record = node.registry.resolve(args["id"])
    session = responder.session
    if not isinstance(session, Session):
        raise CompileError("a module compiles another one as a client: dx.connect().compile(...)", id=record.id)
    kind = record.kind or record.spec.kind
    if kind is not Kind.MODULE or record.id.endswith("$compile"):
        what = "the compile of another module" if kind is Kind.MODULE else f"a {kind}"
        raise CompileError(f"{record.id!r} is {what}: only dspy programs can be compiled", id=record.id)
    process = record.process
    if process is None or not process.serving:
        hint = f"`rt.start({record.id!r})` brings it back" if record.gone else f"`rt.wait([{record.id!r}])` returns when it runs"
        raise CompileError(f"{record.id!r} is {record.state}: only a running module can be compiled", id=record.id, hint=hint)
    if record.id in node.compiles:
        hint = f"`dspex logs '{copy_id(record.id)}'` shows how it goes"
        raise BusyError(f"{record.id!r} is being compiled already", id=record.id, hint=hint)
    if record.id in node.swaps:
        hint = f"`rt.abort_swap({record.id!r})` gives that up"
        raise BusyError(f"{record.id!r} is being swapped", id=record.id, hint=hint)
    Compile(node, record, process, args["job"], session.label, responder).begin(args.get("timeout"))
