"""One request over a borrowed pipe, by a thread that waits for its answer: the hot path, and what happens when it goes wrong.

At-most-once: `attempt` decides what is sent again. Never retries what may have begun, except for idempotent methods.
"""

from __future__ import annotations

from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.client.attempt import Lost, may_resend, retry_pause_s
from dspex_runtime.client.channel_pool import ChannelPool, Link
from dspex_runtime.client.deadline import FOREVER_S, SERVER_CALL_TIMEOUT_S, caller_deadline, deadline_after, no_seconds
from dspex_runtime.client.exits import process_down
from dspex_runtime.client.itself import refuse_itself, sent_to_itself
from dspex_runtime.client.steps import run
from dspex_runtime.errors import CallTimeoutError, NoProcessError, OverloadedError, ProtocolError, UnserialisableError
from dspex_runtime.host.context import chain_of, current_request, given_up, wakers_of
from dspex_runtime.wire.codec import UndecodableError
from dspex_runtime.wire.faults import from_fault
from dspex_runtime.wire.messages import BEGUN, CALL, CANCEL, CAST, FAULT, OVERLOADED, REFUSED, REPLY, RETRY, Message

if TYPE_CHECKING:
    from dspex_runtime.host.mailbox import Request

CAST_TIMEOUT_S: Final = SERVER_CALL_TIMEOUT_S  # how long a cast may wait for a process that is just restarting


def call(
    pool: ChannelPool, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], timeout: float | None, start: float | None = None
) -> Any:
    """Run one request and return its value; `timeout` None is the module's own, infinity none; from now, unless it has a `start`.

    Raises:
        CallTimeoutError: The deadline passed; the module is told to give up.
        ProcessDownError: The process ended while it may have been running the request.
        NoProcessError: Nothing runs under that id and nothing is coming.
        OverloadedError: The mailbox is full; nothing was queued.
        CallError: "calling_self": a module's only call thread called its own module.
        Exception: Whatever the method raised, with RemoteError as its `__cause__`.

    Cost: one send, one recv and about 5 us of Python when the module is idle and a pipe is pooled.
    """
    if pool.own:
        refuse_itself(pool.id)
    if pool.group is not None:
        return _to_group(pool, method, args, kwargs, timeout, start)
    start = start or monotonic()
    seconds = pool.call_timeout_s if timeout is None else timeout
    deadline = caller_deadline()
    request = current_request.get()
    chain = None if request is None else chain_of(request)
    try:
        if seconds < FOREVER_S and (deadline is None or start + seconds < deadline):
            deadline = start + seconds
        elif seconds != seconds:
            raise no_seconds(timeout)
    except TypeError:
        raise no_seconds(timeout) from None
    if deadline is not None and deadline <= start:
        raise timed_out(pool, method, start, deadline)
    key: str | None = None
    given_back = 0
    while True:
        link = pool.pinned.link
        if link is None:
            try:
                link = pool.idle.pop()
            except IndexError:
                link, deadline = _opened(pool, deadline, timeout, start)
                if link is None:
                    return _to_group(pool, method, args, kwargs, timeout, start)
        else:
            pool.pinned.link = None
        if pool.idempotent and key is None and method in pool.idempotent:
            key = pool.new_key()
        number = next(pool.numbers)
        if not send_request(pool, link, [CALL, number, method, [*args], kwargs, deadline, key, 0, chain], deadline):
            continue
        try:
            message = answer_of(pool, link, number, deadline, request, idempotent=key is not None)
        except TimeoutError:
            raise timed_out(pool, method, start, deadline) from None
        if message is None:
            continue
        if message[0] == REPLY:
            pool.give_back(link)
            return message[2]
        _given_back(pool, link, message)
        sleep(retry_pause_s(given_back))
        given_back += 1


def _opened(pool: ChannelPool, deadline: float | None, timeout: float | None, start: float) -> tuple[Link | None, float | None]:
    """Open a pipe; with it the runtime says how long a call may take that does not say so itself."""
    link = run(pool.open(deadline))
    return link, deadline_after(pool.call_timeout_s, start) if timeout is None else deadline


def _given_back(pool: ChannelPool, link: Link, message: Message) -> None:
    """Return where a request is to be sent again; raise what its answer says otherwise."""
    if message[0] != RETRY:
        pool.give_back(link)
        raise refusal(pool, message)
    retire(pool, link)


def _to_group(pool: ChannelPool, *call: Any) -> Any:
    from dspex_runtime.client.group_calls import call as call_group  # which needs what is in here

    return call_group(pool, *call)


