"""Blocking stream sockets that several threads use: who may write, who may close, and when. Owns one socket each.

Never reads and never frames: `channel` does.

    Any number of threads may send, one at a time may receive, and any may close: that wakes both.
    An open stream is closed in every forked child: a grandchild that kept it would keep the peer waiting for an EOF.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Sequence
from math import ceil
from threading import Lock
from time import monotonic
from types import TracebackType
from typing import Final, Self
from weakref import WeakSet

from dspex_runtime.osproc.rights import rights

__all__ = ["Stream"]

_SLICE_BYTES: Final = 32768  # the kernel queues this much at once or not at all (one skb)
_LONGEST_POLL_S: Final = 86400.0  # poll takes at most 24 days
_CUT_OFF: Final = "an earlier message was cut off by its deadline"

_open: WeakSet[Stream] = WeakSet()


class Stream:
    """One stream socket, which it owns from now on."""

    _both_ways = socket.SHUT_RDWR  # of the class: closed by the collector at the interpreter's end, it finds globals that are None

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(True)  # socket.setdefaulttimeout() of the user would make it non-blocking
        self._sock = sock
        self._send_lock = Lock()
        self._sock_send = sock.send
        self._reading = False
        self._closed = False
        self._unsendable = ""  # why nothing can be sent any more
        self._reset = False  # the kernel said ECONNRESET, which it says once
        _open.add(self)

    def fileno(self) -> int:
        """Return the descriptor, for poll; -1 when closed."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close it, waking a thread that is blocked in recv or send. Idempotent, from any thread."""
        if self._closed:
            return
        self._closed = True
        try:
            self._sock.shutdown(self._both_ways)
        except OSError:  # the peer is gone already
            pass
        self._release()

    def let_go(self) -> None:
        """Close our descriptor and tell nobody: another process has the stream. Only where nobody sends or receives. Idempotent."""
        if not self._closed:
            self._closed = True
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
                sent = self._sock.sendmsg([rest], rights(fds), flags) if fds else self._sock.send(rest, flags)
            except BlockingIOError:
                self._unsendable = _CUT_OFF if len(rest) < len(data) else ""
                self._await(select.POLLOUT, deadline)
                continue
            rest, fds = rest[sent:], ()  # descriptors went with the first byte
        self._unsendable = ""


def _close_in_child() -> None:
    # No shutdown: that would end the parent's stream. A new lock: the thread that holds the old one does not exist here.
    for stream in list(_open):
        stream._closed = True
        stream._send_lock = Lock()
        stream._dispose()


os.register_at_fork(after_in_child=_close_in_child)
