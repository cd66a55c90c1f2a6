"""The stream from the old process to the new one: frames, whatever their size, and descriptors, however many.

Owns one end of a socketpair of the two; the parent never sees what goes over it. Any thread may close an end, which wakes whoever
waits there: that is how a move is given up. Interprets no frame.

    ["fds", n] + n descriptors      of the frame that follows, in order; answered with ["took", n]; waited for when many are
                                    under way, else at the end
    ["large", size]                 the frame's bytes are in the last of those descriptors, a memfd
    [kind, facts, n]                a frame, and how many descriptors are its own
    ["end", {}, 0]                  the last one; answered with ["done"]

So a socket never holds more than FDS_AT_ONCE descriptors: the kernel counts those on their way, over all processes of a user,
against the limit of open files (unix(7)).
"""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from dspex_runtime.errors import ProtocolError, SwapError
from dspex_runtime.osproc.channel import FdChannel
from dspex_runtime.wire.codec import Codec, UndecodableError

__all__ = ["END", "Frame", "Incoming", "Outgoing"]

END: Final = "end"
FDS_AT_ONCE: Final = 250  # below SCM_MAX_FD (253), which one message takes
ANSWERS_AHEAD: Final = 16  # nobody reads them meanwhile: so many have room in a socket
INLINE_BYTES: Final = 1 << 20  # larger frames go as a memfd: no limit of a frame's size, and nothing of it waits in the socket
REFS_WAIT_S: Final = 5.0  # for others of this user to take the descriptors that they are being sent
REFS_PAUSE_S: Final = 0.01

_FDS: Final = "fds"
_LARGE: Final = "large"
_TOOK: Final = "took"
_DONE: Final = "done"


class Frame(NamedTuple):
    """What came: its descriptors are the reader's to close."""

    kind: str
    facts: dict[str, Any]
    fds: list[int]


class _End:
    """What both ends have in common."""

    def __init__(self, sock: socket.socket, codec: Codec) -> None:
        self.codec = codec
        self._channel = FdChannel(sock, codec)

    def close(self) -> None:
        """Close it, waking a thread that waits here. Idempotent, from any thread."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class Outgoing(_End):
    """The old process's end. One thread at a time sends.

    Attributes:
        bytes: How many were sent, without descriptors.
    """

    def __init__(self, sock: socket.socket, codec: Codec) -> None:
        super().__init__(sock, codec)
        self.bytes = 0
        self._under_way: deque[int] = deque()  #: descriptors that were sent, and not said to be taken

    def send(self, kind: str, facts: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Send a frame with duplicates of descriptors; ours stay open. Waits for as long as the other end does not read.

        Raises:
            UnserialisableError: A value cannot be sent; of this frame nothing was.
            SwapError: "move": the other end is gone, or this one was closed.
        """
        body = self.codec.pack([kind, facts, len(fds)])
        self.bytes += len(body)
        with _telling("the new process does not take what it is sent"):
            for at in range(0, len(fds), FDS_AT_ONCE):
                self._send_fds(fds[at : at + FDS_AT_ONCE])
            if len(body) <= INLINE_BYTES:
                self._channel.send_packed(body)
            else:
                self._send_large(body)

    def end(self) -> None:
        """Say that this is all, and wait until everything was read. Raises as `send`."""
        self.send(END, {})
        with _telling("the new process has not taken all that it was sent"):
            self._make_room(FDS_AT_ONCE)
            self._expect([_DONE])

    def _make_room(self, n: int) -> None:
        """Wait until so many more descriptors may be under way: for none that have room. Each wait is two switches of process."""
        while self._under_way and (sum(self._under_way) + n > FDS_AT_ONCE or len(self._under_way) >= ANSWERS_AHEAD):
            self._expect([_TOOK, self._under_way.popleft()])

    def _send_fds(self, fds: Sequence[int]) -> None:
        self._make_room(len(fds))
        give_up = monotonic() + REFS_WAIT_S
        while True:
            try:
                self._channel.send([_FDS, len(fds)], fds=fds)
                break
            except OSError as exc:
                # Nobody says when there is room: others of this user, of whom we know nothing, have to read theirs.
                if exc.errno != errno.ETOOMANYREFS or monotonic() > give_up:
                    raise
                threading.Event().wait(REFS_PAUSE_S)
        self._under_way.append(len(fds))

    def _send_large(self, body: bytes) -> None:
        fd = os.memfd_create("dspex-moving", os.MFD_CLOEXEC)
        try:
            rest = memoryview(body)
            while rest:
                rest = rest[os.write(fd, rest) :]
            self._send_fds([fd])
        finally:
            os.close(fd)
        self._channel.send([_LARGE, len(body)])

    def _expect(self, answer: list[Any]) -> None:
        if (got := self._channel.recv()) != answer:
            raise ProtocolError(f"the new process was to answer {answer}; it said {got!r:.100}")


class Incoming(_End):
    """The new process's end. One thread at a time reads."""

    def __init__(self, sock: socket.socket, codec: Codec) -> None:
        super().__init__(sock, codec)
        self._fds: list[int] = []

    def recv(self) -> Frame:
        """Return the next frame; behind the one of kind END there is none, and the other end knows that this was read.

        Raises:
            SwapError: "move": the other end is gone before all was said, or descriptors were lost to the limit of open files.
            UndecodableError: A value in it cannot be rebuilt here.
        """
        with _telling("the old process has not sent all of itself"):
            while True:
                message = self._channel.recv()
                match message:
                    case ["fds", int(n)]:
                        self._fds += [self._channel.take_fd() for _ in range(n)]
                        self._channel.send([_TOOK, n])
                    case ["large", int(size)]:
                        return self._frame(self.codec.unpack(self._large(size)))
                    case _:
                        return self._frame(message)

    def _large(self, size: int) -> bytes:
        if not self._fds:
            raise ProtocolError("a large frame came without the memfd that holds it")
        with open(self._fds.pop(), "rb") as file:
            file.seek(0)
            data = file.read()
        if len(data) != size:
            raise ProtocolError(f"a large frame was to have {size} bytes, and has {len(data)}")
        return data

    def _frame(self, message: list[Any]) -> Frame:
        match message:
            case [str(kind), dict(facts), int(n)] if n == len(self._fds):
                fds, self._fds = self._fds, []
            case _:
                raise ProtocolError(f"{message!r:.100} is no frame with {len(self._fds)} descriptors")
        if kind == END:
            self._channel.send([_DONE])
        return Frame(kind, facts, fds)

    def close(self) -> None:
        """Close it, and the descriptors that came and were not given out. Idempotent, from any thread."""
        super().close()
        while self._fds:
            os.close(self._fds.pop())


@contextmanager
def _telling(what: str) -> Iterator[None]:
    """Turn what a broken stream raises into the error of a move."""
    try:
        yield
    except UndecodableError:
        raise
    except (EOFError, OSError, ProtocolError) as exc:
        raise SwapError(f"{what}: {str(exc) or type(exc).__name__}", code="move") from exc
