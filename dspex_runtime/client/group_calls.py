"""Calls and casts of threads to a group: the rules of `calls`, over the pipes of whichever replica has the least to do."""

from __future__ import annotations

from math import inf
from time import monotonic
from typing import Any

from dspex_runtime.client import calls
from dspex_runtime.client.calls import CAST_TIMEOUT_S, answer_of, refusal, retire, send_request, timed_out
from dspex_runtime.client.channel_pool import ChannelPool
from dspex_runtime.client.deadline import deadline_after, remaining_s
from dspex_runtime.client.group_writes import EDIT, WRITES, spread, without_expectations
from dspex_runtime.client.routing import Route
from dspex_runtime.client.steps import run
from dspex_runtime.errors import CallTimeoutError, NoProcessError, OverloadedError, ProcessDownError
from dspex_runtime.host.context import chain_of, current_request
from dspex_runtime.wire.messages import CALL, REPLY, RETRY, Message

__all__ = ["call", "cast"]


def call(
    pool: ChannelPool, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], timeout: float | None, start: float | None = None
) -> Any:
    """Run one request in whichever replica of a group has the least to do; see `calls.call`, and `routing`."""
    start = monotonic() if start is None else start
    request = current_request.get()
    chain = None if request is None else chain_of(request)
    deadline = deadline_after(pool.call_timeout_s if timeout is None else timeout, start)
    if deadline is not None and deadline <= start:
        raise timed_out(pool, method, start, deadline)
    key: str | None = None
    route = Route(pool, method)
    while (taken := route.take(deadline)) is not None:
        replica, link = taken
        if timeout is None:
            deadline = deadline_after(replica.call_timeout_s, start)
        if key is None and method in replica.idempotent:
            key = pool.new_key()
        number = next(replica.numbers)
        try:
            if not send_request(replica, link, [CALL, number, method, [*args], kwargs, deadline, key, 0, chain], deadline):
                continue
            try:
                message = answer_of(replica, link, number, deadline, request, idempotent=key is not None)
            except TimeoutError:
                raise timed_out(pool, method, start, deadline) from None
            if message is None:
                continue
            if message[0] == RETRY:
                retire(replica, link)
            else:
                replica.give_back(link)
            if message[0] == REPLY:
                return message[2] if method not in WRITES else _had_by_all(pool, route, method, args, kwargs, message[2], deadline)
            if not route.given_back(message):
                raise refusal(replica, message)
        finally:
            route.over()
    return calls.call(pool, method, args, kwargs, timeout, start)  # it is the id of one module now


def _had_by_all(
    pool: ChannelPool, route: Route, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], value: Any, deadline: float | None
) -> Any:
    """Have the other replicas of a group take what the lowest has written; see `group_writes`."""
    group, leader = pool.group, route.member
    if group is None or leader is None:
        return value
    if method == EDIT:
        edit = (without_expectations(args[0]), *args[1:])
        for member in group.members:
            if member is not leader:
                try:
                    calls.call(member.pool, method, edit, kwargs, inf if deadline is None else remaining_s(deadline))
                except (NoProcessError, ProcessDownError):
                    pass  # it takes what has a version when it serves again
    return run(spread(pool, leader, method, args, value))


def cast(pool: ChannelPool, message: Message, deadline: float | None) -> None:
    """Send a request that has no answer to whichever replica of a group has the least to do; raises as `calls.cast`.

    Raises:
        NoProcessError: None is coming.
        CallTimeoutError: None was ready in time.
    """
    route = Route(pool)
    while (taken := route.take(deadline)) is not None:
        replica, link = taken
        message[1] = next(replica.numbers)
        try:
            if send_request(replica, link, message, deadline):
                replica.pinned.link = link
                return
        except CallTimeoutError as exc:
            raise OverloadedError(f"{replica.id!r} has not read its pipe for {CAST_TIMEOUT_S:g} s", id=replica.id) from exc
        finally:
            route.over()
