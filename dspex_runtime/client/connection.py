"""The control connection: requests to the runtime, its answers, descriptors and notices. One daemon thread reads it.

Thread-safe. Every request is a `concurrent.futures.Future`; cancelling one tells the runtime. When the connection ends, for
whatever reason, each pending future fails with RuntimeUnreachableError. Never unpickles: what is pickled stays opaque here.
"""

from __future__ import annotations

import itertools
import logging
import os
import socket
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from time import monotonic
from typing import Any, Final

from dspex_runtime.client.subscription import Subscription
from dspex_runtime.errors import DspexError, ProtocolError, RuntimeUnreachableError
from dspex_runtime.osproc.channel import FdChannel
from dspex_runtime.types import Down
from dspex_runtime.wire.codec import Codec, UndecodableError
from dspex_runtime.wire.faults import from_fault, to_fault
from dspex_runtime.wire.messages import (
    BEGUN,
    BYE,
    CANCEL,
    CHANNEL,
    CONTROL,
    DOWN,
    EVENT,
    FAULT,
    HELLO,
    PROTOCOL,
    REFUSED,
    REPLY,
    SUBSCRIBE,
    Message,
    accepts,
)

SEND_TIMEOUT_S: Final = 30.0  # the runtime never blocks: one that does not read for so long is stopped or gone

logger = logging.getLogger(__name__)

Answer = Future[Any]
OnProgress = Callable[[dict[str, Any]], None]


