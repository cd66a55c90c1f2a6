"""Calls and casts of a task: the rules of `calls`, over multiplexed pipes. No thread per call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any

from dspex_runtime.client.attempt import Lost, may_resend, retry_pause_s
from dspex_runtime.client.calls import CAST_TIMEOUT_S, refusal, timed_out
from dspex_runtime.client.channel_pool import ChannelPool
from dspex_runtime.client.deadline import deadline_after
from dspex_runtime.client.exits import process_down
from dspex_runtime.client.group_writes import WRITES, spread
from dspex_runtime.client.itself import refuse_itself, sent_to_itself
from dspex_runtime.client.mux import MuxLink, MuxRequest
from dspex_runtime.client.mux_links import MuxLinks, Turn
from dspex_runtime.client.routing import Route
from dspex_runtime.client.session import Session
from dspex_runtime.client.steps import arun
from dspex_runtime.errors import CallTimeoutError, NoProcessError, OverloadedError
from dspex_runtime.host.context import chain_of, current_request, waking
from dspex_runtime.wire.messages import CAST, REPLY, RETRY, Message


class Attempts:
    """One request over as many incarnations as its rules allow: begins it, and says what its end means.

    `waits` is whether its caller goes on only when it has ended: then it can be part of a deadlock.
    """

    __slots__ = (
        *("_chain", "_current", "_given_back", "_key", "_links", "_of", "_route", "_turn"),
        *("deadline", "method", "pool", "start", "timeout"),
    )

    def __init__(self, session: Session, id: str, method: str, timeout: float | None, *, waits: bool = True) -> None:
        self.pool = self._of = session.pool(id)  # of a group `pool` is that of the replica which has the request
        self._route: Route | None = None
        if self.pool.own:
            refuse_itself(id)
        self.method = method
        self.start = monotonic()
        self.timeout = timeout
        self.deadline = deadline_after(self.pool.call_timeout_s if timeout is None else timeout, self.start)
        self._links = session.mux(asyncio.get_running_loop())
        self._chain = chain_of(current_request.get()) if waits else None
        self._key: str | None = None
        self._given_back = 0
        self._turn: Turn | None = None
        self._current: tuple[MuxLink, MuxRequest] | None = None
        if self.deadline is not None and self.deadline <= self.start:
            raise self.timed_out()

    def timed_out(self) -> CallTimeoutError:
        """Return the error for a deadline that passed."""
        return timed_out(self._of, self.method, self.start, self.deadline)

    def send_now(self, args: list[Any], kwargs: dict[str, Any]) -> None:
        """Send the request without waiting; where no pipe is open take a place in the row of those who will. Then `answer`."""
        link = self.ready()
        if link is None:
            self._turn = self._links.turn(self.pool)
        else:
            self._current = link, self.send(link, args, kwargs)
            link.flush()

    def give_up(self) -> None:
        """Cancel what `send_now` has done, if `answer` did not take it over. Giving up twice is fine."""
        if self._turn is not None:
            self._links.leave(self.pool, self._turn)
        if self._current is not None:
            self._current[0].cancel(self._current[1])
        self._over()

    async def begin(
        self, args: list[Any], kwargs: dict[str, Any], credit: int = 0, written: Callable[[], None] | None = None
    ) -> tuple[MuxLink, MuxRequest]:
        """Send the request to the incarnation that is ready, waiting for one until the deadline."""
        link = self.ready() if self._turn is None else None
        if link is None:

            def say(link: MuxLink) -> MuxRequest:
                if self.timeout is None:
                    self.deadline = deadline_after(self.pool.call_timeout_s, self.start)
                return self.send(link, args, kwargs, credit)

            turn, self._turn = self._turn or self._links.turn(self.pool, written), None
            while (sent := await self._sent(turn, say)) is None:
                if (link := self.ready()) is not None:
                    sent = link, self.send(link, args, kwargs, credit)
                    break
                turn = self._links.turn(self.pool, written)
            link, request = sent
        else:
            request = self.send(link, args, kwargs, credit)
        if written is not None:
            link.when_written(written)
        if link.choked:
            try:
                await link.drained(self.deadline)
            except BaseException:
                link.cancel(request)
                raise
        return link, request

    async def _sent(self, turn: Turn, say: Callable[[MuxLink], MuxRequest]) -> tuple[MuxLink, MuxRequest] | None:
        """Send it over a pipe that is opened; None when it is to go elsewhere: to a replica, or to another one."""
        route = self._route
        if route is None or route.member is None:
            if route is not None and (pause_s := route.begin_anew()):
                await asyncio.sleep(pause_s)
            return await self._links.send(self._of, self.deadline, turn, say)
        try:
            return await self._links.send(self.pool, self.deadline, turn, say, now=True)
        except (CallTimeoutError, NoProcessError):
            route.cannot(route.member)
            return None

    async def answer(self, args: list[Any], kwargs: dict[str, Any], written: Callable[[], None] | None = None) -> Any:
        """Return the value, having sent the request if that was not done yet, and again as often as its rules say.

        `written` is called at least once when it is in the pipe, or waits for an incarnation that is not ready.
        """
        try:
            while True:
                if self._current is not None:
                    link, request = self._current
                    self._current = None
                elif written is None and self._turn is None and (ready := self.ready()) is not None and not ready.choked:
                    link, request = ready, self.send(ready, args, kwargs)  # as `begin`, without a coroutine of its own
                else:
                    link, request = await self.begin(args, kwargs, written=written)
                try:
                    message = await request.ended
                except TimeoutError:
                    raise self.timed_out() from None
                except asyncio.CancelledError:
                    link.cancel(request)
                    raise
                if message is not None and message[0] == REPLY:
                    if self._route is None or self._route.member is None or self.method not in WRITES:
                        return message[2]
                    return await arun(spread(self._of, self._route.member, self.method, args, message[2]))
                await self.again(link, request, message)
        finally:
            if self._route is not None:
                self._over()

    def ready(self) -> MuxLink | None:
        """Return the pipe if one is open; of a group that to the replica which gets the request."""
        if self._of.group is not None:
            self._choose()
        elif self._route is not None:
            self._route, self.pool = None, self._of
        return self._links.ready(self.pool)

    def _choose(self) -> None:
        """Have `pool` be that of a replica, unless none takes calls."""
        if self._route is None:
            self._route = Route(self._of, self.method)
        member = self._route.member or self._route.next()
        self.pool = self._of if member is None else member.pool

    def _over(self) -> None:
        """The request is not with the replica any more that it was sent to."""
        if self._route is not None:
            self._route.over()

    def send(self, link: MuxLink, args: list[Any], kwargs: dict[str, Any], credit: int = 0) -> MuxRequest:
        """Send the request over a pipe."""
        pool = self.pool
        if pool.idempotent and self._key is None and self.method in pool.idempotent:
            self._key = pool.new_key()
        return link.begin(self.method, args, kwargs, self.deadline, self._key, credit, self._chain)

    async def again(self, link: MuxLink, request: MuxRequest, message: Message | None, *, started: bool = False) -> None:
        """Return when the request is to be sent again; raise what its end means otherwise. A started stream is not."""
        elsewhere = message is not None and self._route is not None and self._route.given_back(message)
        self._over()
        if message is None:
            idempotent = self._key is not None and not started
            if may_resend(Lost(sent=True, reset=False, begun=request.begun, multiplexed=True), idempotent=idempotent):
                return
            raise await arun(process_down(self.pool.connection, self.pool.id, link.incarnation))
        if message[0] == RETRY:
            link.retire()
        if elsewhere:
            return
        if message[0] != RETRY:
            raise refusal(self.pool, message)
        await asyncio.sleep(retry_pause_s(self._given_back))
        self._given_back += 1


async def acall(
    session: Session,
    id: str,
    method: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    timeout: float | None,
    written: Callable[[], None] | None = None,
    *,
    waits: bool = True,
) -> Any:
    """Run one request and return its value, as `calls.call`; cancelling the task cancels the request in the module.

    `written` is called, perhaps more than once, when the request is in the pipe, or waits for an incarnation to be ready.
    `waits` is False where the caller may go on without the answer.
    """
    return await answered(Attempts(session, id, method, timeout, waits=waits), [*args], kwargs, written)


async def answered(attempts: Attempts, args: list[Any], kwargs: dict[str, Any], written: Callable[[], None] | None = None) -> Any:
    """Return the value of a request, see `Attempts.answer`; no later than the request that is served here is given up."""
    served = current_request.get()
    if served is None or served.handed_over:  # then it is a task that is cancelled, and what it awaits with it
        return await attempts.answer(args, kwargs, written)
    with waking(served, cancelling_this_task()):
        return await attempts.answer(args, kwargs, written)


def cancelling_this_task() -> Callable[[], None]:
    """Return what cancels the running task from any thread."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None

    def cancel() -> None:
        try:
            loop.call_soon_threadsafe(task.cancel)
        except RuntimeError:
            pass  # the loop was closed, and nothing runs there any more

    return cancel


