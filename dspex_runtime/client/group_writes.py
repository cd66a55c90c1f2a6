"""Writes under the id of a group: made by its lowest replica, then had by all; refused where each has parameters of its own.

The lowest gives the version; the runtime gives what it has to the others, those included that only begin to serve, and this is
answered when they have it. Reads of the program under the group's id go to the lowest, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.client.steps import Await, Steps
from dspex_runtime.errors import ParameterError
from dspex_runtime.host.mailbox import OF_PARAMETERS

if TYPE_CHECKING:
    from dspex_runtime.client.channel_pool import ChannelPool
    from dspex_runtime.client.groups import Group, Member

__all__ = ["EDIT", "OF_THE_LOWEST", "WRITES", "refuse_own", "spread", "without_expectations"]

EDIT: Final = "$edit"
OF_THE_LOWEST: Final = OF_PARAMETERS
WRITES: Final = OF_PARAMETERS - {"$mirror"}  # that only shows the program


def refuse_own(group: Group, method: str) -> None:
    """Raise ParameterError for a write to a group whose replicas have parameters of their own."""
    if group.shares or method not in WRITES:
        return
    ids = ", ".join(member.id for member in group.members)
    text = f"the replicas of {group.id!r} have parameters of their own: what is set is set in one of them"
    raise ParameterError(text, id=group.id, hint=f"name one: {ids}; or declare `replicas: {{count: n, params: shared}}`")


def spread(pool: ChannelPool, leader: Member, method: str, args: tuple[Any, ...] | list[Any], value: Any) -> Steps[Any]:
    """Have the others take what the lowest replica has just written; return its answer, with the versions that all have.

    Raises:
        ParameterError: One of them refuses it, or is written to itself all the time.
        ProcessDownError: The lowest ended meanwhile: read the value to know whether it was set.
    """
    names = _names(method, args, value)
    if not names:
        return value
    asked = {"id": pool.id, "names": names, "with": leader.id, "incarnation": leader.incarnation}
    versions: dict[str, int] = yield Await(pool.connection.request("spread", asked))
    if pool.group is not None:
        pool.group.written(leader)
    if method == EDIT:
        return {**value, "versions": {**value["versions"], **versions}}
    if method == "$set_many":
        return {name: [versions.get(name, told[0]), *told[1:]] for name, told in value.items()}
    return [versions.get(names[0], value[0]), *value[1:]]


def without_expectations(edit: Mapping[str, Any]) -> dict[str, Any]:
    """Return an edit of a program as every replica takes it, whatever versions its parameters have."""
    free = dict(edit)
    for kind in ("parts", "cells"):
        free[kind] = {name: {**each, "expect": None} for name, each in edit[kind].items()}
    free["replaced"] = {name: {**each, "expect": {}} for name, each in edit["replaced"].items()}
    return free


def _names(method: str, args: tuple[Any, ...] | list[Any], value: Any) -> list[str]:
    if method == EDIT:
        edited = [*args[0]["parts"], *args[0]["cells"], *args[0]["replaced"]]
        return [name for name in value["versions"] if _is_in(name, edited)]
    return list(args[0]) if method == "$set_many" else [args[0]]


def _is_in(name: str, edited: Iterable[str]) -> bool:
    """Return whether a parameter is one of the parts that were edited, or inside one; "" is the program itself."""
    return any(not part or name == part or name.startswith((f"{part}.", f"{part}[")) for part in edited)