class ControlConnection:
    """A connected control socket of this process. Owns the socket and the reader thread; `close` ends both."""

    def __init__(
        self, sock: socket.socket, *, role: str = "client", version: str = "", on_progress: OnProgress | None = None
    ) -> None:
        self._codec = Codec()
        self._channel = FdChannel(sock, self._codec)
        self._role = role
        self._version = version
        self._on_progress = on_progress
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._pending: dict[int, Answer] = {}
        self._on_parked: dict[int, Callable[[], None]] = {}  # of pending requests for a channel
        self._subscriptions: dict[int, Subscription] = {}
        self._downs: dict[int, Answer] = {}
        self._reader: threading.Thread | None = None
        self._ended: RuntimeUnreachableError | None = None
        self._pid = os.getpid()
        self.closed_here = False
        self.hello: Answer = Future()
        _alive.add(self)

    @property
    def wire(self) -> FdChannel:
        """The channel itself; closing it ends the connection from wherever that is done, without a lock."""
        return self._channel

    # -- requests ---------------------------------------------------------------------------------------------------

    def open(self) -> Answer:
        """Say hello and start the reader thread; the future gets the runtime's hello, or ProtocolError for another version."""
        with self._lock:
            if self._reader is not None or self._ended is not None:
                return self.hello
            # The thread knows the connection only weakly: a forgotten connection is collected, and its thread ends.
            arguments = (weakref.ref(self), self._channel)
            self._reader = threading.Thread(target=_read, args=arguments, name="dspex-control", daemon=True)
            weakref.finalize(self, self._channel.close).atexit = False
        facts = {"protocol": list(PROTOCOL), "role": self._role, "version": self._version, "pid": self._pid}
        self._reader.start()
        self._send([HELLO, 0, facts])
        return self.hello

    def request(self, op: str, args: dict[str, Any]) -> Answer:
        """Send a control request; the future gets its value or its error."""
        return self._ask(lambda number: [CONTROL, number, op, args])

    def channel(self, module: str, after: int, deadline: float | None, on_parked: Callable[[], None] | None = None) -> Answer:
        """Ask for a direct pipe to an incarnation later than `after`; the future gets (info, descriptor).

        `on_parked` is called, on the reader thread, when there is none yet.
        """
        return self._ask(lambda number: [CHANNEL, number, module, after, deadline], on_parked)

    def _ask(self, message: Callable[[int], Message], on_parked: Callable[[], None] | None = None) -> Answer:
        self.open()
        answer: Answer = Future()
        number = next(self._numbers)
        with self._lock:
            if self._ended is not None:
                raise self.unreachable()
            self._pending[number] = answer
            if on_parked is not None:
                self._on_parked[number] = on_parked
        answer.add_done_callback(lambda done: self._settled(number, given_up=done.cancelled()))
        try:
            self._send(message(number))
        except BaseException:
            with self._lock:
                self._pending.pop(number, None)
            raise
        return answer

    def _settled(self, number: int, *, given_up: bool) -> None:
        self._on_parked.pop(number, None)
        if not given_up:
            return
        with self._lock:
            known = self._pending.pop(number, None) is not None
        if known:
            self._say([CANCEL, number])

    def subscribe(self, topic: str, args: dict[str, Any]) -> Subscription:
        """Follow a topic; the subscription is closed by its holder."""
        self.open()
        number = next(self._numbers)
        subscription = Subscription(lambda: self._unsubscribe(number))
        with self._lock:
            if self._ended is not None:
                raise self.unreachable()
            self._subscriptions[number] = subscription
        self._send([SUBSCRIBE, number, topic, args])
        return subscription

    def _unsubscribe(self, number: int) -> None:
        with self._lock:
            known = self._subscriptions.pop(number, None) is not None
        if known:
            self._say([CANCEL, number])

    def down(self, ref: int) -> Answer:
        """Return the future that gets the `Down` of a monitor; it may have come before the caller knew its number."""
        with self._lock:
            answer = self._downs.setdefault(ref, Future())
            if self._ended is not None and not answer.done():
                answer.set_exception(self.unreachable())
        return answer

    def forget_down(self, ref: int) -> None:
        """Drop a monitor whose notice is taken or no longer wanted; whoever still waits for it gets None."""
        with self._lock:
            answer = self._downs.pop(ref, None)
        if answer is not None:
            _resolve(answer, None)

    def hint(self, op: str, args: dict[str, Any]) -> None:
        """Send a control request whose answer nobody wants; a connection that ended has nobody to tell."""
        self._say([CONTROL, next(self._numbers), op, args])

    def demonitor(self, ref: int) -> Answer | None:
        """Give up a monitor; its notice may still come until the runtime has answered. None when the connection ended."""
        try:
            answer = self.request("demonitor", {"ref": ref})
        except RuntimeUnreachableError:
            return None
        answer.add_done_callback(lambda _: self.forget_down(ref))
        return answer

    def _say(self, message: Message) -> None:
        """Send what needs no answer; a connection that ended has nobody to tell."""
        try:
            self._send(message)
        except RuntimeUnreachableError:
            pass

    def _send(self, message: Message) -> None:
        if self._ended is not None:
            raise self.unreachable()
        try:
            self._channel.send(message, deadline=monotonic() + SEND_TIMEOUT_S)
        except TimeoutError as exc:  # the frame may be half sent: nothing may follow it
            self._end(f"the runtime has not read this connection for {SEND_TIMEOUT_S:g} s")
            raise self.unreachable() from exc
        except (OSError, EOFError) as exc:
            # A runtime that refuses us says why and closes: the reader thread finds that text.
            if self._reader is not None and self._reader is not threading.current_thread():
                self._reader.join(1.0)
            self._end(f"the connection to the runtime broke: {exc}")
            raise self.unreachable() from exc

    # -- answers (reader thread) ------------------------------------------------------------------------------------

    def _dispatch(self, message: Message) -> None:
        match message:
            case [int(kind), int(number), value] if kind == REPLY:
                self._answer(number, value)
            case [int(kind), int(number), dict() as fault] if kind == FAULT:
                self._answer(number, from_fault(fault, codec=self._codec))
            case [int(kind), int(number), False] if kind == BEGUN:
                if (on_parked := self._on_parked.pop(number, None)) is not None:
                    on_parked()
            case [int(kind), int(number), dict() as info] if kind == CHANNEL:
                self._give_channel(number, info)
            case [int(kind), 0, dict() as payload] if kind == EVENT:
                self._progress(payload)
            case [int(kind), int(number), payload] if kind == EVENT:
                if (subscription := self._subscriptions.get(number)) is not None:
                    subscription.push(payload)
            case [int(kind), int(number), _] if kind == BYE:
                with self._lock:
                    ended = self._subscriptions.pop(number, None)
                if ended is not None:
                    ended.end()
            case [int(kind), int(ref), str(id), int(incarnation), reason] if kind == DOWN:
                with self._lock:
                    answer = self._downs.setdefault(ref, Future())
                _resolve(answer, Down(id, incarnation, reason))
            case [int(kind), 0, dict() as facts] if kind == HELLO:
                if not accepts(facts.get("protocol")):
                    raise _other_version(facts)
                _resolve(self.hello, facts)
            case [int(kind), 0, dict() as facts] if kind == REFUSED:
                raise _other_version(facts)
            case _:
                raise ProtocolError(f"illegal message from the runtime: {str(message)[:200]}")

    def _progress(self, payload: dict[str, Any]) -> None:
        if self._on_progress is None:
            return
        try:
            self._on_progress(payload)
        except Exception:
            # A caller's display must not end the connection of a tree that is just coming up.
            logger.exception("the progress callback raised")

    def _answer(self, number: int, value: Any) -> None:
        with self._lock:
            answer = self._pending.pop(number, None)
            followed = self._subscriptions.pop(number, None) if answer is None else None
        if answer is not None:
            _resolve(answer, value)
        elif followed is not None:
            followed.end(value if isinstance(value, BaseException) else None)

    def _give_channel(self, number: int, info: dict[str, Any]) -> None:
        fd = self._channel.take_fd()
        with self._lock:
            answer = self._pending.pop(number, None)
        if answer is None or not _resolve(answer, (info, fd)):
            os.close(fd)  # nobody waits any more

    # -- the end ----------------------------------------------------------------------------------------------------

    # `closed_here` tells an end that this process wanted from one that it found.

    @property
    def closed(self) -> bool:
        """Whether the connection has ended."""
        return self._ended is not None

    def unreachable(self) -> RuntimeUnreachableError:
        """Return the error that says how this connection ended."""
        assert self._ended is not None
        return RuntimeUnreachableError(self._ended.message, hint=self._ended.hint)  # each caller raises its own

    def _end(self, why: str | Exception, hint: str | None = None) -> None:
        error = why if isinstance(why, DspexError) else None
        with self._lock:
            if self._ended is None:
                self._ended = RuntimeUnreachableError(str(why), hint=hint)
            waiting = [*self._pending.values(), *self._downs.values(), self.hello]
            followed = list(self._subscriptions.values())
            self._pending.clear()
            self._subscriptions.clear()
        for answer in waiting:
            _resolve(answer, error or self.unreachable())
        for subscription in followed:
            subscription.end(error or self.unreachable())

    def close(self) -> None:
        """End the connection, its thread and its descriptor; pending requests fail. Closing twice is fine."""
        with self._lock:
            self.closed_here = True
            reader = self._reader
            followed = list(self._subscriptions.values())
            self._subscriptions.clear()
        for subscription in followed:
            subscription.end()  # who iterates is not in error: this process closed it
        if reader is not None:
            self._goodbye()
        self._end("this connection was closed", hint="connect again with dx.connect(name)")
        self._channel.close()  # wakes the reader
        if reader is not None and reader is not threading.current_thread() and reader.ident is not None:
            reader.join()

    def _goodbye(self) -> None:
        """Say that this end is wanted: links end as those of a process that exited normally. Never waits for the runtime."""
        try:
            self._channel.send([BYE, 0, "normal"], deadline=monotonic())
        except (OSError, EOFError):
            pass  # it is gone, or has not read for long: then it learns of a loss

    def _forked(self) -> None:
        # In a forked child: the thread is not here, its locks may be held for ever, the socket belongs to the parent.
        parent, self._pid = self._pid, -1
        self._lock = threading.Lock()
        self._reader = None
        self._pending, self._on_parked, self._subscriptions, self._downs = {}, {}, {}, {}
        self._ended = RuntimeUnreachableError(
            f"this connection belongs to process {parent}; it does not survive os.fork()",
            hint="connect again in the child with dx.connect(name)",
        )


def _resolve(answer: Answer, value: Any) -> bool:
    """Settle a future unless it was given up or settled before; returns whether it was settled here."""
    try:
        if isinstance(value, BaseException):
            answer.set_exception(value)
        else:
            answer.set_result(value)
    except InvalidStateError:
        return False
    return True


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


def _read(ref: weakref.ref[ControlConnection], channel: FdChannel) -> None:
    why: str | Exception = "the runtime closed the connection"
    try:
        while True:
            try:
                message = channel.recv(None)
            except UndecodableError as exc:
                if exc.request is None:
                    raise
                # One value cannot be read: its request fails, no other.
                message = [FAULT, exc.request, to_fault(exc, id=None, incarnation=None, codec=Codec())]
            connection = ref()
            if connection is None:
                break
            connection._dispatch(message)
            del connection
    except EOFError:
        pass
    except DspexError as exc:
        why = exc
    except OSError as exc:
        why = f"the connection to the runtime broke: {exc}"
    connection = ref()
    if connection is not None:
        connection._end(why)
    channel.close()


_alive: weakref.WeakSet[ControlConnection] = weakref.WeakSet()


def _forked() -> None:
    for connection in list(_alive):
        connection._forked()


os.register_at_fork(after_in_child=_forked)