async def acast(
    session: Session,
    id: str,
    method: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    written: Callable[[], None] | None = None,
) -> None:
    """Send a request that has no answer, as `calls.cast`; `written` as in `acall`."""
    pool = session.pool(id)
    if pool.own and sent_to_itself(pool, method, args, kwargs):
        return
    deadline = deadline_after(CAST_TIMEOUT_S, monotonic())
    links = session.mux(asyncio.get_running_loop())

    def say(link: MuxLink) -> None:
        link.say([CAST, next(pool.numbers), method, [*args], kwargs])

    link = links.ready(pool) if pool.group is None else None
    if link is not None:
        say(link)
    else:
        try:
            sent = await links.send(pool, deadline, links.turn(pool, written), say) if pool.group is None else None
            if sent is not None:
                link = sent[0]
            else:
                pool, link = await _replica(links, pool, deadline, written)
                say(link)
        except (NoProcessError, CallTimeoutError):
            return
    # Now, as a thread's: what its caller asks next may go another way (get_state, a monitor).
    link.flush()
    if written is not None:
        link.when_written(written)
    try:
        if link.choked:
            await link.drained(deadline)
    except CallTimeoutError as exc:
        raise OverloadedError(f"{pool.id!r} has not read its pipe for {CAST_TIMEOUT_S:g} s", id=pool.id) from exc


async def _replica(
    links: MuxLinks, of: ChannelPool, deadline: float | None, written: Callable[[], None] | None
) -> tuple[ChannelPool, MuxLink]:
    """Return the replica of a group that has the least to do, and a pipe to it; raises as `Route.take`."""
    route = Route(of)
    while True:
        member = route.next()
        pool = of if member is None else member.pool
        try:
            link = None if member is None else links.ready(pool)
            if link is not None:
                return pool, link
            if member is None and (pause_s := route.begin_anew()):
                await asyncio.sleep(pause_s)
            sent = await links.send(pool, deadline, links.turn(pool, written), lambda _: None, now=member is not None)
            if sent is not None:
                return pool, sent[0]
        except (CallTimeoutError, NoProcessError):
            if member is None:
                raise
            route.cannot(member)
        finally:
            route.over()
