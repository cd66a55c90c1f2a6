"""The parameters of a GenServer: checked when its class is made, given cells before its init. Loaded only where there are any."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from dspex_runtime.host.hosted import Declared
from dspex_runtime.params.containers import Container, containers_in
from dspex_runtime.params.parameter import Cell, declared

CALLBACKS: Final = frozenset(
    {"init", "handle_call", "handle_cast", "handle_info", "handle_continue", "terminate", "code_change", "format_status"}
    | {"get_state", "set_state"}
)


def check_class(cls: type) -> None:
    """Refuse wrong declarations.

    Raises:
        TypeError: Of the wrong type, or the name is a callback's.
        ValueError: Its parts do not fit each other.
    """
    for name in declared(cls):
        if name in CALLBACKS or (name.startswith("__") and name.endswith("__")):
            raise TypeError(f"{cls.__qualname__}.{name} needs another name: {name!r} has a meaning of its own in a GenServer")


def cells_of(server: Any) -> list[Declared]:
    """Return the parameters of a server, each with its cell; what its __init__ assigned is the initial value."""
    found = []
    for name, parameter in declared(type(server)).items():
        cell = parameter.cell(server)
        cell.begin()
        found.append(Declared(name, cell.spec, cell))
    return found


def watched(parameters: Iterable[Declared]) -> list[Container]:
    """Return those that a callback can change in place, to be compared after it."""
    return containers_in(holder for _, _, holder in parameters if isinstance(holder, Cell))
