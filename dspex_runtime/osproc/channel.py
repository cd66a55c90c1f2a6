"""Blocking framed channels over socketpairs, for clients, modules and the zygote: messages over a `stream`.

Never runs an event loop (that side uses FrameReader alone), never interprets a message.

    Any number of threads may send, one at a time may receive, and any may close: that wakes both.
    An exception from a signal handler (KeyboardInterrupt) inside send or recv may lose a message: close the channel.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from struct import pack
from time import monotonic
from typing import Any, Final

from dspex_runtime.errors import ProtocolError
from dspex_runtime.osproc.rights import MAX_FDS, close_all, receive_with_fds
from dspex_runtime.osproc.stream import Stream
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.framing import FrameReader, frame

__all__ = ["Channel", "FdChannel", "pair"]

_RECV_BYTES: Final = 65536  # malloc serves it from the heap; 256 KiB is an mmap each time: 16 us an echo instead of 5
_BULK_BYTES: Final = 262144  # while reads come back full
# A recv with a deadline blocks this long in recv(2) itself, by SO_RCVTIMEO set once, and only then asks poll(2). Nearly
# every reply comes within the first. A poll for each call costs 1.4 us, a setsockopt 2.1. SO_RCVTIMEO alone would be
# up to 12 % late (timer wheel) and starts anew after every signal; poll is exact and does not.
_FIRST_WAIT_S: Final = 0.005


def pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected stream sockets, close-on-exec, made by `multiprocess.Pipe`."""
    from multiprocess.connection import Pipe

    sockets = []
    for connection in Pipe(duplex=True):
        # A Connection gives its descriptor away only as a duplicate; closed here, it cannot close it a second time later.
        with connection:
            sockets.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=os.dup(connection.fileno())))
    return sockets[0], sockets[1]


