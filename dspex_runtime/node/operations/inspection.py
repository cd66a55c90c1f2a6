"""What there is, what it does and what happens: nothing here changes the tree."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.core.names import ROOT
from dspex_runtime.errors import DspexError, NoProcessError
from dspex_runtime.node import analysis
from dspex_runtime.node.operations import executions
from dspex_runtime.node.operations.answers import Args, tree_of
from dspex_runtime.node.registry import Record
from dspex_runtime.node.session import Responder
from dspex_runtime.node.waiting import wait_for
from dspex_runtime.types import ModuleInfo

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node


def info(node: Node, args: Args, responder: Responder) -> None:
    """One child, or the root supervisor."""
    if args["id"] == ROOT:
        facts = tree_of(node).view.root()
        up_s = time.time() - node.started_at
        about = ModuleInfo(ROOT, "supervisor", facts["state"], pid=os.getpid(), started_at=node.started_at, uptime_s=up_s)
        responder.reply(about.as_dict() | facts)
        return
    responder.reply(node.info(node.registry.resolve(args["id"])))


def modules(node: Node, args: Args, responder: Responder) -> None:
    """All children whose metadata has every given pair."""
    wanted = args.get("metadata") or {}
    responder.reply([node.info(record) for record in node.registry if has_metadata(record, wanted)])


def has_metadata(record: Record, wanted: Mapping[str, Any]) -> bool:
    """Return whether a child's metadata has every given pair."""
    return all(record.spec.metadata.get(key, _MISSING) == value for key, value in wanted.items())


_MISSING: Final = object()


def tree(node: Node, _args: Args, responder: Responder) -> None:
    """The supervision tree as nested maps."""
    responder.reply(tree_of(node).view.as_dict(node.info, node.name))


def analyze(node: Node, _args: Args, responder: Responder) -> None:
    """How the latest start of the tree went, and what it waited for."""
    assert node.spec is not None
    supervision = tree_of(node)
    root = supervision.node_of("") or supervision.reviving.dead_root
    responder.reply(analysis.analyze(node.spec.tree if root is None else root.spec, supervision.timeline))


def status(node: Node, _args: Args, responder: Responder) -> None:
    """The runtime itself."""
    total, ready = node.registry.counts()
    facts = {"name": node.name, "pid": os.getpid(), "version": node.version, "state": node.state, "started_at": node.started_at}
    where = {"socket": node.socket_path, "state_dir": str(node.state_dir), "file": None if node.spec is None else node.spec.file}
    zygotes = node.launcher.zygote_pids if node.launcher else {}
    pids = {"zygote_pid": next(iter(zygotes.values()), None), "zygote_pids": zygotes}
    responder.reply({**facts, **where, "modules": total, "ready": ready, **pids})


def log_path(node: Node, args: Args, responder: Responder) -> None:
    """Where a child's output goes, or went: of one that is forgotten the log is kept for a while."""
    record = node.registry.departed(args["id"]) if node.registry.get(args["id"]) is None else None
    responder.reply(str(node.log_path((record or node.registry.resolve(args["id"])).id)))


def wait(node: Node, args: Args, responder: Responder) -> None:
    """Answer when all the children are in a state, or with CallTimeoutError."""
    records = [node.registry.group(id) or node.registry.resolve(id) for id in args["ids"]]
    wait_for(
        node,
        records,
        str(args.get("state", "ready")),
        args.get("timeout"),
        responder,
        lambda: {r.id: r.state.value for r in records},
    )


def exit_of(node: Node, args: Args, responder: Responder) -> None:
    """Why an incarnation ended; answers when it is known (the caller saw its pipe end before we saw its exit)."""
    incarnation = int(args["incarnation"])
    reason = node.registry.exit_reason(args["id"], incarnation)
    if reason is not None:
        responder.reply(reason)
        return
    record = node.registry.resolve(args["id"])

    def known() -> bool:
        return incarnation in record.exits or record.incarnation > incarnation

    node.waiters.add(responder, [record], known, lambda: responder.reply(record.exits.get(incarnation)))


def module_op(node: Node, args: Args, responder: Responder) -> None:
    """Ask a module's control thread something.

    `incarnation`: ask this one and no other; `now`: do not wait for one that is on its way.
    """
    record = node.registry.resolve(args["id"])
    op = str(args["op"])
    if op not in MODULE_OPS:
        raise DspexError(f"unknown module operation {op!r}; there are {', '.join(sorted(MODULE_OPS))}", id=record.id)
    timeout_s = args.get("timeout", MODULE_OP_TIMEOUT_S)
    wanted, asked = args.get("incarnation"), args.get("args") or {}

    def answer(value: object, fault: dict[str, object] | None) -> None:
        responder.reply(value) if fault is None else responder.fault(fault)

    def ask() -> None:
        waiting.cancel()
        if responder.timer is not None:
            responder.timer.cancel()
        if record.process is None and wanted is None and op in executions.KEPT_OPS:
            executions.of_stopped(node, record, op, asked, answer)
        elif record.process is None or wanted not in (None, record.incarnation):
            reason = record.last_exit or "noproc"
            responder.fail(
                NoProcessError(f"{record.id!r} is {record.state}: it has no process to ask", id=record.id, reason=reason)
            )
        else:
            told = executions.with_earlier(node, record, asked, answer) if op == "executions" else answer
            record.process.request(op, asked, timeout_s, told)

    def settled() -> bool:
        if record.gone or record.spec.supervisor is not None or wanted is not None:
            return True
        return bool(args.get("now")) if record.process is None else record.process.serving

    # As a call does, this waits for an incarnation that is on its way; its answer has a time-out of its own.
    waiting = Responder(responder.session, responder.request)
    responder.on_done = waiting.cancel
    responder.give_up_after(timeout_s, f"{record.id!r} is {record.state}: nobody could be asked {op!r} within {timeout_s} s")
    node.waiters.add(waiting, [record], settled, ask)


def unanswered(node: Node, args: Args, responder: Responder) -> None:
    """A client's request timed out: have a look whether the module hangs."""
    record = node.registry.resolve(args["id"])
    if record.process is not None and record.incarnation == args.get("incarnation") and node.watchdog is not None:
        node.watchdog.unanswered(record.process)
    responder.reply(None)


MODULE_OPS: Final = frozenset(
    {"metrics", "executions", "statistics", "ping", "terminate", "reply"}
    | {"get_state", "replace_state", "suspend", "resume", "status", "debug"}  # OTP's sys functions
)
MODULE_OP_TIMEOUT_S: Final = 5.0  # as OTP's sys functions
