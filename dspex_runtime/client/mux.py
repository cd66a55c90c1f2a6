"""One pipe per module and event loop with many requests in flight. Everything here runs in its loop's thread.

One timer per pipe watches the nearest deadline; writing is `mux_writer`'s. Never opens a pipe and never sends a request again:
`mux_links` and `async_calls` do.
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
from dspex_runtime.client.mux_writer import MuxWriter
from dspex_runtime.errors import CallTimeoutError, DspexError
from dspex_runtime.wire.codec import Codec, UndecodableError
from dspex_runtime.wire.framing import FrameReader, frame
from dspex_runtime.wire.messages import BEGUN, CALL, CANCEL, ITEM, REFUSED, Message

RECV_BYTES: Final = 256 * 1024


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
        self._writer = MuxWriter(loop, sock, self._close_when_idle)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        loop.add_reader(sock.fileno(), self._readable)
        self.say(pool.hello(mux=True))

    # -- requests ------------------------------------------------------------------------------------------------------

    def begin(
        self,
        method: str,
        args: list[Any],
        kwargs: dict[str, Any],
        deadline: float | None,
        key: str | None,
        credit: int,
        chain: list[list[Any]] | None,
    ) -> MuxRequest:
        """Send a request.

        Raises:
            UnserialisableError: An argument cannot cross; nothing was sent.
        """
        number = next(self._pool.numbers)
        self.say([CALL, number, method, args, kwargs, deadline, key, credit, chain])
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
        self._writer.put(frame(self._codec.pack(message)))

    @property
    def choked(self) -> bool:
        """Whether so much is unsent that a sender should wait for `drained`."""
        return self._writer.choked

    async def drained(self, deadline: float | None) -> None:
        """Wait until the module has read enough of what was sent."""
        try:
            await asyncio.wait_for(self._writer.drained.wait(), remaining_s(deadline))
        except TimeoutError:
            text = f"{self._pool.id!r} did not take the request before its deadline: its pipe is full"
            raise CallTimeoutError(text, id=self._pool.id) from None

    def flush(self) -> None:
        """Send what waits without waiting for the loop's next turn."""
        self._writer.flush()

    def when_written(self, done: Callable[[], None]) -> None:
        """Send what waits, and call `done` when the kernel has all of it: at once, in the usual case. Also when the pipe ends."""
        self._writer.when_written(done)

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
        if self.retired and not self._pending and not self._writer.busy:
            self.close()

    def _lost(self) -> None:
        self._pool.lost_incarnation(self.incarnation)
        self.close()

    def close(self) -> None:
        """Close the pipe; what was in flight ends as lost. Closing twice is fine."""
        if self.closed:
            return
        self.closed = self._writer.closed = True
        if not self._loop.is_closed():
            self._loop.remove_reader(self._sock.fileno())
            self._writer.close()
            if self._timer is not None:
                self._timer.cancel()
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
        self.closed = self._writer.closed = True
        self._sock.close()