class Channel(Stream):
    """Messages over one stream socket, which it owns from now on.

    What was sent before the peer's end is always delivered first. Then `recv` raises EOFError (the peer closed or
    died having read everything) or ConnectionResetError (it died with bytes unread: what it did not read did not begin).
    """

    def __init__(self, sock: socket.socket, codec: Codec) -> None:
        super().__init__(sock)
        self._codec = codec
        self._reader = FrameReader()
        self._receive: Callable[[int, int], bytes] = sock.recv  # (size, flags)
        self._recv_bytes = _RECV_BYTES
        self._waits_first = False  # SO_RCVTIMEO is set
        self._held = False  # frames may be waiting in the reader
        self._error: Exception | None = None  # to be raised by the next recv

    def send(self, message: list[Any], deadline: float | None = None) -> None:
        """Send one message, whole, between those of other threads.

        Args:
            message: The message.
            deadline: time.monotonic() at which to give up; None waits for as long as the peer does not read.

        Raises:
            UnserialisableError: A value cannot be sent, or the message is too large. Nothing was sent.
            TimeoutError: The peer did not read. If a part was sent the channel cannot send any more.
            ConnectionError: The peer, or this channel, is closed (BrokenPipeError, ConnectionResetError).
        """
        self._transmit(frame(self._codec.pack(message)), deadline)

    def send_packed(self, body: bytes, deadline: float | None = None) -> None:
        """Send a message that was packed with this channel's codec. Raises as `send`."""
        self._transmit(frame(body), deadline)

    def send_many(self, messages: Sequence[list[Any]], deadline: float | None = None) -> None:
        """Send messages in a row with one system call; all are packed before the first is sent. Raises as `send`."""
        self._transmit(b"".join([frame(self._codec.pack(message)) for message in messages]), deadline)

    def recv(self, deadline: float | None = None) -> list[Any]:
        """Return the next message.

        Args:
            deadline: time.monotonic() at which to give up; what has arrived by then is still returned.

        Raises:
            TimeoutError: None came; what came of it is kept for the next recv.
            EOFError: The stream ended, or this channel was closed.
            ConnectionResetError: The peer died with bytes of ours unread.
            UndecodableError: This message has a value that cannot be rebuilt; the channel goes on.
            ProtocolError: The peer sent garbage; close the channel.
            OSError: (FdChannel) Descriptors were lost to this process's limit; the channel is closed.
        """
        body = self._next_held() if self._held else None
        while body is None:
            body = self._fill(deadline)
        return self._codec.unpack(body)

    def recv_ready(self) -> list[list[Any]]:
        """Return the messages that are here, reading once and never blocking; [] for none. Raises as `recv`."""
        messages: list[list[Any]] = []
        try:
            # The socket is asked only when nothing whole is buffered: its end must not hide what came before.
            body = self._next_held() if self._held else None
            if body is None:
                body = self._fill(None, socket.MSG_DONTWAIT)
            while body is not None:
                messages.append(self._codec.unpack(body))
                body = self._next_held() if self._held else None
        except BlockingIOError:
            pass
        except (ProtocolError, EOFError, OSError) as exc:
            if not messages:
                raise
            self._error, self._held = exc, True
        return messages

    @property
    def pending(self) -> bool:
        """Whether bytes, or an error, are held here already: a poll of the descriptor would not tell of them."""
        return self._error is not None or self._reader.pending_bytes > 0

    @property
    def unread(self) -> bytes | None:
        """What was received and not returned yet; None behind an error, where nothing can be made of it."""
        return self._reader.unread if self._error is None else None

    def put_back(self, data: bytes) -> None:
        """Begin with what another channel over the same stream had received and not returned (`unread`)."""
        self._reader.feed(data)
        self._held = True

    def _next_held(self) -> bytes | None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        body = self._reader.next()
        self._held = body is not None
        return body

    def _fill(self, deadline: float | None, flags: int = 0) -> bytes | None:
        """Receive once, blocking unless told otherwise; return a body if one is complete."""
        self._reading = True
        try:
            if self._closed:
                raise EOFError("the channel is closed")
            if deadline is not None:
                if deadline - monotonic() <= 2 * _FIRST_WAIT_S:
                    flags = socket.MSG_DONTWAIT
                elif not self._waits_first:
                    self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, pack("@ll", 0, int(_FIRST_WAIT_S * 1e6)))
                    self._waits_first = True
            data = self._receive(self._recv_bytes, flags)
        except BlockingIOError:
            if deadline is None and flags:
                raise
            self._await(select.POLLIN, deadline)
            return None
        except ConnectionResetError:
            self._reset = True
            raise
        except (OSError, ProtocolError):
            self.close()  # descriptors were lost, and bytes with them: what follows would be read as something else
            raise
        finally:
            self._reading = False
            if self._closed:
                self._release()
        if not data:
            self._raise_end()
        self._recv_bytes = _RECV_BYTES if len(data) < self._recv_bytes else _BULK_BYTES
        body = self._reader.feed_or_take(data)
        return body if body is not None else self._next_held()

    def _raise_end(self) -> None:
        if self._closed:
            raise EOFError("the channel is closed")
        if self._reset:
            raise ConnectionResetError(errno.ECONNRESET, "the peer died with messages unread")
        pending = self._reader.pending_bytes
        raise EOFError(f"the stream ended inside a frame, after {pending} bytes of it" if pending else "the stream ended")


class FdChannel(Channel):
    """A channel that also carries descriptors, for control sockets: recvmsg costs 1 us more than recv.

    Descriptors arrive in the order in which they were sent, never later than the message they were sent with. The
    protocol says which messages bring some: take exactly those.
    """

    def __init__(self, sock: socket.socket, codec: Codec) -> None:
        super().__init__(sock, codec)
        self._fds: deque[int] = deque()
        self._receive = partial(receive_with_fds, sock, self._fds)

    def send(self, message: list[Any], deadline: float | None = None, *, fds: Sequence[int] = ()) -> None:
        """Send one message with duplicates of some descriptors; ours stay open. Raises as Channel.send.

        Raises:
            ValueError: More than 253 descriptors, which one message cannot take.
        """
        if len(fds) > MAX_FDS:
            raise ValueError(f"one message takes at most {MAX_FDS} descriptors, not {len(fds)}")
        self._transmit(frame(self._codec.pack(message)), deadline, fds)

    def take_fd(self) -> int:
        """Return the first descriptor received and not taken yet; it is close-on-exec and the caller's to close.

        Raises:
            ProtocolError: A message that must bring a descriptor came without.
        """
        try:
            return self._fds.popleft()
        except IndexError:
            raise ProtocolError("a message that must bring a descriptor came without one") from None

    def _dispose(self) -> None:
        close_all(self._fds)
        super()._dispose()
