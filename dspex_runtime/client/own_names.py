"""`dx.whereis` and `dx.lookup`: a module process finds others by key and gets references to them.

Asks over the process's own control pipe, so that it works in `init` too; a connection is made when a reference is first used.
"""

from __future__ import annotations

from typing import Any

from dspex_runtime.client.proxies import module_proxy
from dspex_runtime.client.ref import ServerRef
from dspex_runtime.client.session import session_at
from dspex_runtime.core.keys import ANY, typed
from dspex_runtime.host.context import Process
from dspex_runtime.host.parent import ask

__all__ = ["lookup", "whereis"]


def whereis(key: Any) -> Any:
    """Return a reference to the living holder of a unique key, as `rt.whereis` does: None when nobody holds it.

    Raises:
        RegistryError: "duplicate_key": the key names no single process.
    """
    typed(key)
    found = ask("whereis", {"key": key})
    return None if found is None else _reference(found)


def lookup(key: Any, match: Any = ANY) -> list[tuple[Any, Any]]:
    """Return (reference, value) of each entry of a key whose value fits, as `rt.lookup` does."""
    typed(key)
    entries = ask("lookup", {"key": key, **({} if match is ANY else {"match": match})})
    return [(_reference(entry), entry["value"]) for entry in entries]


def _reference(found: dict[str, Any]) -> Any:
    assert Process.assignment is not None  # `ask` has an answer inside a module process only
    where = Process.assignment.socket
    match found["kind"]:
        case "server":
            return ServerRef(None, found["id"], where)
        case "module":
            return module_proxy(session_at(where), found["id"])
        case _:
            return found["id"]
