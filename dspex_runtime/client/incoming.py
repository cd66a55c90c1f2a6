"""What comes over one control connection, and who waits for it: requests by their number, subscriptions, monitors' notices.

Owns the tables; `dispatch` runs on the reader thread, all else on any. Never writes to the connection and never unpickles: what is
pickled stays opaque here. When the connection ends, whoever waits is told so, and nobody waits any more.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from dspex_runtime.client.downs import Downs, settle
from dspex_runtime.client.subscription import Subscription
from dspex_runtime.errors import DspexError, ProtocolError, RuntimeUnreachableError
from dspex_runtime.osproc.channel import FdChannel
from dspex_runtime.types import Down
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.faults import from_fault
from dspex_runtime.wire.messages import (
    BEGUN,
    BYE,
    CHANNEL,
    DOWN,
    EVENT,
    FAULT,
    HELLO,
    PARAM,
    PROTOCOL,
    REFUSED,
    REPLY,
    Message,
    accepts,
)

logger = logging.getLogger(__name__)

Answer = Future[Any]
OnProgress = Callable[[dict[str, Any]], None]


class Incoming:
    """Who waits for what, of one connection.

    Attributes:
        hello: Gets the runtime's hello, or ProtocolError for another version.
        downs: The notices of monitors.
        ended: How the connection ended; None while it has not.
        on_pipes: Told what is another one now of modules that pipes lead to.
    """

    def __init__(self, channel: FdChannel, codec: Codec, on_progress: OnProgress | None) -> None:
        self._channel = channel
        self._codec = codec
        self._on_progress = on_progress
        self._lock = threading.Lock()
        self._requests: dict[int, Answer] = {}
        self._on_parked: dict[int, Callable[[], None]] = {}  # of requests for a channel
        self._on_event: dict[int, OnProgress] = {}  # of requests that are told of how they go
        self._subscriptions: dict[int, Subscription] = {}
        self.hello: Answer = Future()
        self.downs = Downs()
        self.ended: RuntimeUnreachableError | None = None
        self.on_pipes: OnProgress | None = None

    # -- who waits --------------------------------------------------------------------------------------------------

    def expect(self, number: int, answer: Answer, on_parked: Callable[[], None] | None = None) -> None:
        """Wait for the answer of a request that is about to be sent; RuntimeUnreachableError when the connection ended."""
        with self._lock:
            if self.ended is not None:
                raise self.unreachable()
            self._requests[number] = answer
            if on_parked is not None:
                self._on_parked[number] = on_parked

    def unexpect(self, number: int) -> bool:
        """Wait no longer; True when the answer had not come."""
        with self._lock:
            return self._requests.pop(number, None) is not None

    def listen(self, number: int, on_event: OnProgress) -> None:
        """Pass on what is told of a request before it is answered."""
        self._on_event[number] = on_event

    def unpark(self, number: int) -> None:
        """What is told of a request before it is answered is of interest to nobody any more."""
        self._on_parked.pop(number, None)
        self._on_event.pop(number, None)

    def follow(self, number: int, subscription: Subscription) -> None:
        """Wait for what a subscription brings; RuntimeUnreachableError when the connection ended."""
        with self._lock:
            if self.ended is not None:
                raise self.unreachable()
            self._subscriptions[number] = subscription

    def unfollow(self, number: int) -> bool:
        """Wait no longer; True when it had not ended."""
        with self._lock:
            return self._subscriptions.pop(number, None) is not None

    def unfollow_all(self) -> list[Subscription]:
        """Wait for no subscription any longer; returns those that had not ended."""
        with self._lock:
            followed = list(self._subscriptions.values())
            self._subscriptions.clear()
        return followed

    # -- what comes (reader thread) ---------------------------------------------------------------------------------

    def dispatch(self, message: Message) -> None:
        """Give a message to whom it is for.

        Raises:
            ProtocolError: It is none; or the runtime speaks another version.
        """
        match message:
            case [int(kind), int(number), value] if kind == REPLY:
                self._answer(number, value)
            case [int(kind), int(number), dict() as fault] if kind == FAULT:
                self._answer(number, from_fault(fault, codec=self._codec))
            case [int(kind), int(number), False] if kind == BEGUN:
                if (on_parked := self._on_parked.pop(number, None)) is not None:
                    on_parked()
            case [int(kind), int(number), dict() as info] if kind in (CHANNEL, PARAM):
                self._give_fd(number, info)
            case [int(kind), 0, dict() as payload] if kind == EVENT:
                self._progress(self.on_pipes if payload.get("type") in ("pipes", "group") else self._on_progress, payload)
            case [int(kind), int(number), payload] if kind == EVENT:
                self._progress(self._on_event.get(number), payload)
                if (subscription := self._subscriptions.get(number)) is not None:
                    subscription.push(payload)
            case [int(kind), int(number), _] if kind == BYE:
                with self._lock:
                    ended = self._subscriptions.pop(number, None)
                if ended is not None:
                    ended.end()
            case [int(kind), int(ref), str(id), int(incarnation), reason] if kind == DOWN:
                self.downs.came(ref, Down(id, incarnation, reason))
            case [int(kind), 0, dict() as facts] if kind == HELLO:
                if not accepts(facts.get("protocol")):
                    raise _other_version(facts)
                settle(self.hello, facts)
            case [int(kind), 0, dict() as facts] if kind == REFUSED:
                raise _other_version(facts)
            case _:
                raise ProtocolError(f"illegal message from the runtime: {str(message)[:200]}")

    def _answer(self, number: int, value: Any) -> None:
        with self._lock:
            answer = self._requests.pop(number, None)
            followed = self._subscriptions.pop(number, None) if answer is None else None
        if answer is not None:
            settle(answer, value)
        elif followed is not None:
            followed.end(value if isinstance(value, BaseException) else None)

    def _give_fd(self, number: int, info: dict[str, Any]) -> None:
        fd = self._channel.take_fd()
        with self._lock:
            answer = self._requests.pop(number, None)
        if answer is None or not settle(answer, (info, fd)):
            os.close(fd)  # nobody waits any more

    def _progress(self, listener: OnProgress | None, payload: dict[str, Any]) -> None:
        if listener is None:
            return
        try:
            listener(payload)
        except Exception:
            # A caller's display must not end the connection: a tree is just coming up, or an optimizer at work.
            logger.exception("the progress callback raised")

    # -- the end ----------------------------------------------------------------------------------------------------

    def unreachable(self) -> RuntimeUnreachableError:
        """Return the error that says how the connection ended."""
        assert self.ended is not None
        return RuntimeUnreachableError(self.ended.message, hint=self.ended.hint)  # each caller raises its own

    def end(self, why: str | Exception, hint: str | None = None) -> None:
        """Nothing comes any more: whoever waits gets `why`. The first end is the one that later callers are told."""
        error = why if isinstance(why, DspexError) else None
        with self._lock:
            if self.ended is None:
                self.ended = RuntimeUnreachableError(str(why), hint=hint)
            waiting = [*self._requests.values(), *self.downs.end(), self.hello]
            self._requests.clear()
        for answer in waiting:
            settle(answer, error or self.unreachable())
        for subscription in self.unfollow_all():
            subscription.end(error or self.unreachable())


def _other_version(facts: dict[str, Any]) -> ProtocolError:
    said = f": {facts['message']}" if facts.get("message") else ""
    return ProtocolError(
        f"the runtime (version {facts.get('version', 'unknown')}) speaks protocol {_range(facts.get('protocol'))}, "
        f"this client speaks {_range(PROTOCOL)}{said}",
        hint="use the client of the version that started the runtime, or restart the runtime",
    )


def _range(protocol: Any) -> str:
    match protocol:
        case (int(lo), int(hi)) | [int(lo), int(hi)]:
            return f"{lo} to {hi}"
        case _:
            return repr(protocol)
