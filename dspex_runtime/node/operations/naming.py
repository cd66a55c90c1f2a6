"""The registry of names and the locks, for clients and for modules.

A module speaks for itself; a client names the process it speaks for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dspex_runtime.core.keys import ANY, Entry, Holder
from dspex_runtime.errors import ConfigError, DspexError, NoProcessError
from dspex_runtime.node.handing_on import packed_size
from dspex_runtime.node.linking import ProcessId
from dspex_runtime.node.module_process import ModuleProcess
from dspex_runtime.node.module_session import ModuleSession
from dspex_runtime.node.operations.answers import Args, identity
from dspex_runtime.node.operations.inspection import has_metadata
from dspex_runtime.node.registry import Record
from dspex_runtime.node.session import Responder
from dspex_runtime.types import FullId, Incarnation

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node


def register(node: Node, args: Args, responder: Responder) -> None:
    """Register a running process under a key."""
    holder = _holder(node, args, responder)
    if holder is None:
        raise ConfigError("a client has no name of its own: say which process is to be registered", hint="rt.register(key, id)")
    if not node.naming.alive(holder):
        raise NoProcessError(f"{holder.id!r} is not running: it cannot be registered", id=holder.id)
    node.naming.register(args["key"], holder, args.get("value"), unique=bool(args.get("unique", True)))
    responder.reply(None)


def unregister(node: Node, args: Args, responder: Responder) -> None:
    """Remove a process's entries of a key; of a client that names none: everybody's. Answers how many."""
    removed = node.naming.unregister(args["key"], _holder(node, args, responder), args.get("match", ANY))
    responder.reply(len(removed))


def update_value(node: Node, args: Args, responder: Responder) -> None:
    """Replace the value of a unique key; answers False where it is no longer the revision that was read."""
    holder, value = _holder(node, args, responder), args["value"]
    packed_size(value)  # what cannot be handed out is not taken
    responder.reply(node.naming.keys.update_value(args["key"], holder, value, args.get("revision")))


def whereis(node: Node, args: Args, responder: Responder) -> None:
    """The living holder of a unique key, or None."""
    record = node.naming.whereis(args["key"])
    responder.reply(None if record is None else identity(record))


def lookup(node: Node, args: Args, responder: Responder) -> None:
    """The entries of a key; without a key those of all."""
    match = args.get("match", ANY)
    table = node.naming.keys
    entries = table.lookup(args["key"], match=match) if "key" in args else table.select(match=match)
    responder.reply([_described(node, entry) for entry in entries])


def keys(node: Node, args: Args, responder: Responder) -> None:
    """The keys under which a process is registered."""
    holder = _holder(node, args, responder)
    responder.reply([] if holder is None else node.naming.keys.keys(holder))


def select(node: Node, args: Args, responder: Responder) -> None:
    """Children by metadata and version."""
    wanted, version = args.get("metadata") or {}, args.get("version")
    found = [record for record in node.registry if has_metadata(record, wanted) and version in (None, _version(record))]
    responder.reply([node.info(record) for record in found])


def lock(node: Node, args: Args, responder: Responder) -> None:
    """Answer when the lock is the asker's."""
    timeout_s = args.get("timeout")
    node.naming.lock(args["key"], str(args["token"]), None if timeout_s is None else float(timeout_s), responder)


def unlock(node: Node, args: Args, responder: Responder) -> None:
    """Give a lock up, or the wait for it."""
    responder.reply(node.naming.unlock(args["key"], str(args["token"]), responder.session.endpoint))


def listen(node: Node, _args: Args, responder: Responder) -> None:
    """Send Registered and Unregistered to the asking process."""
    node.naming.listen(_process(responder))
    responder.reply(None)


def unlisten(node: Node, _args: Args, responder: Responder) -> None:
    """Send them no more; answers whether they were sent."""
    responder.reply(node.naming.unlisten(_process(responder)))


def _process(responder: Responder) -> ModuleProcess:
    if not isinstance(responder.session, ModuleSession):
        raise DspexError("only a module or server has a mailbox to listen with", hint="rt.events() shows registrations to clients")
    return responder.session.process


def _holder(node: Node, args: Args, responder: Responder) -> Holder | None:
    """Return the incarnation that is meant: the named one's newest, else the asking module's own; None for a client."""
    if args.get("id") is not None:
        record = node.registry.resolve(args["id"])
        return Holder(FullId(record.id), Incarnation(record.incarnation))
    endpoint = responder.session.endpoint
    return Holder(FullId(endpoint.id), Incarnation(endpoint.incarnation)) if isinstance(endpoint, ProcessId) else None


def _version(record: Record) -> str | None:
    return record.version or record.spec.version


def _described(node: Node, entry: Entry) -> dict[str, Any]:
    record = node.registry.get(entry.holder.id)
    assert record is not None  # its names go before it does
    facts = {"key": entry.key, "value": entry.value, "unique": entry.unique, "revision": entry.revision}
    return {**identity(record), "incarnation": entry.holder.incarnation, **facts}