def answer_of(
    pool: ChannelPool, link: Link, number: int, deadline: float | None, request: Request | None, *, idempotent: bool
) -> Message | None:
    """Return the message that ends a call, or None when its pipe was lost and it is to be sent again.

    `request` is what is being served here: when that is given up, so is the call.
    """
    begun: bool | None = None
    try:
        while True:
            message = link.recv(deadline) if request is None else receive(request, link, deadline)
            if message[1] == number:
                if message[0] != BEGUN:
                    return message
                begun = message[2]
            elif message[0] == REFUSED:
                raise pool.refused(message)
    except TimeoutError:
        give_up(pool, link, number)
        raise
    except (EOFError, OSError) as exc:
        pool.lost(link)
        lost = Lost(sent=True, reset=isinstance(exc, ConnectionResetError), begun=begun)
        if may_resend(lost, idempotent=idempotent):
            return None
        raise run(process_down(pool.connection, pool.id, link.incarnation)) from None
    except BaseException as exc:
        # Ctrl-C, or a reply that cannot be read: the answer may still come, so nobody else gets this pipe.
        link.say_and_close([CANCEL, number])
        if is_garbage(exc):
            raise run(process_down(pool.connection, pool.id, link.incarnation)) from exc
        raise


def receive(request: Request, link: Link, deadline: float | None) -> Message:
    """Return a pipe's next message; closing it ends the wait, and the call at its other end, when `request` is given up.

    Raises:
        CallCancelledError: It was given up. The pipe is closed.
    """
    wakers, close = wakers_of(request), link.close
    wakers.add(close)
    try:
        if request.cancelled:
            close()
        return link.recv(deadline)
    finally:
        wakers.discard(close)
        if request.cancelled:  # it may be closed any moment: nobody else gets it
            close()
            raise given_up(request)


def is_garbage(error: BaseException) -> bool:
    """Return whether a pipe brought bytes that are no message: the process at its other end is done for.

    Not a value that cannot be rebuilt here, and not a refusal, which says whose it is.
    """
    if isinstance(error, UndecodableError):
        return error.request is None
    return isinstance(error, ProtocolError) and error.id is None


def send_request(pool: ChannelPool, link: Link, message: Message, deadline: float | None) -> bool:
    """Send a request; False when the pipe was found dead, which is certain not to have begun it."""
    try:
        link.send(message, deadline)
    except UnserialisableError:
        pool.give_back(link)  # packing comes before sending: not a byte went out
        raise
    except TimeoutError:
        link.close()  # half a frame may be in the pipe
        raise CallTimeoutError(f"{pool.id!r} did not take the request before its deadline: its pipe is full", id=pool.id) from None
    except (EOFError, OSError):
        pool.lost(link)
        return False
    except BaseException:
        link.close()
        raise
    return True


def retire(pool: ChannelPool, link: Link) -> None:
    """The module gave the request back: it drains. It is not dead, so any incarnation the runtime calls ready will do."""
    link.close()
    for idle in list(pool.idle):
        if idle.incarnation == link.incarnation:
            try:
                pool.idle.remove(idle)
            except ValueError:
                continue  # borrowed meanwhile
            idle.close()


def give_up(pool: ChannelPool, link: Link, number: int) -> None:
    """Tell the module that nobody waits any more, and the runtime that it did not answer."""
    link.say_and_close([CANCEL, number])
    pool.connection.hint("unanswered", {"id": pool.id, "incarnation": link.incarnation})


def timed_out(pool: ChannelPool, method: str, start: float, deadline: float | None) -> CallTimeoutError:
    """Return the error for a deadline that passed."""
    waited = max(0.0, (deadline or start) - start)
    what = f"{pool.id!r}" if method == "__call__" or method.startswith("$") else f"{pool.id!r}.{method}"
    whose = " (the deadline of the call this one was made in)" if caller_deadline() == deadline else ""
    return CallTimeoutError(f"{what} did not answer within {waited:.3g} s{whose}", id=pool.id)


def refusal(pool: ChannelPool, message: Message) -> BaseException:
    """Return what to raise for an answer that is no value."""
    match message:
        case [int(kind), _, dict() as fault] if kind == FAULT:
            return from_fault(fault, codec=pool.codec)
        case [int(kind), _, int(limit)] if kind == OVERLOADED:
            return OverloadedError(f"the mailbox of {pool.id!r} is full: {limit} requests wait already", id=pool.id, limit=limit)
        case _:
            return ProtocolError(f"illegal answer from {pool.id!r}: {str(message)[:200]}", id=pool.id)


def cast(pool: ChannelPool, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Send a request that has no answer. As in OTP, nothing is raised when there is no process to take it.

    Raises:
        OverloadedError: The pipe was full for CAST_TIMEOUT_S.
        RuntimeUnreachableError: The runtime is gone.
    """
    if pool.own and sent_to_itself(pool, method, args, kwargs):
        return
    start = monotonic()
    deadline = deadline_after(CAST_TIMEOUT_S, start)
    while True:
        try:
            link = pool.borrow(deadline) if pool.group is None else None
            if link is None:
                from dspex_runtime.client.group_calls import cast as cast_to_group

                cast_to_group(pool, [CAST, 0, method, [*args], kwargs], deadline)
                return
        except (NoProcessError, CallTimeoutError):
            return
        try:
            if send_request(pool, link, [CAST, next(pool.numbers), method, [*args], kwargs], deadline):
                pool.pinned.link = link
                return
        except CallTimeoutError as exc:
            raise OverloadedError(f"{pool.id!r} has not read its pipe for {CAST_TIMEOUT_S:g} s", id=pool.id) from exc
