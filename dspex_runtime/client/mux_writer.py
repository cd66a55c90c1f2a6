"""The writing side of a multiplexed pipe. Everything here runs in its loop's thread.

Writes of one turn of the loop leave in one system call. Never waits: who is to wait for a module that does not read is told.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from typing import Final

__all__ = ["MuxWriter"]

HIGH_WATER_BYTES: Final = 4 * 2**20  # callers wait once so much is unsent; bounds memory against a module that does not read


class MuxWriter:
    """Frames on their way into a socket, which is not its own.

    Args:
        loop: Of everything here.
        sock: Non-blocking.
        on_idle: Called when the kernel has all there was.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, on_idle: Callable[[], None]) -> None:
        self._loop = loop
        self._sock = sock
        self._on_idle = on_idle
        self.closed = False
        self.busy = False  #: something is on its way
        self.drained = asyncio.Event()  #: set unless `choked`
        self.drained.set()
        self._out: list[bytes] = []
        self._rest = memoryview(b"")  # of what is half sent
        self._put_bytes = 0  # ever
        self._unsent_bytes = 0
        self._on_written: deque[tuple[int, Callable[[], None]]] = deque()  # (when so much is sent, what to call)

    @property
    def choked(self) -> bool:
        """Whether so much is unsent that a sender should wait for `drained`."""
        return self._unsent_bytes > HIGH_WATER_BYTES and not self.closed

    def put(self, data: bytes) -> None:
        """Queue a frame for this turn's write; nothing, once closed."""
        if self.closed:
            return
        self._out.append(data)
        self._put_bytes += len(data)
        self._unsent_bytes += len(data)
        if self.choked:
            self.drained.clear()
        if not self.busy:
            self.busy = True
            self._loop.call_soon(self._flush)

    def flush(self) -> None:
        """Send what waits without waiting for the loop's next turn."""
        if not self.closed and not self._rest:
            self._flush()

    def when_written(self, done: Callable[[], None]) -> None:
        """Send what waits, and call `done` when the kernel has all of it: at once, in the usual case. Also when this is closed."""
        self.flush()
        if self.closed or not self._unsent_bytes:
            done()
        else:
            self._on_written.append((self._put_bytes, done))

    def close(self) -> None:
        """Send no more; whoever waits for it waits no longer."""
        self.closed = True
        self._loop.remove_writer(self._sock.fileno())
        self.drained.set()
        while self._on_written:
            self._on_written.popleft()[1]()

    def _flush(self) -> None:
        if self.closed or not (self._rest or self._out):
            self.busy = False
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
            self.busy = False
            return  # what the module sent before it went is still to be read; the reader then finds the end
        self._rest = data[sent:]
        self._unsent_bytes -= sent
        if not self.choked:
            self.drained.set()
        while self._on_written and self._on_written[0][0] <= self._put_bytes - self._unsent_bytes:
            self._on_written.popleft()[1]()
        if self._rest or self._out:
            self._loop.add_writer(self._sock.fileno(), self._flush)
        else:
            self.busy = False
            self._loop.remove_writer(self._sock.fileno())
            self._on_idle()
