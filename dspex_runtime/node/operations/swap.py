"""Swaps and rollbacks as clients ask for them. Who carries them out is `node.swapping`.

    swap        {members: [{id, spec?, version?, migrate?, verify?, extra?}], drain?, timeout?, why?} -> {members: [facts]}
    rollback    {id, version?, drain?, timeout?}                                                      -> {members: [facts]}
    abort_swap  {id}                                                                                  -> whether there was one
    versions    {id}                                                                                  -> [version], newest first

Facts are the fields of `types.SwapResult`, a version those of `types.VersionInfo`. What is pickled passes through unopened. While a
swap runs, whoever asked is told how it goes: {"type": "swap", "id", "phase"}.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.core.keys import show
from dspex_runtime.errors import ConfigError, SwapError
from dspex_runtime.node.operations.answers import Args
from dspex_runtime.node.session import Responder, Session
from dspex_runtime.node.swapping.member import Order
from dspex_runtime.node.swapping.specs import new_spec

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node

#: What is said of one member, and what each is.
MEMBER: Final[dict[str, type]] = {"id": str, "spec": dict, "version": str, "migrate": bytes, "verify": dict, "extra": bytes}
VERIFY: Final[dict[str, type]] = {"pickled": bytes, "call": str, "command": list}


def swap(node: Node, args: Args, responder: Responder) -> None:
    """Swap members, all or none; answers when they serve."""
    who = _client(responder).label
    why = args.get("why") or "swap"
    orders = [_order(node, member, why) for member in args["members"]]
    node.swaps.begin(orders, drain_s=args.get("drain"), timeout_s=args.get("timeout"), who=who, responder=responder)


def abort_swap(node: Node, args: Args, responder: Responder) -> None:
    """Give up the swap of a child; answers whether there was one."""
    why = f"{_client(responder).label} has aborted it"
    responder.reply(node.swaps.abort(node.registry.resolve(args["id"]).id, why))


def rollback(node: Node, args: Args, responder: Responder) -> None:
    """Swap a child back to a version that has served."""
    who = _client(responder).label
    record = node.swaps.swappable(args["id"])
    version, current = node.versions.find(record, args.get("version")), node.versions.current(record)
    is_down = current is not None and version.of < current.of
    order = Order(
        record.id,
        node.versions.again(record, version),
        down=is_down,
        down_to=version.version if is_down else None,
        why=f"rollback to {version.number}",
        of=version.of,
    )
    node.swaps.begin([order], drain_s=args.get("drain"), timeout_s=args.get("timeout"), who=who, responder=responder)


def versions(node: Node, args: Args, responder: Responder) -> None:
    """The versions of a child that have served."""
    responder.reply(node.versions.shown(node.registry.resolve(args["id"])))


def _client(responder: Responder) -> Session:
    if not isinstance(responder.session, Session):
        raise SwapError("a module swaps another one as a client: dx.connect().swap(...)", code="refused")
    return responder.session


def _order(node: Node, member: Any, why: str) -> Order:
    if not isinstance(member, dict) or not isinstance(member.get("id"), str):
        raise ConfigError(f"malformed request 'swap': a member is a map with an id; got {show(member, 200)}")
    for name, value in member.items():
        if value is not None and (name not in MEMBER or not isinstance(value, MEMBER[name])):
            raise ConfigError(f"malformed request 'swap': {name!r} of a member; got {show(value, 200)}", id=member["id"])
    verify = member.get("verify")
    if verify is not None and (len(verify) != 1 or not all(isinstance(verify[how], VERIFY.get(how, ())) for how in verify)):
        text = f"malformed request 'swap': 'verify' is one of {', '.join(VERIFY)}; got {show(verify, 200)}"
        raise ConfigError(text, id=member["id"])
    record = node.swaps.swappable(member["id"])
    spec = new_spec(node, record, member.get("spec"), member.get("version"))
    return Order(record.id, spec, member.get("migrate"), verify, member.get("extra"), why=why)
