"""The multiplexed pipes of one session in one event loop: which is used, who opens it, and in which order those who wait send.

What is sent before a pipe is open leaves in the order in which it was begun: whoever sends takes a `Turn`. Never reads or writes a
pipe. All of it runs in the loop's thread, but `close_threadsafe`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from dspex_runtime.client.channel_pool import ChannelPool
from dspex_runtime.client.deadline import remaining_s
from dspex_runtime.client.mux import MuxLink
from dspex_runtime.client.steps import arun
from dspex_runtime.errors import CallTimeoutError, RuntimeUnreachableError

if TYPE_CHECKING:
    from dspex_runtime.client.session import Session

T = TypeVar("T")


class Turn:
    """A place in the row of those who send to a module to which no pipe is open. `parked`: told that none can be opened now."""

    __slots__ = ("come", "parked")

    def __init__(self, come: asyncio.Future[None], parked: Callable[[], None] | None) -> None:
        self.come = come
        self.parked = parked


class _Row:
    __slots__ = ("parked", "turns")

    def __init__(self) -> None:
        self.turns: dict[Turn, None] = {}  # an ordered set
        self.parked = False


class MuxLinks:
    """The multiplexed pipes of one session in one event loop, one per module id."""

    def __init__(self, session: Session, loop: asyncio.AbstractEventLoop, known: weakref.WeakSet[MuxLink]) -> None:
        self.loop = loop
        self._session = weakref.ref(session)
        self._known = known  # every pipe of the session, whatever its loop
        self._links: dict[str, MuxLink] = {}
        self._rows: dict[str, _Row] = {}
        self._closed = False

    def ready(self, pool: ChannelPool) -> MuxLink | None:
        """Return the pipe to a module if one is open to its living incarnation and nobody waits to be the next to use it."""
        return None if pool.id in self._rows else self._usable(pool)

    def _usable(self, pool: ChannelPool) -> MuxLink | None:
        link = self._links.get(pool.id)
        if link is None or link.closed or link.retired or link.incarnation <= pool.after:
            return None
        return link

    def turn(self, pool: ChannelPool, parked: Callable[[], None] | None = None) -> Turn:
        """Take a place in the row; whoever does also leaves it."""
        row = self._rows.setdefault(pool.id, _Row())
        turn = Turn(self.loop.create_future(), parked)
        if not row.turns:
            turn.come.set_result(None)
        elif row.parked and parked is not None:
            parked()
        row.turns[turn] = None
        return turn

    def leave(self, pool: ChannelPool, turn: Turn) -> None:
        """Leave the row: the next is first. Leaving twice is fine."""
        row = self._rows.get(pool.id)
        if row is None or turn not in row.turns:
            return
        del row.turns[turn]
        if not row.turns:
            del self._rows[pool.id]
        elif not (first := next(iter(row.turns))).come.done():
            first.come.set_result(None)

    async def send(
        self, pool: ChannelPool, deadline: float | None, turn: Turn, say: Callable[[MuxLink], T], *, now: bool = False
    ) -> tuple[MuxLink, T] | None:
        """Send something when it is its turn, over a pipe that is opened if need be; None where the id is a group's.

        Leaves the row. With `now` it is CallTimeoutError when no pipe can be opened now.
        """
        try:
            try:
                async with asyncio.timeout(remaining_s(deadline)):  # wait_for swallows a cancellation when the turn has come
                    await turn.come
            except TimeoutError:
                raise CallTimeoutError(f"{pool.id!r} was not ready for the call before its deadline", id=pool.id) from None
            link = self._usable(pool) or await self._open(pool, deadline, now=now)
            return None if link is None else (link, say(link))
        finally:
            self.leave(pool, turn)

    def _parked_soon(self, id: str) -> None:
        try:
            self.loop.call_soon_threadsafe(self._parked, id)
        except RuntimeError:
            pass  # the loop was closed: nobody waits

    def _parked(self, id: str) -> None:
        row = self._rows.get(id)
        if row is not None:
            row.parked = True
            for turn in row.turns:
                if turn.parked is not None:
                    turn.parked()

    async def _open(self, pool: ChannelPool, deadline: float | None, *, now: bool) -> MuxLink | None:
        """Only the first of the row does this; one that fails or is cancelled does not fail the others with its own deadline."""
        session = self._session()
        assert session is not None  # the caller holds it
        try:
            info, fd = await arun(pool.request_pipe(deadline, lambda: self._parked_soon(pool.id), now=now))
            if "group" in info:
                await arun(pool.is_group(info, fd, deadline))
                return None
            pool.group = None
            if self._closed:  # the session was closed while the descriptor was under way
                os.close(fd)
                raise RuntimeUnreachableError("the connection to the runtime was closed", id=pool.id)
            if (old := self._links.get(pool.id)) is not None:
                old.retire()
            link = MuxLink(self.loop, socket.socket(fileno=fd), session.codec, pool, info["incarnation"])
            self._links[pool.id] = link
            self._known.add(link)
            return link
        finally:
            self._rows[pool.id].parked = False

    def close(self) -> None:
        """Close all pipes, for good; call it in the loop's thread, or when the loop does not run."""
        self._closed = True
        for link in list(self._links.values()):
            link.close()
        self._links.clear()

    def close_threadsafe(self) -> None:
        """Close all pipes from any thread."""
        if not self.loop.is_running() or asyncio._get_running_loop() is self.loop:
            self.close()
            return
        closed = threading.Event()
        self.loop.call_soon_threadsafe(self.close)
        self.loop.call_soon_threadsafe(closed.set)
        closed.wait(1.0)  # a loop that is stuck closes them when it goes on

    def forked(self) -> None:
        """See `MuxLink.forked`."""
        for link in self._links.values():
            link.forked()
        self._links.clear()
