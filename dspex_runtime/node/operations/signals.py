"""Monitors, links and exit signals, of clients and of modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dspex_runtime.core.keys import show
from dspex_runtime.core.links import KILL
from dspex_runtime.core.names import ROOT
from dspex_runtime.errors import ConfigError
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.node.handing_on import is_tellable
from dspex_runtime.node.linking import Endpoint
from dspex_runtime.node.operations.answers import Args
from dspex_runtime.node.session import Responder, Session

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node


def monitor(node: Node, args: Args, responder: Responder) -> None:
    """Watch the running incarnation of a child; its end is delivered as DOWN: before the answer, "noproc", when there is none."""
    relations, session = node.relations, responder.session
    process = relations.linking.find(args["id"])
    ref = relations.monitoring.monitor(process, session)
    if not relations.linking.alive(process):
        relations.monitoring.no_process(process, ref, session)
    responder.reply({"ref": ref, "id": process.id, "incarnation": process.incarnation})


def demonitor(node: Node, args: Args, responder: Responder) -> None:
    """Stop watching; no new DOWN after the answer, which says whether it was active. Of a client's link: unlink."""
    ref, session = int(args["ref"]), responder.session
    active = node.relations.monitoring.demonitor(ref, session)
    if not active and isinstance(session, Session):
        active = node.relations.linking.drop_ref(session, ref)
    responder.reply(active)


def link(node: Node, args: Args, responder: Responder) -> None:
    """Link a child with another (`with`), or with whoever asks. A client is told the child's end as DOWN under `ref`."""
    relations, session = node.relations, responder.session
    process = relations.linking.find(args["id"])
    answer: dict[str, Any] = {"id": process.id, "incarnation": process.incarnation}
    if isinstance(session, Session) and args.get("with") is None:
        answer["ref"] = relations.monitoring.new_ref()
        relations.linking.link_client(session, process, answer["ref"])
    else:
        relations.linking.link(_other(node, args, responder), process)
    responder.reply(answer)


def unlink(node: Node, args: Args, responder: Responder) -> None:
    """Remove a link; says whose, and whether there was one."""
    linking = node.relations.linking
    process = linking.find(args["id"])
    responder.reply({"id": process.id, "linked": linking.unlink(_other(node, args, responder), process)})


def exit(node: Node, args: Args, responder: Responder) -> None:
    """Send an exit signal; nothing happens where there is no such process, as in OTP.

    Answered when it has arrived: what its sender sends over a pipe of its own after that arrives later.
    """
    linking = node.relations.linking
    if args["id"] == ROOT and args["reason"] == KILL:
        text = "the root supervisor is not to be killed: the runtime would stand without its tree"
        raise ConfigError(text, id=ROOT, hint="rt.shutdown() or `dspex down` ends both, in order")
    linking.exit(responder.session.endpoint, linking.find(args["id"]), _reason(args["reason"]), lambda: responder.reply(None))


def _other(node: Node, args: Args, responder: Responder) -> Endpoint:
    other = args.get("with")
    return responder.session.endpoint if other is None else node.relations.linking.find(other)


def _reason(value: Any) -> ExitReason:
    if value == KILL or is_tellable(value):
        reason: ExitReason = value
        return reason
    raise ConfigError(
        f"{show(value, 200)} is no exit reason",
        hint='"normal", "shutdown", ("shutdown", term), "kill", or ("error", type, message, traceback) for one of your own',
    )
