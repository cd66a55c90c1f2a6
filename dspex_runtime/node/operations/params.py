"""Parameters as clients and modules ask the runtime for them: tables to read, the past, and writes that no module can make.

Values pass through unopened. What is kept is asked of the keeper (`state.protocol`); who lives is known here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.core.keys import show
from dspex_runtime.errors import ConfigError, DspexError, ParameterNotFoundError
from dspex_runtime.node.keeping import Answer
from dspex_runtime.node.linking import ProcessId
from dspex_runtime.node.module_session import ModuleSession
from dspex_runtime.node.operations.answers import Args
from dspex_runtime.node.registry import Record
from dspex_runtime.node.session import Responder
from dspex_runtime.state.protocol import SHARED
from dspex_runtime.types import Kind

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node

STARTING_S: Final = 25.0  # how long a table is waited for that a module which is just starting will make
WRITES: Final = frozenset({"set", "rollback", "reset"})


def param_table(node: Node, args: Args, responder: Responder) -> None:
    """Give a descriptor of a table that can be read; answers None where a child has no parameters.

    Of a child that starts for the first time it waits until that is known.
    """
    if args["id"] == SHARED:
        node.keeping.reader(SHARED, _given(responder, SHARED))
        return
    record = node.registry.resolve(args["id"])
    keeping = node.keeping

    def settled() -> bool:
        return record.gone or record.spec.kind is Kind.SUPERVISOR or keeping.holds_table(record.id) or _serves(record)

    def ask() -> None:
        waiting.cancel()
        if responder.timer is not None:
            responder.timer.cancel()
        keeping.reader(record.id, _given(responder, record.id))

    waiting = Responder(responder.session, responder.request)
    responder.on_done = waiting.cancel
    responder.give_up_after(STARTING_S, f"{record.id!r} is {record.state}: it has no parameters yet")
    node.waiters.add(waiting, [record], settled, ask)


def param_blob(node: Node, args: Args, responder: Responder) -> None:
    """Give a descriptor of one version of a large value; answers None when that is superseded."""
    id = _full_id(node, args["id"])
    node.keeping.blob_of(id, args["name"], args["at"], _given(responder, id))


def param_history(node: Node, args: Args, responder: Responder) -> None:
    """The last changes of a parameter, newest first, values as bytes."""
    n = args.get("n", 100)
    if n < 1:
        raise ConfigError(f"a history has its last n versions, and n is 1 or more; got {n}")
    asked = {"id": _full_id(node, args["id"]), "name": args["name"], "n": n}
    node.keeping.ask("history", asked, _passed_on(responder))


def param_value_at(node: Node, args: Args, responder: Responder) -> None:
    """The value of a version, as bytes; a module asks for its own past."""
    id, name, version = _full_id(node, args["id"]), args["name"], args["at"]

    def found(value: Any) -> None:
        if value is None:
            text = f"version {version} of {name!r} is not kept: only the last 100 are"
            responder.fail(ParameterNotFoundError(text, name=name, id=id, hint="`param history` shows which are"))
        else:
            responder.reply(value)

    node.keeping.ask("value_at", {"id": id, "name": name, "version": version}, _passed_on(responder, found))


def param_write(node: Node, args: Args, responder: Responder) -> None:
    """Write a parameter of the runtime, or of a child that does not run; None where one runs, or is about to: it writes itself."""
    how = args["how"]
    if how not in WRITES:
        raise DspexError(f"unknown way to write a parameter: {show(how)}; there are {', '.join(sorted(WRITES))}")
    if args["id"] == SHARED:
        op, id = f"shared_{how}", SHARED
    else:
        record = node.registry.resolve(args["id"])
        if record.process is not None or not record.gone:
            responder.reply(None)
            return
        op, id = how, record.id
    change = {"value": args.get("value"), "expect": args.get("expect")} if how == "set" else {}
    if how == "rollback":
        change["version"] = args["at"]
    asked = {"id": id, "name": args["name"], "who": _who(responder), **change}
    node.keeping.ask(op, asked, _passed_on(responder))


def param_subscribe(node: Node, args: Args, responder: Responder) -> None:
    """Tell a module of changes; answers when all that happen from then on are told."""
    session = _module(responder)
    text = args["pattern"]
    node.subscriptions.follow(session.peer, 0, node.subscriptions.meant(text), key=text, ready=lambda: responder.reply(None))


def param_unsubscribe(node: Node, args: Args, responder: Responder) -> None:
    """Tell it no more; answers whether it was told."""
    responder.reply(node.subscriptions.unfollow(_module(responder).peer, args["pattern"]))


def _full_id(node: Node, id: str) -> str:
    return id if id == SHARED else node.registry.resolve(id).id


def _serves(record: Record) -> bool:
    return record.process is not None and record.process.serving


def _module(responder: Responder) -> ModuleSession:
    if not isinstance(responder.session, ModuleSession):
        raise DspexError("only a module or server has a mailbox for changes", hint="rt.subscribe(pattern, callback) tells a client")
    return responder.session


def _who(responder: Responder) -> str:
    endpoint = responder.session.endpoint
    return endpoint.id if isinstance(endpoint, ProcessId) else endpoint.label


def _given(responder: Responder, id: str) -> Answer:
    """Answer with the descriptor that the keeper gave."""

    def answer(_value: Any, fault: dict[str, Any] | None, fds: list[int]) -> None:
        if fault is not None:
            responder.fault(fault)
        elif fds:
            responder.give({"id": id}, fds[0])
        else:
            responder.reply(None)
        for fd in fds[1:]:
            os.close(fd)

    return answer


def _passed_on(responder: Responder, found: Callable[[Any], None] | None = None) -> Answer:
    """Answer with the keeper's value, or its fault."""

    def answer(value: Any, fault: dict[str, Any] | None, fds: list[int]) -> None:
        for fd in fds:
            os.close(fd)
        if fault is not None:
            responder.fault(fault)
        else:
            (found or responder.reply)(value)

    return answer
