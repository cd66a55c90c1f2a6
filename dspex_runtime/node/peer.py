"""One non-blocking framed connection of the runtime process: a client, a module or the zygote.

Guarantees: messages leave in the order they were sent, whole; descriptors arrive with their message; a peer that does not
read costs at most `max_backlog_bytes`, then it is closed; bytes that are no message close it with the reason. A message that
holds a value which cannot be rebuilt here is lost alone.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import logging
import os
import socket
import struct
import termios
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from dspex_runtime.errors import ProtocolError
from dspex_runtime.node.event_loop import EventLoop
from dspex_runtime.wire.codec import Codec, UndecodableError
from dspex_runtime.wire.faults import to_fault
from dspex_runtime.wire.framing import FrameReader, frame
from dspex_runtime.wire.messages import CONTROL, FAULT, REPLY, Message

log = logging.getLogger(__name__)

RECV_BYTES: Final = 256 * 1024
PLAIN: Final = Codec()  # the only codec of this process: it never unpickles, what is pickled passes through unopened
MAX_FDS: Final = 16  # descriptors one recvmsg may bring
MAX_BACKLOG_BYTES: Final = 64 * 2**20
RETRY_FDS_S: Final = 0.01  # ETOOMANYREFS: descriptors in flight are limited per user; they drain in microseconds

OnMessage = Callable[["Peer", Message], None]
OnClosed = Callable[["Peer", Exception | None], None]


class Peer:
    """A connection owned by the event loop. `on_closed` is called once, with None for a clean end."""

    def __init__(
        self,
        loop: EventLoop,
        sock: socket.socket,
        on_message: OnMessage,
        on_closed: OnClosed,
        *,
        max_backlog_bytes: int = MAX_BACKLOG_BYTES,
    ) -> None:
        sock.setblocking(False)
        self._loop = loop
        self._sock = sock
        self._reader = FrameReader()
        self._on_message = on_message
        self._on_closed = on_closed
        self._max_backlog = max_backlog_bytes
        self._queue: deque[tuple[bytes, Sequence[int]]] = deque()
        self._received_fds: deque[int] = deque()
        self._on_drained: list[Callable[[], None]] = []
        self.backlog_bytes = 0
        self.closed = False
        loop.watch(sock.fileno(), self._readable)

    # -- sending ----------------------------------------------------------------------------------------------------

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Queue one message; `fds` become the peer's and are closed here once sent. Never blocks, never raises for a dead peer.

        Raises:
            UnserialisableError: The message cannot be encoded; nothing was sent.
        """
        try:
            data = frame(PLAIN.pack(message))
        except BaseException:
            _close_all(fds)
            raise
        if self.closed:
            _close_all(fds)
            return
        self._queue.append((data, fds))
        self.backlog_bytes += len(data)
        if len(self._queue) == 1:
            self._flush()
        if self.backlog_bytes > self._max_backlog:
            self.close(ProtocolError(f"peer does not read: {self.backlog_bytes} bytes waiting, {self._max_backlog} allowed"))

    def when_drained(self, done: Callable[[], None]) -> None:
        """Call `done` once, when all that waits is sent; never when the peer is lost before. Something must be waiting."""
        self._on_drained.append(done)

    def _flush(self) -> None:
        while self._queue and not self.closed:
            data, fds = self._queue[0]
            try:
                sent = self._send_some(data, fds)
            except BlockingIOError:
                self._loop.watch_writable(self._sock.fileno(), self._flush)
                return
            except OSError as exc:
                if exc.errno == errno.ETOOMANYREFS:
                    self._loop.watch_writable(self._sock.fileno(), None)
                    self._loop.call_later(RETRY_FDS_S, self._flush)
                    return
                self._end_of_writing()
                return
            self.backlog_bytes -= sent
            _close_all(fds)
            if sent == len(data):
                self._queue.popleft()
            else:
                self._queue[0] = (data[sent:], ())
        if not self.closed:
            self._loop.watch_writable(self._sock.fileno(), None)
            drained, self._on_drained = self._on_drained, []
            for done in drained:
                done()

    def _send_some(self, data: bytes, fds: Sequence[int]) -> int:
        if fds:
            return self._sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])
        return self._sock.send(data)

    def _end_of_writing(self) -> None:
        # EPIPE says that nobody will read what we send; what the peer sent before it went is still to be read.
        for _, fds in self._queue:
            _close_all(fds)
        self._queue.clear()
        self._on_drained.clear()
        self.backlog_bytes = 0
        self._loop.watch_writable(self._sock.fileno(), None)

    # -- receiving --------------------------------------------------------------------------------------------------

    def take_fd(self) -> int | None:
        """Return the next descriptor that came with a message (the caller owns it), or None."""
        return self._received_fds.popleft() if self._received_fds else None

    def drain(self) -> None:
        """Handle everything that is there by now: used when the peer's process is known to be dead.

        Not until the end of the pipe: a process that it had forked may hold the other end, and write to it for ever.
        """
        unread = 0 if self.closed else _unread_bytes(self._sock)
        while not self.closed and unread >= 0:  # once more than there are bytes: that read sees the end
            read = self._read_once()
            if read == 0:
                return
            unread -= read

    def _readable(self) -> None:
        self._read_once()

    def _read_once(self) -> int:
        """Read and handle what one call brings; how many bytes, 0 when there is nothing or it is closed."""
        try:
            data, ancillary, flags, _ = self._sock.recvmsg(RECV_BYTES, socket.CMSG_SPACE(MAX_FDS * 4), socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return 0
        except OSError as exc:
            # ECONNRESET: the peer died with our bytes unread. All that it had sent was delivered before this error.
            self.close(None if exc.errno == errno.ECONNRESET else exc)
            return 0
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array.array("i")
                fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
                self._received_fds.extend(fds)
        if flags & socket.MSG_CTRUNC:
            self.close(ProtocolError("descriptors were lost: too many sent at once, or this process is at its limit of open files"))
            return 0
        if not data:
            self.close(None)
            return 0
        self._handle(data)
        return len(data)

    def _handle(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while not self.closed and (body := self._reader.next()) is not None:
                self._take(body)
        except ProtocolError as exc:
            self.close(exc)

    def _take(self, body: bytes) -> None:
        try:
            message = PLAIN.unpack(body)
        except UndecodableError as exc:
            self._undecodable(exc)
            return
        try:
            self._on_message(self, message)
        except ProtocolError:
            raise
        except Exception:
            # A bug in the handling of one message must not lose those behind it: one of them may be the last of a process.
            log.exception("unexpected error at a message of kind %.20r", message[0])

    def _undecodable(self, exc: UndecodableError) -> None:
        """Only this message is lost: whoever waits because of it is told, here or there."""
        fault = [FAULT, exc.request, to_fault(exc, id=None, incarnation=None, codec=PLAIN)]
        if exc.request and exc.kind == CONTROL:
            self.send(fault)
        elif exc.request and exc.kind == REPLY:
            self._on_message(self, fault)
        else:
            log.warning("lost a message of a peer: %s", exc)

    def close(self, error: Exception | None = None) -> None:
        """Close at once; what is queued is dropped. Closing twice is fine."""
        if self.closed:
            return
        self.closed = True
        for _, fds in self._queue:
            _close_all(fds)
        self._queue.clear()
        self._on_drained.clear()
        _close_all(self._received_fds)
        self._received_fds.clear()
        self._loop.forget(self._sock.fileno())
        self._sock.close()
        self._on_closed(self, error)


def _unread_bytes(sock: socket.socket) -> int:
    """Return how many bytes wait in a socket's receive queue."""
    answer: bytes = fcntl.ioctl(sock.fileno(), termios.FIONREAD, bytes(4))
    return int(struct.unpack("i", answer)[0])


def _close_all(fds: Sequence[int] | deque[int]) -> None:
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)
