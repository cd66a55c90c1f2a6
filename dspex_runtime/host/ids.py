"""References where ids are taken: whatever leads to a child of this runtime stands for its id.

Known by what they have, as this side of the package knows none of their classes: `id` and `socket_path` of a reference, `dx` of
a proxy, `via` of one that is looked up at every use. Never asks the runtime.
"""

from __future__ import annotations

import os
from typing import Any, Protocol, TypeAlias

from dspex_runtime.core.keys import show
from dspex_runtime.errors import ConfigError

__all__ = ["Child", "Named", "Proxy", "Reference", "id_of", "is_named", "of_proxy"]


class Reference(Protocol):
    """A ServerRef or a ModuleRef."""

    id: str

    @property
    def socket_path(self) -> str:
        """Address of its runtime."""
        ...


class Proxy(Protocol):
    """A ModuleProxy."""

    @property
    def dx(self) -> Any:
        """The reference in it."""
        ...


class Named(Protocol):
    """A reference to whoever holds a key."""

    via: Any


Child: TypeAlias = "str | Reference | Proxy | Named"


def of_proxy(target: Any) -> Any:
    """Return the reference in a proxy; anything else as it is."""
    return target.dx if hasattr(type(target), "dx") else target


def is_named(target: Any) -> bool:
    """Return whether it is a reference that has no id of its own: asked of the class, as the instance would look its holder up."""
    return hasattr(type(target), "via")


def id_of(target: Any, socket_path: str) -> str:
    """Return the id that text or a reference to one child means.

    Raises:
        ConfigError: It is neither, or leads to a child of another runtime than the one at `socket_path`.
    """
    if isinstance(target, str):
        return target
    reference = of_proxy(target)
    id, where = getattr(reference, "id", None), getattr(reference, "socket_path", None)
    if not isinstance(id, str) or not isinstance(where, str):
        raise ConfigError(f"expected the id of a child, or a reference to it; got {show(target)}")
    if where != socket_path and os.path.realpath(where) != os.path.realpath(socket_path):
        raise ConfigError(f"{target!r} leads to another runtime ({where}); this is {socket_path}", id=id)
    return id
