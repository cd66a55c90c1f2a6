"""How a supervisor's answer becomes a client's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.errors import DspexError, SupervisorError
from dspex_runtime.node.registry import Record
from dspex_runtime.node.session import Responder

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node
    from dspex_runtime.node.supervision import Supervision

FORGOTTEN_WITHIN_S: Final = 2.0  # a keeper that is just being replaced is not waited for

Args = dict[str, Any]
Answer = Callable[[Any, DspexError | None], None]  # (value, error)


def tree_of(node: Node) -> Supervision:
    """Return the supervision of a booted node."""
    assert node.supervision is not None
    return node.supervision


def supervisor_of(node: Node, id: str) -> Record:
    """Return the record of a supervisor."""
    record = node.registry.resolve(id)
    if record.spec.supervisor is None:
        raise SupervisorError("not_found", f"{record.id!r} is a {record.spec.kind}, not a supervisor", id=record.id)
    return record


def taken(record: Record) -> SupervisorError:
    """Return the refusal of a start under an id that exists."""
    code = "already_present" if record.gone else "already_started"
    hint = f"`rt.start({record.id!r})` starts it again, `rt.delete({record.id!r})` forgets it" if record.gone else None
    return SupervisorError(code, f"{record.id!r} exists already and is {record.state}", id=record.id, hint=hint)


def identity(record: Record) -> dict[str, Any]:
    """Return what a client needs to make a reference."""
    return {"id": record.id, "incarnation": record.incarnation, "kind": (record.kind or record.spec.kind).value}


def concerned(node: Node, id: str) -> frozenset[str]:
    """Return what changes with a child or a group: itself, the group that it is a replica of, or its replicas."""
    group, record = node.registry.groups.get(id), node.registry.get(id)
    above = record.spec.replica if record is not None else None
    return frozenset({id, *(() if group is None else group.ids), *(() if above is None else (above.of,))})


def settled(node: Node, id: str, answer: Answer) -> Answer:
    """Answer when those that depend on what has changed, a child or a group, go by it; an error does not wait.

    After a stop they do without it, after a start with it. Others are not waited for.
    """
    before = concerned(node, id)  # it may be gone then

    def later(value: Any, error: DspexError | None) -> None:
        if error is not None:
            answer(value, error)
        else:
            _behind(node, before | concerned(node, id), lambda: answer(value, None))

    return later


def _behind(node: Node, ids: frozenset[str], then: Callable[[], None]) -> None:
    dependencies = tree_of(node).dependencies
    if dependencies.used:  # they are told when its supervisor has heard of it: behind what is being handled now
        node.loop.call_soon(lambda: dependencies.tellings.when_heard(ids, then))
    else:
        then()


def started(node: Node, responder: Responder) -> Answer:
    """Answer with the identity of the child that was started, or "undefined" where it ignored."""

    def reply(full_id: Any) -> None:
        record = node.registry.get(full_id) if full_id is not None else None
        responder.reply(identity(record) if record is not None else "undefined")

    def answer(full_id: Any, error: DspexError | None) -> None:
        if error is not None:
            responder.fail(error)
        elif full_id is None:
            reply(None)
        else:
            _behind(node, concerned(node, full_id), lambda: reply(full_id))

    return answer


def done(node: Node, id: str, responder: Responder) -> Answer:
    """Answer with nothing."""

    def answer(_value: Any, error: DspexError | None) -> None:
        responder.reply(None) if error is None else responder.fail(error)

    return settled(node, id, answer)


def erased(node: Node, full_id: str, responder: Responder) -> Answer:
    """Answer with nothing when a child is forgotten, and with it what it had written."""
    return erasing(node, full_id, done(node, full_id, responder))


def erasing(node: Node, full_id: str, then: Answer) -> Answer:
    """Go on when a child is forgotten, and with it what it had written."""

    def answer(_value: Any, error: DspexError | None) -> None:
        if error is not None:
            then(None, error)
            return
        before = node.keeping.n_tables
        node.registry.erase(full_id)
        if node.keeping.n_tables == before:
            then(None, None)
        else:
            # Behind the word that its table goes: when this is answered, nobody can read its parameters any more.
            node.keeping.ask("figures", {}, lambda *_: then(None, None), timeout_s=FORGOTTEN_WITHIN_S)

    return answer


def value(responder: Responder) -> Answer:
    """Answer with the value itself."""

    def answer(result: Any, error: DspexError | None) -> None:
        responder.reply(result) if error is None else responder.fail(error)

    return answer
