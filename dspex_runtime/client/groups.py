"""Groups as a client knows them: who may be called now, as the runtime says, and how much each has to do, as the board does.

Owns what is known. Never sends anything; where a request goes is decided in `routing`.
"""

from __future__ import annotations

import mmap
import os
import random
import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any

from dspex_runtime.client.channel_pool import ChannelPool
from dspex_runtime.osproc.board import BOARD_BYTES, QUEUED, RUNNING, SLOT_FIELDS

__all__ = ["Group", "Load", "Member"]


class Load:
    """How much every process of a runtime has to do, read from its board."""

    def __init__(self, fd: int) -> None:
        try:
            self._map = mmap.mmap(fd, BOARD_BYTES, prot=mmap.PROT_READ)
        finally:
            os.close(fd)
        self._words: memoryview[int] = memoryview(self._map).cast("Q")

    def of(self, slot: int) -> int:
        """Return how many calls a process runs and has queued. Cost: 0.1 us."""
        words, at = self._words, slot * SLOT_FIELDS
        try:
            return words[at + RUNNING] + words[at + QUEUED]
        except ValueError:  # closed by another thread: the call will say so
            return 0

    def close(self) -> None:
        """Let go of the board. Closing twice is fine."""
        self._words.release()
        self._map.close()


class Member:
    """One replica, in one incarnation.

    Attributes:
        pool: The pipes to it.
        mine: Requests of this process that it has, or is about to get.
    """

    __slots__ = ("id", "incarnation", "mine", "pool", "slot")

    def __init__(self, id: str, incarnation: int, slot: int, pool: ChannelPool) -> None:
        self.id = id
        self.incarnation = incarnation
        self.slot = slot
        self.pool = pool
        self.mine = 0


class Group:
    """The replicas behind one id that may be called now. Safe to use from many threads.

    Args:
        pool_of: Returns the pipes to one replica.
        load: Where it is read how much each has to do.
        facts: What the runtime says.
        written: Told which replica has made a write under the group's id, by the full ids of both: from that one it is read then.
    """

    def __init__(
        self,
        pool_of: Callable[[str], ChannelPool],
        load: Load,
        facts: Mapping[str, Any],
        written: Callable[[str, str], None] = lambda _group, _replica: None,
    ) -> None:
        self._pool_of = pool_of
        self._written = written
        self._load = load
        # The garbage collector may end a stream, and so call `ended`, in whatever is done under the lock: that then goes on with
        # the same members, one of which has less to do. Nothing else is taken under it.
        self._lock = threading.RLock()
        self.members: tuple[Member, ...] = ()
        self.id: str = facts["id"]
        self.shares: bool = facts["shares"]
        self._seq = 0
        self.know(facts)

    def know(self, facts: Mapping[str, Any]) -> bool:
        """Go by what the runtime says; requests that are under way go on. Returns False for what is older than what is known."""
        pools = {id: self._pool_of(id) for id, _, _ in facts["members"]}  # takes a lock of its own
        with self._lock:
            if facts["seq"] < self._seq:
                return False
            self._seq = facts["seq"]
            before = {(member.id, member.incarnation, member.slot): member for member in self.members}
            self.members = tuple(
                before.get((id, incarnation, slot)) or Member(id, incarnation, slot, pools[id])
                for id, incarnation, slot in facts["members"]
            )
            self.shares = facts["shares"]
        return True

    def take(self, but: Collection[Member] = ()) -> Member | None:
        """Return who has the least to do, any of several, as who gets a request now; None when there is nobody but those of `but`.

        A process counts what it has read. What this one has sent and that one has not read yet is counted here.
        """
        with self._lock:  # two threads at the same time: the second sees what the first has taken
            member = self._least_loaded(but)
            if member is not None:
                member.mine += 1
            return member

    def take_lowest(self, but: Collection[Member] = ()) -> Member | None:
        """Return the replica with the lowest number, as who gets a request now; None when there is nobody but those of `but`."""
        with self._lock:
            for member in self.members:
                if member not in but and member.incarnation > member.pool.after:
                    member.mine += 1
                    return member
        return None

    def _least_loaded(self, but: Collection[Member]) -> Member | None:
        best: list[Member] = []
        least = 0
        for member in self.members:
            if member in but or member.incarnation <= member.pool.after:
                continue
            if member.pool.own and len(self.members) > 1:
                continue  # a module that asks its own group means another one
            load = max(self._load.of(member.slot), member.mine)
            if not best or load < least:
                best, least = [member], load
            elif load == least:
                best.append(member)
        return random.choice(best) if len(best) > 1 else best[0] if best else None

    def ended(self, member: Member) -> None:
        """A request that it got is over, however."""
        with self._lock:
            member.mine -= 1

    def written(self, leader: Member) -> None:
        """A replica has made a write, and all have it."""
        self._written(self.id, leader.id)

    def forked(self) -> None:
        """In a forked child: a lock of another thread cannot be waited for."""
        self._lock = threading.RLock()
        for member in self.members:
            member.mine = 0
