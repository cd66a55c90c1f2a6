"""One pipe per module and event loop with many requests in flight. Everything here runs in its loop's thread.

Writes of one turn of the loop leave in one system call; one timer per pipe watches the nearest deadline. Never opens a pipe and
never sends a request again: `mux_links` and `async_calls` do.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from dspex_runtime.client.channel_pool import ChannelPool
from dspex_runtime.client.deadline import remaining_s
from dspex_runtime.errors import CallTimeoutError, DspexError
from dspex_runtime.wire.codec import Codec, UndecodableError
from dspex_runtime.wire.framing import FrameReader, frame
from dspex_runtime.wire.messages import BEGUN, CALL, CANCEL, ITEM, REFUSED, Message

RECV_BYTES: Final = 256 * 1024
HIGH_WATER_BYTES: Final = 4 * 2**20  # callers wait once so much is unsent; bounds memory against a module that does not read


class MuxRequest:
    """One request in flight: its last BEGUN, the items that came, and a future for the message that ends it.

    The future gets that message, or None when the pipe was lost, or an exception when its deadline passed.
    """

    __slots__ = ("begun", "deadline", "ended", "items", "number", "waiter")

    def __init__(self, number: int, deadline: float | None, ended: asyncio.Future[Message | None]) -> None:
        self.number = number
        self.deadline = deadline
        self.ended = ended
        self.begun: bool | None = None
        self.items: deque[Any] = deque()
        self.waiter: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """Something came for a stream that waits."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


