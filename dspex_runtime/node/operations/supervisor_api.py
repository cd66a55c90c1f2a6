"""OTP's supervisor functions, with OTP's results and error atoms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dspex_runtime.core import events
from dspex_runtime.core.names import full_id
from dspex_runtime.errors import DspexError
from dspex_runtime.node.operations import groups
from dspex_runtime.node.operations.adoption import adopted, path_of
from dspex_runtime.node.operations.answers import Args, done, erased, started, taken, tree_of, value
from dspex_runtime.node.operations.childspec import as_dict
from dspex_runtime.node.session import Responder
from dspex_runtime.types import ChildId

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node


def _path(node: Node, args: Args) -> str:
    return path_of(node, args.get("supervisor"))


def start_supervisor(node: Node, args: Args, responder: Responder) -> None:
    """Start a supervisor under a supervisor."""
    options = dict(args)
    under = options.pop("supervisor", "root")
    child = {"id": options.pop("id"), "restart": options.pop("restart", "permanent"), "supervisor": {**options, "children": []}}
    start_child(node, {"supervisor": under, "spec": child}, responder)


def start_child(node: Node, args: Args, responder: Responder) -> None:
    """OTP start_child. A dynamic supervisor makes ids for children that have none, or one that is taken."""
    path, spec = _path(node, args), dict(args["spec"])
    wanted = groups.wanted(spec)
    child = adopted(node, spec, path)
    groups.has_started(node, full_id(path, child.id), {}, responder)
    alone = node.registry.get(child.id) if path == "" else None
    if alone is not None and tree_of(node).owner(alone.id) is not tree_of(node).node_of(""):
        raise taken(alone)  # it shares the root's names and is not known to the root's supervisor
    if wanted is not None:
        groups.start(node, child, path, wanted, responder)
        return

    def start() -> None:
        tree_of(node).ask(path, lambda request: events.StartChildAsked(request, child), started(node, responder))

    tree_of(node).starts.when_possible(full_id(path, child.id), child, start, responder.fail)


def terminate_child(node: Node, args: Args, responder: Responder) -> None:
    """OTP terminate_child.

    Of a dynamic supervisor's child, too: an id addresses it, also while its restart is due (Elixir: the old pid), and it is
    forgotten with this.
    """
    child, path = ChildId(args["id"]), _path(node, args)
    id = full_id(path, child)
    answer = node.parts.after(id, done(node, id, responder))
    tree_of(node).ask(path, lambda request: events.TerminateChildAsked(request, child), answer)


def restart_child(node: Node, args: Args, responder: Responder) -> None:
    """OTP restart_child."""
    child, path = ChildId(args["id"]), _path(node, args)

    def restart() -> None:
        tree_of(node).ask(path, lambda request: events.RestartChildAsked(request, child), started(node, responder))

    record = node.registry.get(full_id(path, child))
    if record is None or not record.gone:
        restart()  # the supervisor says what is wrong with that
    else:
        tree_of(node).starts.when_possible(record.id, record.spec, restart, responder.fail)


def delete_child(node: Node, args: Args, responder: Responder) -> None:
    """OTP delete_child; the child's log is removed."""
    child, path = ChildId(args["id"]), _path(node, args)
    id = full_id(path, child)
    answer = node.parts.after(id, erased(node, id, responder))
    tree_of(node).ask(path, lambda request: events.DeleteChildAsked(request, child), answer)


def which_children(node: Node, args: Args, responder: Responder) -> None:
    """OTP which_children."""
    tree_of(node).ask(_path(node, args), events.WhichChildrenAsked, value(responder))


def which_child(node: Node, args: Args, responder: Responder) -> None:
    """OTP which_child: the row of one child."""
    child = ChildId(args["id"])
    tree_of(node).ask(_path(node, args), lambda request: events.WhichChildAsked(request, child), value(responder))


def count_children(node: Node, args: Args, responder: Responder) -> None:
    """OTP count_children."""
    tree_of(node).ask(_path(node, args), events.CountChildrenAsked, value(responder))


def get_childspec(node: Node, args: Args, responder: Responder) -> None:
    """OTP get_childspec."""
    child = ChildId(args["id"])

    def answer(spec: Any, error: DspexError | None) -> None:
        responder.reply(as_dict(spec)) if error is None else responder.fail(error)

    tree_of(node).ask(_path(node, args), lambda request: events.GetChildSpecAsked(request, child), answer)
