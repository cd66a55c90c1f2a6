"""Blocking framed channels over socketpairs, for clients, modules and the zygote. Owns one socket each.

Never runs an event loop (that side uses FrameReader alone), never interprets a message.

    Any number of threads may send, one at a time may receive, and any may close: that wakes both.
    An open channel is closed in every forked child: a grandchild that kept it would keep the peer waiting for an EOF.
    An exception from a signal handler (KeyboardInterrupt) inside send or recv may lose a message: close the channel.
"""

from __future__ import annotations

import errno
import os
import resource
import select
import socket
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from math import ceil
from struct import pack
from threading import Lock
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self
from weakref import WeakSet

from dspex_runtime.errors import ProtocolError
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.framing import FrameReader, frame

__all__ = ["Channel", "FdChannel", "pair"]

_RECV_BYTES: Final = 65536  # malloc serves it from the heap; 256 KiB is an mmap each time: 16 us an echo instead of 5
_BULK_BYTES: Final = 262144  # while reads come back full
_SLICE_BYTES: Final = 32768  # the kernel queues this much at once or not at all (one skb)
# A recv with a deadline blocks this long in recv(2) itself, by SO_RCVTIMEO set once, and only then asks poll(2). Nearly
# every reply comes within the first. A poll for each call costs 1.4 us, a setsockopt 2.1. SO_RCVTIMEO alone would be
# up to 12 % late (timer wheel) and starts anew after every signal; poll is exact and does not.
_FIRST_WAIT_S: Final = 0.005
_LONGEST_POLL_S: Final = 86400.0  # poll takes at most 24 days
_MAX_FDS: Final = 253  # SCM_MAX_FD: more in one message is EINVAL
_MAX_WAITING_FDS: Final = 1024  # a peer that sends some nobody takes must not use up ours
_INT_BYTES: Final = array("i").itemsize
_FD_SPACE_BYTES: Final = socket.CMSG_SPACE(_MAX_FDS * _INT_BYTES)
_CUT_OFF: Final = "an earlier message was cut off by its deadline"

_open: WeakSet[Channel] = WeakSet()


def pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected stream sockets, close-on-exec, made by `multiprocess.Pipe`."""
    from multiprocess.connection import Pipe

    sockets = []
    for connection in Pipe(duplex=True):
        # A Connection gives its descriptor away only as a duplicate; closed here, it cannot close it a second time later.
        with connection:
            sockets.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=os.dup(connection.fileno())))
    return sockets[0], sockets[1]


class Channel:
    """Messages over one stream socket, which it owns from now on.

    What was sent before the peer's end is always delivered first. Then `recv` raises EOFError (the peer closed or
    died having read everything) or ConnectionResetError (it died with bytes unread: what it did not read did not begin).
    """

    def __init__(self, sock: socket.socket, codec: Codec) -> None:
        sock.setblocking(True)  # socket.setdefaulttimeout() of the user would make it non-blocking
        self._sock = sock
        self._codec = codec
        self._reader = FrameReader()
        self._send_lock = Lock()
        self._sock_send = sock.send
        self._receive: Callable[[int, int], bytes] = sock.recv  # (size, flags)
        self._recv_bytes = _RECV_BYTES
        self._waits_first = False  # SO_RCVTIMEO is set
        self._held = False  # frames may be waiting in the reader
        self._error: Exception | None = None  # to be raised by the next recv
        self._reading = False
        self._closed = False
        self._unsendable = ""  # why nothing can be sent any more
        self._reset = False  # the kernel said ECONNRESET, which it says once
        _open.add(self)

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

    def fileno(self) -> int:
        """Return the descriptor, for poll; -1 when closed."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close it, waking a thread that is blocked in recv or send. Idempotent, from any thread."""
        if self._closed:
            return
        self._closed = True
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:  # the peer is gone already
            pass
        self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # The descriptor is closed by the last thread that uses it: its number may be another file's the moment it is closed.
    # Each side first says what it does (reading, holding the lock, closed) and then looks at the other, so one of
    # them always sees both.
    def _release(self) -> None:
        if self._reading or not self._send_lock.acquire(blocking=False):
            return
        try:
            self._dispose()
        finally:
            self._send_lock.release()

    def _dispose(self) -> None:
        self._sock.close()

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

    def _await(self, event: int, deadline: float | None) -> None:
        """Return when the socket may be ready for event; TimeoutError at the deadline. The caller keeps it from being closed."""
        poller = select.poll()
        poller.register(self._sock, event)
        while True:
            wait_s = None if deadline is None else max(0.0, deadline - monotonic())
            if poller.poll(None if wait_s is None else ceil(min(wait_s, _LONGEST_POLL_S) * 1e3)):
                return
            if wait_s is None or wait_s > _LONGEST_POLL_S:
                continue
            raise TimeoutError(f"the peer {'sent' if event == select.POLLIN else 'read'} nothing until the deadline")

    def _transmit(self, data: bytes, deadline: float | None, fds: Sequence[int] = ()) -> None:
        lock = self._send_lock
        if not lock.acquire(False) and not lock.acquire(timeout=-1 if deadline is None else max(0.0, deadline - monotonic())):
            raise TimeoutError("another thread's message was still being sent at the deadline")
        try:
            if self._closed or self._unsendable:
                raise BrokenPipeError(errno.EPIPE, self._unsendable or "the channel is closed")
            if fds or len(data) > _SLICE_BYTES:
                self._write(data, deadline, fds)
            else:
                try:
                    sent = self._sock_send(data) if deadline is None else self._sock_send(data, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    sent = 0
                if sent != len(data):
                    self._write(data, deadline, (), sent)
        except ConnectionResetError:
            self._reset = True
            raise
        finally:
            lock.release()
            if self._closed:
                self._release()

    def _write(self, data: bytes, deadline: float | None, fds: Sequence[int], sent: int = 0) -> None:
        """Send what is large, does not go at once, or brings descriptors."""
        rest = memoryview(data)[sent:]
        flags = 0 if deadline is None else socket.MSG_DONTWAIT
        while rest:
            # Also while it is being sent: an exception of a signal handler could hide that a part was.
            self._unsendable = _CUT_OFF if len(rest) > _SLICE_BYTES or len(rest) < len(data) else ""
            try:
                sent = self._sock.sendmsg([rest], _rights(fds), flags) if fds else self._sock.send(rest, flags)
            except BlockingIOError:
                self._unsendable = _CUT_OFF if len(rest) < len(data) else ""
                self._await(select.POLLOUT, deadline)
                continue
            rest, fds = rest[sent:], ()  # descriptors went with the first byte
        self._unsendable = ""


def _rights(fds: Sequence[int]) -> list[tuple[int, int, array[int]]]:
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))]


