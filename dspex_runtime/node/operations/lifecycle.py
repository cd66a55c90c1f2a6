"""Start, stop, restart, kill, delete; and the end of the runtime."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from dspex_runtime.core import events
from dspex_runtime.core.names import ROOT, full_id
from dspex_runtime.errors import ConfigError, DspexError, NoProcessError
from dspex_runtime.node.operations import groups
from dspex_runtime.node.operations.adoption import adopted, path_of, spec_at
from dspex_runtime.node.operations.answers import Args, done, erased, identity, started, taken, tree_of
from dspex_runtime.node.session import Responder
from dspex_runtime.node.waiting import SERVING, wait_for
from dspex_runtime.types import Kind

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node


def start(node: Node, args: Args, responder: Responder) -> None:
    """Start a new child, or (a spec of just an id) one that was stopped, exited or failed."""
    spec = dict(args["spec"])
    if set(spec) == {"id"}:
        _start_again(node, str(spec["id"]), responder)
        return
    supervisor = args.get("supervisor")
    path = None if supervisor is None else path_of(node, supervisor)
    id = full_id(path or "", str(spec.get("id")))
    if groups.has_started(node, id, args, responder):
        return
    existing = node.registry.get(id)
    if existing is not None and args.get("get_if_exists") and not existing.gone:
        wait_for(node, [existing], SERVING, None, responder, lambda: identity(node.registry.resolve(id)))
        return
    wanted = groups.wanted(spec)
    child = adopted(node, spec, path, named=not args.get("unnamed"))
    if existing is not None and (path is None or not spec_at(node, path).dynamic):
        raise taken(existing)

    def go() -> None:
        there = node.registry.get(child.id) if path is None else None  # it may have been started while this one waited
        if there is not None:
            responder.fail(taken(there))
        elif wanted is not None:
            groups.start(node, child, path, wanted, responder)
        elif path is None:
            tree_of(node).start_alone(child, started(node, responder))
        else:
            tree_of(node).ask(path, lambda request: events.StartChildAsked(request, child), started(node, responder))

    tree_of(node).starts.when_possible(full_id(path or "", child.id), child, go, responder.fail)


def _start_again(node: Node, id: str, responder: Responder) -> None:
    """Start what was stopped, exited or failed; the root supervisor, too."""
    if (group := node.registry.group(id)) is not None:
        groups.start_again(node, group, responder)
        return
    if id != ROOT:
        tree_of(node).reviving.start(node.registry.resolve(id), started(node, responder))
        return

    def answer(_: Any, error: DspexError | None) -> None:
        responder.reply({"id": ROOT, "incarnation": 0, "kind": Kind.SUPERVISOR.value}) if error is None else responder.fail(error)

    tree_of(node).reviving.start_root(answer)


def stop(node: Node, args: Args, responder: Responder) -> None:
    """Stop a child; answers when it is reaped and its name is free to be started again."""
    record = node.registry.resolve(args["id"])
    timeout_s = args.get("timeout")
    responder.give_up_after(timeout_s, f"{record.id!r} is still stopping after {timeout_s} s")
    tree_of(node).terminate(record, node.parts.after(record.id, done(node, record.id, responder)))


def restart(node: Node, args: Args, responder: Responder) -> None:
    """Stop and start a child in order; not counted as a crash. Answers when it is ready."""
    record = node.registry.resolve(args["id"])
    if record.gone:
        tree_of(node).reviving.start(record, started(node, responder))
    else:
        tree_of(node).cycle(record, started(node, responder))


def kill(node: Node, args: Args, responder: Responder) -> None:
    """Send a signal to a child's process; answers when sent."""
    record = node.registry.resolve(args["id"])
    signo = _signal(args.get("signal", "KILL"))
    if record.spec.kind is Kind.SUPERVISOR:
        raise NoProcessError(
            f"{record.id!r} is a supervisor: it has no process of its own", id=record.id, hint="kill one of its children"
        )
    if record.process is None or record.process.pid is None:
        raise NoProcessError(
            f"{record.id!r} has no process: it is {record.state}", id=record.id, reason=record.last_exit or "noproc"
        )
    node.reports.emit("signalled", record.id, signal=signo.name.removeprefix("SIG"), pid=record.process.pid)
    record.process.signal(signo)
    responder.reply(None)


def delete(node: Node, args: Args, responder: Responder) -> None:
    """Stop a child if it runs, then forget it and remove its log."""
    record = node.registry.resolve(args["id"])
    tree_of(node).delete(record, node.parts.after(record.id, erased(node, record.id, responder)))


def _signal(name: Any) -> signal.Signals:
    try:
        return signal.Signals(name) if isinstance(name, int) else signal.Signals["SIG" + str(name).upper().removeprefix("SIG")]
    except (KeyError, ValueError):
        raise ConfigError(f"unknown signal {name!r}", hint="KILL, TERM, INT, HUP, USR1, STOP, CONT, SEGV ...") from None


def shutdown(node: Node, _args: Args, responder: Responder) -> None:
    """Stop everything in order and end the runtime; answers when the tree is down."""
    node.shutdown(lambda: responder.reply(None))
