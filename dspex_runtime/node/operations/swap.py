"""Swaps and rollbacks as clients ask for them. Who carries them out is `node.swapping`.

    swap        {members: [{id, spec?, version?, migrate?, verify?, extra?}], drain?, timeout?, why?} -> {members: [facts]}
    rollback    {id, version?, drain?, timeout?}                                                      -> {members: [facts]}
    abort_swap  {id}                                                                                  -> whether there was one
    versions    {id}                                                                                  -> [version], newest first

Facts are the fields of `types.SwapResult`, a version those of `types.VersionInfo`. What is pickled passes through unopened. While a
swap runs, whoever asked is told how it goes: {"type": "swap", "id", "phase"}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.core.keys import show
from dspex_runtime.errors import ConfigError, SwapError
from dspex_runtime.node.groups import Group
from dspex_runtime.node.operations.answers import Args
from dspex_runtime.node.registry import Record
from dspex_runtime.node.session import Responder, Session
from dspex_runtime.node.swapping.order import Order
from dspex_runtime.node.swapping.rolling import Rolling
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
    if (group := _group(node, args["members"])) is not None:
        member = args["members"][0]
        _roll(node, group, lambda record: _order(node, {**member, "id": record.id}, why), args, responder)
        return
    orders = [_order(node, member, why) for member in args["members"]]
    node.swaps.begin(orders, drain_s=args.get("drain"), timeout_s=args.get("timeout"), who=who, responder=responder)


def abort_swap(node: Node, args: Args, responder: Responder) -> None:
    """Give up the swap of a child; answers whether there was one."""
    why = f"{_client(responder).label} has aborted it"
    group = node.registry.group(args["id"])
    if group is not None:
        responder.reply(node.replicas.abort_swap(group, why))
    else:
        responder.reply(node.swaps.abort(node.registry.resolve(args["id"]).id, why))


def rollback(node: Node, args: Args, responder: Responder) -> None:
    """Swap a child back to a version that has served."""
    who = _client(responder).label
    if (group := node.registry.group(args["id"])) is not None:
        _roll(node, group, lambda record: _back_to(node, record, args.get("version")), args, responder)
        return
    order = _back_to(node, node.swaps.swappable(args["id"]), args.get("version"))
    node.swaps.begin([order], drain_s=args.get("drain"), timeout_s=args.get("timeout"), who=who, responder=responder)


def _back_to(node: Node, record: Record, wanted: int | str | None) -> Order:
    version, current = node.versions.find(record, wanted), node.versions.current(record)
    is_down = current is not None and version.of < current.of
    return Order(
        record.id,
        node.versions.again(record, version),
        down=is_down,
        down_to=version.version if is_down else None,
        why=f"rollback to {version.number}",
        of=version.of,
    )


def _group(node: Node, members: list[Any]) -> Group | None:
    """Return the group that is to be swapped; None for members that are single children.

    Raises:
        SwapError: It is one of several.
    """
    ids = [member["id"] for member in members if isinstance(member, dict) and isinstance(member.get("id"), str)]
    found = [group for id in ids if (group := node.registry.group(id)) is not None]
    if found and len(members) > 1:
        text = f"{found[0].id!r} is a group: its replicas are swapped one after the other, and not together with others"
        raise SwapError(text, code="refused", id=found[0].id, hint="swap it alone")
    return found[0] if found else None


def _roll(node: Node, group: Group, order_of: Callable[[Record], Order], args: Args, responder: Responder) -> None:
    who, drain_s, timeout_s = _client(responder).label, args.get("drain"), args.get("timeout")

    def work(done: Callable[[], None]) -> None:
        node.replicas.roll(
            group, Rolling(node, group, order_of, drain_s=drain_s, timeout_s=timeout_s, who=who, responder=responder, done=done)
        )

    node.replicas.in_turn(group, work)


def versions(node: Node, args: Args, responder: Responder) -> None:
    """The versions of a child that have served."""
    group = node.registry.group(args["id"])
    record = node.registry.resolve(args["id"]) if group is None else group.lowest()
    responder.reply([] if record is None else node.versions.shown(record))


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
