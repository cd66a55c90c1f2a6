"""Children as users name them to a runtime: by id, by reference, or by a key of the registry."""

from __future__ import annotations

from typing import Any

from dspex_runtime.client.asking import QUICK_S, ask
from dspex_runtime.client.session import Session
from dspex_runtime.client.steps import Steps
from dspex_runtime.core.keys import show, typed
from dspex_runtime.errors import ConfigError, NoProcessError, SupervisorError
from dspex_runtime.host.ids import Child, id_of, is_named, of_proxy

__all__ = ["Child", "Via", "child_id", "holder", "looked_up"]


class Via:
    """A key instead of an id: `rt.server(dx.Via(key))`, also `rt.module` and `rt.ref`.

    The reference is not bound to a child: every call goes to whoever holds the key then, and fails with NoProcessError when
    nobody does. Costs one question to the runtime for each call.
    """

    __slots__ = ("key",)

    def __init__(self, key: Any) -> None:
        typed(key)
        self.key = key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Via) and typed(other.key) == typed(self.key)

    def __hash__(self) -> int:
        return hash(typed(self.key))

    def __repr__(self) -> str:
        return f"Via({self.key!r})"


def holder(session: Session, via: Via, kind: str | None = None) -> Steps[str]:
    """Return the full id of who holds a key now.

    Raises:
        NoProcessError: Nobody does.
        ConfigError: It is of another kind.
        RegistryError: "duplicate_key": the key names no single process.
    """
    found = yield from ask(session, "whereis", {"key": via.key}, QUICK_S)
    if found is None:
        raise NoProcessError(f"nobody is registered under key {show(via.key)}")
    if kind not in (None, found["kind"]):
        raise ConfigError(f"key {show(via.key)} is held by {found['id']!r}, a {found['kind']}, not a {kind}", id=found["id"])
    return str(found["id"])


def looked_up(session: Session, target: Any) -> Steps[str]:
    """Return the id that an id, a reference or a key (`Via`) means.

    Raises:
        ConfigError: It is none of these, or a reference of another runtime.
        NoProcessError: Nobody holds the key.
    """
    reference = of_proxy(target)
    if is_named(reference):
        reference = reference.via
    if isinstance(reference, Via):
        return (yield from holder(session, reference))
    return id_of(target, session.socket_path)


def child_id(session: Session, supervisor: Any, target: Any) -> Steps[Any]:
    """Return what a child is called under its supervisor: a reference knows its full id.

    Raises:
        SupervisorError: "not_found": it leads to a child of another supervisor.
    """
    full_id = yield from looked_up(session, target)
    if isinstance(target, str):
        return full_id
    path, _, id = full_id.rpartition("/")
    if path != ("" if supervisor == "root" else supervisor) and not path.endswith(f"/{supervisor}"):
        raise SupervisorError("not_found", f"{full_id!r} is no child of {supervisor!r}", id=full_id)
    return id
