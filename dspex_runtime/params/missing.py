"""The error for a parameter that is not there: whose it would be, what there is, and what was perhaps meant."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from dspex_runtime.errors import ParameterNotFoundError

__all__ = ["no_parameter", "of"]

_MOST_SHOWN: Final = 1000  # characters of the names there are


def of(id: str | None) -> str:
    """Return how a text goes on that has named a parameter: " of 'qa'". Ids that begin with "$" are the runtime's own."""
    if id is None:
        return ""
    return " of the runtime" if id.startswith("$") else f" of {id!r}"


def no_parameter(name: Any, known: Iterable[str], id: str | None, *, but: str = "") -> ParameterNotFoundError:
    """Return the error.

    Args:
        name: What was asked for; anything.
        known: The names there are.
        id: Whose they are; None: not known.
        but: Who asks for it: ", which ... sets".
    """
    from difflib import get_close_matches  # 2 ms to import, for an error

    names = sorted(known)
    close = get_close_matches(name, names, n=1) if isinstance(name, str) else []
    there_are = ", ".join(names) or "none"
    if len(there_are) > _MOST_SHOWN:
        there_are = f"{there_are[:_MOST_SHOWN]} ..."
    match id:
        case None:
            text = f"there is no parameter {name!r:.200}{but}; there are {there_are}"
        case str() if id.startswith("$"):
            text = f"the runtime has no shared parameter {name!r:.200}{but}; it has {there_are}"
        case _:
            text = f"{id!r} has no parameter {name!r:.200}{but}; it has {there_are}"
    return ParameterNotFoundError(
        text,
        name=str(name)[:200],
        id=id,
        hint=f"did you mean {close[0]!r}?" if close else None,
    )