class FdChannel(Channel):
    """A channel that also carries descriptors, for control sockets: recvmsg costs 1 us more than recv.

    Descriptors arrive in the order in which they were sent, never later than the message they were sent with. The
    protocol says which messages bring some: take exactly those.
    """

    def __init__(self, sock: socket.socket, codec: Codec) -> None:
        super().__init__(sock, codec)
        self._fds: deque[int] = deque()
        self._receive = partial(_receive_with_fds, sock, self._fds)

    def send(self, message: list[Any], deadline: float | None = None, *, fds: Sequence[int] = ()) -> None:
        """Send one message with duplicates of some descriptors; ours stay open. Raises as Channel.send.

        Raises:
            ValueError: More than 253 descriptors, which one message cannot take.
        """
        if len(fds) > _MAX_FDS:
            raise ValueError(f"one message takes at most {_MAX_FDS} descriptors, not {len(fds)}")
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
        _close_all(self._fds)
        super()._dispose()


def _receive_with_fds(sock: socket.socket, fds: deque[int], size: int, flags: int) -> bytes:
    data, ancillary, message_flags, _ = sock.recvmsg(size, _FD_SPACE_BYTES, flags | socket.MSG_CMSG_CLOEXEC)
    for level, kind, rights in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.extend(array("i", rights[: len(rights) - len(rights) % _INT_BYTES]))
    if message_flags & socket.MSG_CTRUNC:
        _close_all(fds)
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        raise OSError(errno.EMFILE, f"descriptors sent to us were lost: at most {limit} files may be open here (ulimit -n)")
    if len(fds) > _MAX_WAITING_FDS:
        _close_all(fds)
        raise ProtocolError(f"more than {_MAX_WAITING_FDS} descriptors came that no message asked for")
    return data


def _close_all(fds: deque[int]) -> None:
    while fds:
        os.close(fds.popleft())


def _close_in_child() -> None:
    # No shutdown: that would end the parent's channel. A new lock: the thread that holds the old one does not exist here.
    for channel in list(_open):
        channel._closed = True
        channel._send_lock = Lock()
        channel._dispose()


os.register_at_fork(after_in_child=_close_in_child)
