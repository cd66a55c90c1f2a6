"""The control connection: requests to the runtime, its answers, descriptors and notices. One daemon thread reads it.

Thread-safe. Every request is a `concurrent.futures.Future`; cancelling one tells the runtime. When the connection ends, for
whatever reason, each pending future fails with RuntimeUnreachableError. Owns the socket, the thread and the sending; what comes,
and who waits for it, is in `incoming`.
"""

from __future__ import annotations

import itertools
import os
import socket
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from time import monotonic
from typing import Any, Final, TypeVar

from dspex_runtime.client.downs import Downs
from dspex_runtime.client.incoming import Answer, Incoming, OnProgress
from dspex_runtime.client.subscription import Subscription
from dspex_runtime.errors import DspexError, RuntimeUnreachableError
from dspex_runtime.osproc.channel import FdChannel
from dspex_runtime.wire.codec import Codec, UndecodableError
from dspex_runtime.wire.faults import to_fault
from dspex_runtime.wire.messages import BYE, CANCEL, CHANNEL, CONTROL, FAULT, HELLO, PROTOCOL, SUBSCRIBE, Message

S = TypeVar("S", bound=Subscription)

SEND_TIMEOUT_S: Final = 30.0  # the runtime never blocks: one that does not read for so long is stopped or gone


