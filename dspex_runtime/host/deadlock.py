"""Calls that wait for each other in a circle: which of the queued ones could never begin. Pure; the loop says what there is.

A call brings its chain: the calls that wait for it, outermost first, as `[full id, token]`. Each goes on when the one it called
has ended. So where every call thread serves a call that is in the chain of something queued here, and that waits for one of these
threads, nothing here will ever move: those queued requests are the circle, and are refused.

A thread that serves any other call ends some day and takes the next request: there is no deadlock as long as there is one. Calls
on the loop thread take no call thread, and hold up nobody. What is sent without waiting (casts, send_request) brings no chain.

Not seen from one mailbox, and not claimed: two modules that call each other for two *different* callers at the same moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias, TypeVar

__all__ = ["Chain", "comes_back", "deadlocked"]

Chain: TypeAlias = Sequence[Sequence[Any]]  # of [full id, token]; as it came from a client: its inside was not looked at

R = TypeVar("R")


def comes_back(own: str, chain: Chain | None) -> bool:
    """Return whether a call was made, over others, by a call of the module it goes to: only such a one can close a circle."""
    return chain is not None and any(_is_of(own, link) for link in chain)


def deadlocked(
    own: str, held: Sequence[int | None], threads: int, queued: Iterable[tuple[R, Chain | None]]
) -> list[tuple[R, list[str]]]:
    """Return the queued requests that could never begin, each with its circle of ids: `["a", "b", "a"]`. Empty: no deadlock.

    Args:
        own: Full id of the module.
        held: For each call that holds a call thread the token under which it has called others; None: it has called nobody.
        threads: How many calls may hold one.
        queued: What waits for a thread, with its chain.
    """
    if len(held) < threads or None in held:
        return []
    found: list[tuple[R, list[str]]] = []
    blocked: set[int] = set()
    for request, chain in queued:
        begins = [place for place, link in enumerate(chain or ()) if _is_of(own, link) and link[1] in held]
        if chain is not None and begins:
            found.append((request, [*(str(link[0]) for link in chain[begins[0] :]), own]))
            blocked.update(chain[place][1] for place in begins)
    return found if blocked.issuperset(held) else []


def _is_of(own: str, link: Sequence[Any]) -> bool:
    match link:
        case [id, int()]:
            return bool(id == own)
        case _:
            return False
