"""Parameters of a module's parts under the module's own name: "retriever.k" of `qa` is k of `qa/retriever`.

What the module itself has goes before that. Owns nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from dspex_runtime.client.steps import Steps
from dspex_runtime.errors import NoProcessError, ParameterNotFoundError
from dspex_runtime.state.protocol import SHARED

if TYPE_CHECKING:
    from dspex_runtime.client.session import Session
    from dspex_runtime.params.view import View

__all__ = ["by_owner", "in_part", "looked_up", "pattern_of_part"]

R = TypeVar("R")


def looked_up(session: Session, id: str, name: str, look: Callable[[View, str], R]) -> Steps[R]:
    """Return what `look` finds of a parameter in the table that has it: that of the module, else that of its part.

    Raises:
        ParameterNotFoundError: Neither has it; names what the module has.
        NoProcessError: There is no such module.
    """
    try:
        return (yield from session.tables.reading(id, lambda view: look(view, name)))
    except ParameterNotFoundError:
        part = yield from in_part(session, id, name)
        if part is None:
            raise
        of, rest = part
    return (yield from session.tables.reading(of, lambda view: look(view, rest)))


def in_part(session: Session, id: str, name: str) -> Steps[tuple[str, str] | None]:
    """Return which part of a module has a parameter that the module has not, by full id, and what it is called there; or None."""
    part, dot, rest = name.partition(".")
    if not dot or not part or not rest or id == SHARED:
        return None
    id = f"{id}/{part}"
    try:
        yield from session.tables.reading(id, lambda view: view.version(rest))
    except ParameterNotFoundError:
        return (yield from in_part(session, id, rest))
    except NoProcessError:
        return None  # there is no such part
    return id, rest


def by_owner(session: Session, id: str, values: Mapping[str, Any]) -> Steps[dict[str, dict[str, str]]]:
    """Return, by full id, what is set where: the names there, each with the name that it goes by here."""
    found: dict[str, dict[str, str]] = {}
    for name in values:
        try:
            yield from session.tables.reading(id, lambda view, name=name: view.version(name))  # type: ignore[misc]
            of, rest = id, name
        except ParameterNotFoundError:
            of, rest = (yield from in_part(session, id, name)) or (id, name)
        found.setdefault(of, {})[rest] = name
    return found


def pattern_of_part(session: Session, id: str, pattern: str) -> Steps[tuple[str, str]]:
    """Return whose changes a pattern of names is about, and the pattern there: "retriever.*" is about those of a part.

    What the module itself has, or may come to have, goes before that.
    """
    part, dot, rest = pattern.partition(".") if isinstance(pattern, str) else ("", "", "")
    if not dot or not rest or not part.isidentifier() or id == SHARED:
        return id, pattern
    try:
        names = yield from session.tables.reading(id, lambda view: view.names())
        if any(name.startswith(f"{part}.") for name in names):
            return id, pattern
    except ParameterNotFoundError:
        pass  # it has none itself
    below = f"{id}/{part}"
    try:
        yield from session.tables.reading(below, lambda view: view.stamp())
    except ParameterNotFoundError:
        pass  # a part that has none itself; its own parts may
    except NoProcessError:
        return id, pattern
    return (yield from pattern_of_part(session, below, rest))