class ControlConnection:
    """A connected control socket of this process. Owns the socket and the reader thread; `close` ends both."""

    def __init__(
        self, sock: socket.socket, *, role: str = "client", version: str = "", on_progress: OnProgress | None = None
    ) -> None:
        codec = Codec()
        self._channel = FdChannel(sock, codec)
        self._incoming = Incoming(self._channel, codec, on_progress)
        self._role = role
        self._version = version
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()  # of the reader's start
        self._reader: threading.Thread | None = None
        self._pid = os.getpid()
        self.closed_here = False  # tells an end that this process wanted from one that it found
        _alive.add(self)

    @property
    def wire(self) -> FdChannel:
        """The channel itself; closing it ends the connection from wherever that is done, without a lock."""
        return self._channel

    @property
    def downs(self) -> Downs:
        """The notices of this connection's monitors."""
        return self._incoming.downs

    # -- requests ---------------------------------------------------------------------------------------------------

    def open(self) -> Answer:
        """Say hello and start the reader thread; the future gets the runtime's hello, or ProtocolError for another version."""
        with self._lock:
            if self._reader is not None or self.closed:
                return self._incoming.hello
            # The thread knows the connection only weakly: a forgotten connection is collected, and its thread ends.
            arguments = (weakref.ref(self), self._channel)
            self._reader = threading.Thread(target=_read, args=arguments, name="dspex-control", daemon=True)
            weakref.finalize(self, self._channel.close).atexit = False
        facts = {"protocol": list(PROTOCOL), "role": self._role, "version": self._version, "pid": self._pid}
        self._reader.start()
        self._send([HELLO, 0, facts])
        return self._incoming.hello

    def request(self, op: str, args: dict[str, Any], on_event: OnProgress | None = None) -> Answer:
        """Send a control request; the future gets its value or its error.

        `on_event` is called, on the reader thread, with what is told of it meanwhile.
        """
        return self._ask(lambda number: [CONTROL, number, op, args], on_event=on_event)

    def channel(self, module: str, after: int, deadline: float | None, on_parked: Callable[[], None] | None = None) -> Answer:
        """Ask for a direct pipe to an incarnation later than `after`; the future gets (info, descriptor).

        `on_parked` is called, on the reader thread, when there is none yet.
        """
        return self._ask(lambda number: [CHANNEL, number, module, after, deadline], on_parked)

    def _ask(
        self, message: Callable[[int], Message], on_parked: Callable[[], None] | None = None, on_event: OnProgress | None = None
    ) -> Answer:
        self.open()
        answer: Answer = Future()
        number = next(self._numbers)
        if on_event is not None:
            self._incoming.listen(number, on_event)
        self._incoming.expect(number, answer, on_parked)
        answer.add_done_callback(lambda done: self._settled(number, given_up=done.cancelled()))
        try:
            self._send(message(number))
        except Exception:
            self._incoming.unexpect(number)
            raise
        except BaseException:
            answer.cancel()  # an interrupt: it may have been sent by then
            raise
        return answer

    def _settled(self, number: int, *, given_up: bool) -> None:
        self._incoming.unpark(number)
        if given_up and self._incoming.unexpect(number):
            self._say([CANCEL, number])

    def subscribe(self, topic: str, args: dict[str, Any]) -> Subscription:
        """Follow a topic; the subscription is closed by its holder."""
        return self.follow(topic, args, Subscription)

    def follow(self, topic: str, args: dict[str, Any], made: Callable[[Callable[[], None]], S]) -> S:
        """Follow a topic with a queue of another kind: `made` makes it, given what cancels it."""
        self.open()
        number = next(self._numbers)
        subscription = made(lambda: self._unsubscribe(number))
        self._incoming.follow(number, subscription)
        self._send([SUBSCRIBE, number, topic, args])
        return subscription

    def _unsubscribe(self, number: int) -> None:
        if self._incoming.unfollow(number):
            self._say([CANCEL, number])

    def on_pipes(self, listener: OnProgress) -> None:
        """Pass on what is another one now of modules that pipes lead to; keeps the listener alive."""
        self._incoming.on_pipes = listener

    def hint(self, op: str, args: dict[str, Any]) -> None:
        """Send a control request whose answer nobody wants; a connection that ended has nobody to tell."""
        self._say([CONTROL, next(self._numbers), op, args])

    def demonitor(self, ref: int) -> Answer | None:
        """Give up a monitor; its notice may still come until the runtime has answered. None when the connection ended."""
        try:
            answer = self.request("demonitor", {"ref": ref})
        except RuntimeUnreachableError:
            return None
        answer.add_done_callback(lambda _: self.downs.forget(ref))
        return answer

    def _say(self, message: Message) -> None:
        """Send what needs no answer; a connection that ended has nobody to tell."""
        try:
            self._send(message)
        except RuntimeUnreachableError:
            pass

    def _send(self, message: Message) -> None:
        if self.closed:
            raise self.unreachable()
        try:
            self._channel.send(message, deadline=monotonic() + SEND_TIMEOUT_S)
        except TimeoutError as exc:  # the frame may be half sent: nothing may follow it
            self._incoming.end(f"the runtime has not read this connection for {SEND_TIMEOUT_S:g} s")
            raise self.unreachable() from exc
        except (OSError, EOFError) as exc:
            # A runtime that refuses us says why and closes: the reader thread finds that text.
            if self._reader is not None and self._reader is not threading.current_thread():
                self._reader.join(1.0)
            self._incoming.end(f"the connection to the runtime broke: {exc}")
            raise self.unreachable() from exc

    # -- the end ----------------------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether the connection has ended."""
        return self._incoming.ended is not None

    def unreachable(self) -> RuntimeUnreachableError:
        """Return the error that says how this connection ended."""
        return self._incoming.unreachable()

    def close(self) -> None:
        """End the connection, its thread and its descriptor; pending requests fail. Closing twice is fine."""
        with self._lock:
            self.closed_here = True
            reader = self._reader
        for subscription in self._incoming.unfollow_all():
            subscription.end()  # who iterates is not in error: this process closed it
        if reader is not None:
            self._goodbye()
        self._incoming.end("this connection was closed", hint="connect again with dx.connect(name)")
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
        self._incoming = Incoming(self._channel, Codec(), None)
        self._incoming.end(
            f"this connection belongs to process {parent}; it does not survive os.fork()",
            hint="connect again in the child with dx.connect(name)",
        )


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
            connection._incoming.dispatch(message)
            del connection
    except EOFError:
        pass
    except DspexError as exc:
        why = exc
    except OSError as exc:
        why = f"the connection to the runtime broke: {exc}"
    connection = ref()
    if connection is not None:
        connection._incoming.end(why)
    channel.close()


_alive: weakref.WeakSet[ControlConnection] = weakref.WeakSet()


def _forked() -> None:
    for connection in list(_alive):
        connection._forked()


os.register_at_fork(after_in_child=_forked)