class MuxLink:
    """A multiplexed pipe to one incarnation. `closed` once it ended; a retired one takes no new requests."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, codec: Codec, pool: ChannelPool, incarnation: int
    ) -> None:
        sock.setblocking(False)
        self._loop = loop
        self._sock = sock
        self._codec = codec
        self._pool = pool
        self.incarnation = incarnation
        self.closed = False
        self.retired = False
        self._frames = FrameReader()
        self._pending: dict[int, MuxRequest] = {}
        self._out: list[bytes] = []
        self._rest = memoryview(b"")  # of what is half sent
        self._said_bytes = 0  # ever
        self._unsent_bytes = 0
        self._on_written: deque[tuple[int, Callable[[], None]]] = deque()  # (when so much is sent, what to call)
        self._flushing = False
        self._drained: asyncio.Event = asyncio.Event()
        self._drained.set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        loop.add_reader(sock.fileno(), self._readable)
        self.say(pool.hello(mux=True))

    # -- requests ------------------------------------------------------------------------------------------------------

    def begin(
        self, method: str, args: list[Any], kwargs: dict[str, Any], deadline: float | None, key: str | None, credit: int
    ) -> MuxRequest:
        """Send a request.

        Raises:
            UnserialisableError: An argument cannot cross; nothing was sent.
        """
        number = next(self._pool.numbers)
        self.say([CALL, number, method, args, kwargs, deadline, key, credit])
        request = self._pending[number] = MuxRequest(number, deadline, self._loop.create_future())
        if deadline is not None and (self._timer is None or deadline < self._timer_at):
            self._watch(deadline)
        return request

    def cancel(self, request: MuxRequest) -> None:
        """Nobody waits for this request any more: the module is told, its late reply is dropped."""
        if self._pending.pop(request.number, None) is not None and not self.closed:
            self.say([CANCEL, request.number])
            self._close_when_idle()

    def cancel_soon(self, request: MuxRequest) -> None:
        """`cancel` from any thread, without waiting."""
        try:
            self._loop.call_soon_threadsafe(self.cancel, request)
        except RuntimeError:
            pass  # the loop was closed, and the pipe is closed with it

    def say(self, message: Message) -> None:
        """Queue one message for this turn's write."""
        data = frame(self._codec.pack(message))
        if self.closed:
            return
        self._out.append(data)
        self._said_bytes += len(data)
        self._unsent_bytes += len(data)
        if self.choked:
            self._drained.clear()
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    @property
    def choked(self) -> bool:
        """Whether so much is unsent that a sender should wait for `drained`."""
        return self._unsent_bytes > HIGH_WATER_BYTES and not self.closed

    async def drained(self, deadline: float | None) -> None:
        """Wait until the module has read enough of what was sent."""
        try:
            await asyncio.wait_for(self._drained.wait(), remaining_s(deadline))
        except TimeoutError:
            text = f"{self._pool.id!r} did not take the request before its deadline: its pipe is full"
            raise CallTimeoutError(text, id=self._pool.id) from None

    def flush(self) -> None:
        """Send what waits without waiting for the loop's next turn."""
        if not self.closed and not self._rest:
            self._flush()

    def when_written(self, done: Callable[[], None]) -> None:
        """Send what waits, and call `done` when the kernel has all of it: at once, in the usual case. Also when the pipe ends."""
        self.flush()
        if self.closed or not self._unsent_bytes:
            done()
        else:
            self._on_written.append((self._said_bytes, done))

    def _flush(self) -> None:
        if self.closed or not (self._rest or self._out):
            self._flushing = False
            return
        data = self._rest
        if not data:
            data = memoryview(self._out[0] if len(self._out) == 1 else b"".join(self._out))
            self._out.clear()
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._flushing = False
            return  # what the module sent before it went is still to be read; the reader then finds the end
        self._rest = data[sent:]
        self._unsent_bytes -= sent
        if not self.choked:
            self._drained.set()
        while self._on_written and self._on_written[0][0] <= self._said_bytes - self._unsent_bytes:
            self._on_written.popleft()[1]()
        if self._rest or self._out:
            self._loop.add_writer(self._sock.fileno(), self._flush)
        else:
            self._flushing = False
            self._loop.remove_writer(self._sock.fileno())
            self._close_when_idle()

    # -- answers -------------------------------------------------------------------------------------------------------

    def _readable(self) -> None:
        try:
            data = self._sock.recv(RECV_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # ECONNRESET: all that was sent to us came before it
        if not data:
            self._lost()
            return
        try:
            self._frames.feed(data)
            while (body := self._frames.next()) is not None:
                self._message(body)
        except DspexError:
            self._lost()  # a peer that breaks the protocol; the runtime sees to the process

    def _message(self, body: bytes) -> None:
        try:
            message = self._codec.unpack(body)
        except UndecodableError as exc:
            if exc.request is None:
                raise
            self._end(exc.request, exc)  # one value that this process cannot rebuild ends its own request and no other
            return
        request = self._pending.get(message[1])
        if request is None:
            # Late, its caller gave up; or the first and last word of a module of another version.
            if message[0] == REFUSED:
                self._refused(message)
        elif message[0] == BEGUN:
            request.begun = message[2]
        elif message[0] == ITEM:
            request.begun = True
            request.items.append(message[2])
            request.wake()
        else:
            self._end(request.number, message)

    def _refused(self, message: Message) -> None:
        for number in list(self._pending):
            self._end(number, self._pool.refused(message))

    def _end(self, number: int, how: Message | BaseException | None) -> None:
        request = self._pending.pop(number, None)
        if request is None:
            return
        if not request.ended.done():
            if isinstance(how, BaseException):
                request.ended.set_exception(how)
            else:
                request.ended.set_result(how)
        if request.waiter is not None:
            request.wake()
        if self.retired:
            self._close_when_idle()

    # -- deadlines -----------------------------------------------------------------------------------------------------

    def _watch(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self._loop.call_later(max(0.0, deadline - monotonic()), self._due)

    def _due(self) -> None:
        self._timer = None
        now = monotonic()
        for request in [r for r in self._pending.values() if r.deadline is not None and r.deadline <= now]:
            self.cancel(request)
            if not request.ended.done():
                request.ended.set_exception(TimeoutError())
            request.wake()
            self._pool.connection.hint("unanswered", {"id": self._pool.id, "incarnation": self.incarnation})
        left = [r.deadline for r in self._pending.values() if r.deadline is not None]
        if left and not self.closed:
            self._watch(min(left))

    # -- the end -------------------------------------------------------------------------------------------------------

    def retire(self) -> None:
        """Take no new requests, wait for the answers that are due, then close."""
        self.retired = True
        self._close_when_idle()

    def _close_when_idle(self) -> None:
        if self.retired and not self._pending and not self._flushing:
            self.close()

    def _lost(self) -> None:
        self._pool.lost_incarnation(self.incarnation)
        self.close()

    def close(self) -> None:
        """Close the pipe; what was in flight ends as lost. Closing twice is fine."""
        if self.closed:
            return
        self.closed = True
        if not self._loop.is_closed():
            self._loop.remove_reader(self._sock.fileno())
            self._loop.remove_writer(self._sock.fileno())
            if self._timer is not None:
                self._timer.cancel()
            self._drained.set()
            while self._on_written:
                self._on_written.popleft()[1]()
            for number in list(self._pending):
                self._end(number, None)
        self._sock.close()

    def close_soon(self) -> None:
        """Close it from any thread, without waiting."""
        try:
            self._loop.call_soon_threadsafe(self.close)
        except RuntimeError:  # the loop was closed: nothing runs there any more
            self.close()

    def forked(self) -> None:
        """Close this copy of the descriptor; the pipe and the loop belong to the parent process."""
        self.closed = True
        self._sock.close()
