"""What whoever calls several children wants to know before: what they are, how many calls they run at once, what a call takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dspex_runtime.errors import ConfigError, NoProcessError
from dspex_runtime.node.operations.answers import Args
from dspex_runtime.node.registry import Record
from dspex_runtime.node.session import Responder

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node

__all__ = ["callees"]


def callees(node: Node, args: Args, responder: Responder) -> None:
    """For each id, a group's too: {"id", "kind", "at_once", "awaited", "takes"}; None for one that there is not.

    `at_once` counts all replicas; `takes` is None where any keyword is taken, or where nothing runs that says it.
    """
    responder.reply([_callee(node, id) for id in args["ids"]])


def _callee(node: Node, id: Any) -> dict[str, Any] | None:
    if not isinstance(id, str):
        raise ConfigError(f"'ids' are full ids or tails of them, text; got {id!r:.50}")
    group = node.registry.group(id)
    try:
        records = [node.registry.resolve(id)] if group is None else list(group.records)
    except NoProcessError:
        return None
    processes = [record.process for record in records if record.process is not None]
    return {
        "id": records[0].id if group is None else group.id,
        "kind": _kind(records[0]) if records else group.spec.kind.value if group is not None else "",
        "at_once": sum(_at_once(record) for record in records),
        "awaited": any(process.awaited for process in processes),
        "takes": next((process.takes for process in processes if process.takes is not None), None),
    }


def _kind(record: Record) -> str:
    return (record.kind or record.spec.kind).value


def _at_once(record: Record) -> int:
    return record.spec.launch.concurrency if record.spec.launch is not None and _kind(record) == "module" else 1
