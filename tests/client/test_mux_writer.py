"""Writing to a multiplexed pipe: one system call a turn, what is unsent is counted, and nobody waits for a closed one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from dspex_runtime.client.mux_writer import HIGH_WATER_BYTES, MuxWriter
from helpers.waiting import PATIENCE_S

LARGE = b"x" * (HIGH_WATER_BYTES + 1)


class Counting(socket.socket):
    """A socket that counts its sends, and what the kernel took."""

    sends = sent_bytes = 0

    def send(self, data: Any, flags: int = 0) -> int:
        self.sends += 1
        sent = super().send(data, flags)
        self.sent_bytes += sent
        return sent


class Pipe:
    """A writer, the module's end of its socket, and how often it was idle."""

    def __init__(self) -> None:
        ours, self.module = socket.socketpair()
        self.ours = Counting(fileno=ours.detach())
        self.ours.setblocking(False)
        self.idle = 0
        self.writer = MuxWriter(asyncio.get_running_loop(), self.ours, self._idle)

    def _idle(self) -> None:
        self.idle += 1

    async def read(self, size: int) -> bytes:
        self.module.setblocking(False)
        data = b""
        while len(data) < size:
            data += await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.module, size - len(data)), PATIENCE_S)
        return data

    async def read_to(self, end: bytes) -> bytes:
        """Send something past the writer, and return what there was before it, and it."""
        loop = asyncio.get_running_loop()
        self.module.setblocking(False)
        sending = asyncio.create_task(loop.sock_sendall(self.ours, end))
        data = b""
        while not data.endswith(end):
            data += await asyncio.wait_for(loop.sock_recv(self.module, HIGH_WATER_BYTES), PATIENCE_S)
        await sending
        return data


@pytest.fixture
def in_loop() -> Callable[[Callable[[Pipe], Coroutine[Any, Any, None]]], None]:
    """Run a coroutine function with a pipe in a loop of its own."""

    def run(main: Callable[[Pipe], Coroutine[Any, Any, None]]) -> None:
        async def with_pipe() -> None:
            pipe = Pipe()
            try:
                await asyncio.wait_for(main(pipe), 2 * PATIENCE_S)
            finally:
                pipe.writer.close()
                pipe.ours.close()
                pipe.module.close()

        asyncio.run(with_pipe())

    return run


def test_frames_of_one_turn_leave_in_one_system_call(in_loop: Any) -> None:
    async def main(pipe: Pipe) -> None:
        for frame in (b"a", b"b", b"c"):
            pipe.writer.put(frame)
        assert (pipe.ours.sends, pipe.writer.busy) == (0, True)
        assert await pipe.read(3) == b"abc"
        assert (pipe.ours.sends, pipe.writer.busy, pipe.idle) == (1, False, 1)

    in_loop(main)


def test_a_flush_waits_for_no_turn(in_loop: Any) -> None:
    async def main(pipe: Pipe) -> None:
        pipe.writer.put(b"a")
        pipe.writer.flush()
        assert pipe.ours.sends == 1

    in_loop(main)


def test_what_a_module_does_not_read_chokes_until_it_does(in_loop: Any) -> None:
    async def main(pipe: Pipe) -> None:
        pipe.writer.put(LARGE)
        assert (pipe.writer.choked, pipe.writer.drained.is_set()) == (True, False)
        reading = asyncio.create_task(pipe.read(len(LARGE) + 1))
        await pipe.writer.drained.wait()
        assert not pipe.writer.choked
        pipe.writer.put(b"!")
        assert await reading == LARGE + b"!"

    in_loop(main)


def test_each_is_told_when_the_kernel_has_all_that_was_put_before(in_loop: Any) -> None:
    async def main(pipe: Pipe) -> None:
        told: list[str] = []
        pipe.writer.put(b"a")
        pipe.writer.when_written(lambda: told.append("at once"))
        assert told == ["at once"]
        pipe.writer.put(LARGE)
        pipe.writer.when_written(lambda: told.append("first"))
        pipe.writer.put(LARGE)
        pipe.writer.when_written(lambda: told.append("second"))
        assert told == ["at once"]
        await pipe.read(2 * len(LARGE) + 1)
        assert told == ["at once", "first", "second"]

    in_loop(main)


def test_once_closed_nothing_is_sent_and_nobody_waits(in_loop: Any) -> None:
    async def main(pipe: Pipe) -> None:
        told: list[str] = []
        pipe.writer.put(LARGE)
        pipe.writer.when_written(lambda: told.append("waited"))
        pipe.writer.close()
        pipe.writer.when_written(lambda: told.append("later"))
        assert (told, pipe.writer.choked, pipe.writer.drained.is_set()) == (["waited", "later"], False, True)
        sent = pipe.ours.sent_bytes
        assert 0 < sent < len(LARGE)
        assert await pipe.read(sent) == LARGE[:sent], "there is room for more"
        pipe.writer.put(b"a")
        pipe.writer.flush()
        assert await pipe.read_to(b"!") == b"!"

    in_loop(main)


def test_the_end_of_the_module_is_the_readers_to_find(in_loop: Any) -> None:
    async def main(pipe: Pipe) -> None:
        pipe.module.close()
        pipe.writer.put(b"a")
        pipe.writer.flush()
        assert (pipe.writer.busy, pipe.writer.closed) == (False, False)

    in_loop(main)
