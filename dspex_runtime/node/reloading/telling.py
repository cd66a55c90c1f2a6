"""What a running process is told of a new spec that needs no new process (`host.configuring`), and who else goes by it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.core.child_spec import ChildSpec, LaunchSpec
from dspex_runtime.errors import DspexError, RemoteError
from dspex_runtime.node.broker import pipe_facts
from dspex_runtime.node.dependency_view import table_of
from dspex_runtime.node.peer import PLAIN
from dspex_runtime.node.reloading.in_turn import Action, Done
from dspex_runtime.wire.faults import own_error
from dspex_runtime.wire.messages import EVENT

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node
    from dspex_runtime.node.registry import Record

__all__ = ["depends", "limits_told", "params_told", "settled", "tell"]

TIMEOUT_S: Final = 30.0  # a call may run that long before a check of the user's has its turn
LIMITS: Final = ("mailbox", "max_calls", "nice")  # the others only the parent reads


def tell(record: Record, old: LaunchSpec, new: LaunchSpec) -> Iterator[Action]:
    """Tell the process of a child what changes for it; nothing where none serves: the next one begins with it."""
    for told in ({"params": params_told(old, new)}, {"limits": limits_told(old, new)}):
        process = record.process
        if process is not None and process.serving and any(told.values()):
            yield lambda done, told=told: _ask(record, "configure", told, done)  # type: ignore[misc]


def depends(record: Record, spec: ChildSpec) -> Iterator[Action]:
    """Have the process of a child say whether it can go by what it is to depend on: it cannot degrade with nothing."""
    process, edges = record.process, spec.depends_on
    if process is not None and process.serving and edges != record.spec.depends_on:
        yield lambda done: _ask(record, "dependencies", {"table": table_of(edges, {}), "check": True}, done)


def settled(node: Node, record: Record) -> None:
    """A child goes by its new spec: have those know who keep something of it, or do something for it by the clock."""
    process = record.process
    if process is None or not process.serving:
        return
    node.keeping.ready(process)
    node.checkpointing.respecified(process)
    for session in node.sessions:  # pipes that are open stay open: their clients know what was said when they were opened
        session.peer.send([EVENT, 0, {"type": "pipes", **pipe_facts(record, process)}])


def params_told(old: LaunchSpec, new: LaunchSpec) -> dict[str, Any]:
    """Return which configured values are others now, and which are no more; {} for none."""
    changed = {name: value for name, value in new.params.items() if name not in old.params or not _same(old.params[name], value)}
    gone = [name for name in old.params if name not in new.params]
    return {"set": changed, "unset": gone} if changed or gone else {}


def limits_told(old: LaunchSpec, new: LaunchSpec) -> dict[str, Any]:
    """Return the limits that a process itself goes by and that are others now."""
    return {name: getattr(new.limits, name) for name in LIMITS if getattr(old.limits, name) != getattr(new.limits, name)}


def _same(old: Any, new: Any) -> bool:
    return type(old) is type(new) and bool(old == new)


def _ask(record: Record, op: str, told: dict[str, Any], done: Done) -> None:
    def answered(_value: Any, fault: dict[str, Any] | None) -> None:
        done(None if fault is None else _error_of(fault))

    process = record.process
    if process is None:
        done(None)
    else:
        process.request(op, told, TIMEOUT_S, answered)


def _error_of(fault: dict[str, Any]) -> DspexError:
    return own_error(fault, codec=PLAIN) or RemoteError(
        str(fault.get("message")),
        type_name=str(fault.get("type")),
        remote_traceback=str(fault.get("traceback") or ""),
        id=fault.get("id"),
        incarnation=fault.get("incarnation"),
    )
