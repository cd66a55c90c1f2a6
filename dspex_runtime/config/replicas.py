"""One child that is wanted several times -> its replicas: processes of their own behind one id. Pure.

{id: qa, replicas: 3}    ->    qa#0  qa#1  qa#2    in place of qa, under the same supervisor
"""

from __future__ import annotations

from dataclasses import replace

from dspex_runtime.core.child_spec import ChildSpec, Replica
from dspex_runtime.core.names import full_id
from dspex_runtime.types import ChildId

__all__ = ["expanded", "numbered"]


def numbered(child: ChildSpec, number: int, shares: bool, path: str) -> ChildSpec:
    """Return one replica of a child that is no replica yet."""
    return replace(child, id=ChildId(f"{child.id}#{number}"), replica=Replica(full_id(path, child.id), number, shares))


def expanded(child: ChildSpec, count: int, shares: bool, path: str) -> tuple[ChildSpec, ...]:
    """Return the replicas 0 .. count - 1 of a child, in the order in which they are started.

    Args:
        child: The child as it was written, with the group's own id.
        count: How many; 1 makes a group of one, 0 none.
        shares: Whether a parameter that is written under the group's id is written in all of them.
        path: Full id of the supervisor they are under, "" for the root.
    """
    return tuple(numbered(child, number, shares, path) for number in range(count))
