"""Calls to a group: each goes to the replica that has the least to do, and to another one when that does not begin it.

At-most-once as for one module (`attempt`): what was given back, or whose replica died before it began, goes elsewhere at once;
what may have begun fails with the exit reason, unless its method is idempotent. While no replica serves, a call waits as one to a
single module does. What one thread sends goes to different replicas: it has no order.
"""

from __future__ import annotations

from time import sleep

from dspex_runtime.client.attempt import retry_pause_s
from dspex_runtime.client.channel_pool import ChannelPool, Link
from dspex_runtime.client.group_writes import OF_THE_LOWEST, refuse_own
from dspex_runtime.client.groups import Member
from dspex_runtime.client.itself import refuse_itself
from dspex_runtime.client.steps import run
from dspex_runtime.errors import CallTimeoutError, NoProcessError, OverloadedError
from dspex_runtime.wire.messages import OVERLOADED, RETRY, Message

__all__ = ["Route"]


class Route:
    """The way of one request: a replica, then another one for as long as it is given back.

    Args:
        pool: Of the group's own id.
        method: What is asked for: writes, and what is read of the program, go to the lowest replica.
    """

    __slots__ = ("_full", "_given_back", "_tried", "member", "method", "pool")

    def __init__(self, pool: ChannelPool, method: str = "") -> None:
        self.pool = pool
        self.method = method
        self.member: Member | None = None
        self._tried: set[Member] = set()
        self._given_back = 0
        self._full: dict[Member, int] = {}  # of those that were tried: how many requests wait in a full mailbox

    def take(self, deadline: float | None) -> tuple[ChannelPool, Link] | None:
        """Return the pool of a replica and a pipe to it, waiting for one until the deadline; None where it is no group any more.

        Raises:
            OverloadedError: All are.
            CallTimeoutError: None was ready at the deadline.
            NoProcessError: None is coming.
            RuntimeUnreachableError: The runtime is gone.
        """
        while self.pool.group is not None:
            member = self.next()
            if member is None:
                pause_s = self.begin_anew()
                if pause_s:
                    sleep(pause_s)
                run(self.pool.open(deadline))
                continue
            try:
                link = self._pipe(member, deadline)
            except BaseException:
                self.over()
                raise
            if link is not None:
                return member.pool, link
        return None

    def _pipe(self, member: Member, deadline: float | None) -> Link | None:
        """Return a pipe to a replica that serves now; None for one that does not."""
        link = member.pool.pooled()
        if link is not None:
            return link
        try:
            return run(member.pool.open(deadline, now=True))
        except (CallTimeoutError, NoProcessError):
            self.cannot(member)
            return None

    def next(self) -> Member | None:
        """Return who gets the request now, None when all have been tried, or there are none."""
        group = self.pool.group
        if group is not None and self.method in OF_THE_LOWEST:
            refuse_own(group, self.method)
            member = group.take_lowest(self._tried)
        else:
            member = None if group is None else group.take(self._tried)
        self.member = member
        if member is not None and member.pool.own:  # there is no other
            try:
                refuse_itself(member.id)
            except BaseException:
                self.over()
                raise
        return member

    def cannot(self, member: Member) -> None:
        """A replica takes no calls now, whatever is known of it."""
        self.over()
        self._tried.add(member)

    def begin_anew(self) -> float:
        """All were tried: return how long to wait before they are tried again.

        Raises:
            OverloadedError: All of them are overloaded.
        """
        tried, full = len(self._tried), self._full
        self._full = {}
        self._tried.clear()
        if full and len(full) == tried:
            member, limit = next(reversed(full.items()))
            text = f"the mailboxes of all replicas of {self.pool.id!r} are full: in {member.id!r} {limit} requests wait already"
            raise OverloadedError(text, id=self.pool.id, limit=limit)
        if full:  # of the others one may take it soon
            self._given_back += 1
        return retry_pause_s(self._given_back)

    def over(self) -> None:
        """The request is no longer with the replica that it was sent to. Twice is fine."""
        member, self.member = self.member, None
        if member is not None and (group := self.pool.group) is not None:
            group.ended(member)

    def given_back(self, message: Message) -> bool:
        """Return whether an answer means that the replica has not begun it: then it goes to another one.

        It is False for the answer of what was no replica: a request may be sent on to what has taken the group's place.
        """
        member = self.member
        if member is None:
            return False
        match message:
            case [int(kind), *_] if kind == RETRY:
                self._given_back += 1
            case [int(kind), _, int(limit)] if kind == OVERLOADED:
                self._full[member] = limit
            case _:
                return False
        self._tried.add(member)
        return True
