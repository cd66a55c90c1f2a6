"""Who holds which lock and who waits for it: one mutex per key, served in the order they asked.

A claim is one party's: a client or a process (the owner, whose end releases all that is its) and a token that tells its
threads and tasks apart. Not re-entrant: asking for what one holds or waits for already is an error, not a deadlock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from dspex_runtime.core.keys import TypedKey, show, typed
from dspex_runtime.errors import RegistryError

__all__ = ["Claim", "LockTable"]

Owner = TypeVar("Owner", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Claim(Generic[Owner]):
    """One thread's or task's wish to hold one key."""

    key: TypedKey
    owner: Owner
    token: str


class LockTable(Generic[Owner]):
    """Per key a queue of claims; the first one holds the lock. Keys are compared as `keys.typed` says."""

    __slots__ = ("_by_owner", "_queues")

    def __init__(self) -> None:
        self._queues: dict[TypedKey, OrderedDict[Claim[Owner], None]] = {}
        self._by_owner: dict[Owner, OrderedDict[Claim[Owner], None]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def acquire(self, key: Any, owner: Owner, token: str) -> tuple[Claim[Owner], bool]:
        """Ask for a lock; returns the claim and whether it is granted at once. Else a later `release` grants it.

        Raises:
            RegistryError: "already_locked": this very party holds it, or waits for it.
            ConfigError: No such key can be.
        """
        claim = Claim(typed(key), owner, token)
        queue = self._queues.setdefault(claim.key, OrderedDict())
        if claim in queue:
            state = "holds" if self.holder(key) == claim else "waits for"
            text = f"lock {show(key)}: the caller {state} it already; locks are not re-entrant, waiting would never end"
            raise RegistryError("already_locked", text)
        queue[claim] = None
        self._by_owner.setdefault(owner, OrderedDict())[claim] = None
        return claim, len(queue) == 1

    def release(self, claim: Claim[Owner]) -> Claim[Owner] | None:
        """Give up a lock, or the wait for it; returns the claim that holds it now, if this one did and others wait.

        A claim that is not known changes nothing.
        """
        queue = self._queues.get(claim.key)
        if queue is None or claim not in queue:
            return None
        held = next(iter(queue)) == claim
        del queue[claim]
        of_owner = self._by_owner[claim.owner]
        del of_owner[claim]
        if not of_owner:
            del self._by_owner[claim.owner]
        if not queue:
            del self._queues[claim.key]
            return None
        return next(iter(queue)) if held else None

    def moved(self, claim: Claim[Owner], owner: Owner, token: str) -> Claim[Owner]:
        """Make a claim another party's, in its place in the line; returns that party's claim.

        Raises:
            ValueError: That party has a claim on this key already.
        """
        moved = Claim(claim.key, owner, token)
        queue = self._queues[claim.key]
        if moved == claim:
            return claim
        if moved in queue:
            raise ValueError(f"{owner!r} has a claim {token!r} on lock {show(claim.key)} of its own")
        self._queues[claim.key] = OrderedDict.fromkeys(moved if each == claim else each for each in queue)
        of_owner = self._by_owner[claim.owner]
        del of_owner[claim]
        if not of_owner:
            del self._by_owner[claim.owner]
        self._by_owner.setdefault(owner, OrderedDict())[moved] = None
        return moved

    def owner_gone(self, owner: Owner) -> list[Claim[Owner]]:
        """A client or process ended: drop its claims; returns those that are granted now, never one of its own."""
        # Its waits first: what it held must not be granted to its own dead waiters.
        claims = sorted(self.claims(owner), key=self._holds)
        granted = [self.release(claim) for claim in claims]
        return [claim for claim in granted if claim is not None]

    def holder(self, key: Any) -> Claim[Owner] | None:
        """Return who holds a lock."""
        queue = self._queues.get(typed(key))
        return next(iter(queue)) if queue else None

    def claims(self, owner: Owner) -> list[Claim[Owner]]:
        """Return what an owner holds or waits for."""
        return list(self._by_owner.get(owner, ()))

    def _holds(self, claim: Claim[Owner]) -> bool:
        return next(iter(self._queues[claim.key])) == claim
