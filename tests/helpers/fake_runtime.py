"""A runtime as the zygote sees it: lifeline, board, socket, and children that run sources sent by the test."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from dspex_runtime.osproc import lifeline
from dspex_runtime.osproc.board import Board
from dspex_runtime.osproc.channel import FdChannel
from dspex_runtime.osproc.zygote_client import Zygote
from dspex_runtime.wire.codec import Codec
from helpers.waiting import PATIENCE_S

ENTRY = "helpers.zygote_entries:main"
HELPERS = str(Path(__file__).parents[1])


class Child:
    """A forked module process and the parent end of its control pipe."""

    def __init__(self, pid: int, fd: int) -> None:
        self.pid = pid
        self.sock = socket.socket(fileno=fd)
        self.sock.settimeout(PATIENCE_S)
        self._buffered = b""

    def run(self, source: str) -> None:
        """Have the child execute `source`."""
        self.sock.sendall(source.encode() + b"\0")

    def ask(self, source: str) -> Any:
        """Have the child execute `source`; return what it passes to `reply`."""
        self.run(source)
        return self.answer()

    def answer(self) -> Any:
        """Return the child's next reply."""
        while b"\0" not in self._buffered:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError(f"child {self.pid} closed its control pipe")
            self._buffered += data
        body, _, self._buffered = self._buffered.partition(b"\0")
        return json.loads(body)


class FakeRuntime:
    """Holds what the real runtime holds. `open` starts a zygote, again after one was killed."""

    def __init__(self) -> None:
        self.lifeline_fd, self.lifeline_write_fd = lifeline.create()
        self.board = Board.create()
        self.children: list[Child] = []
        self.exits: dict[int, int] = {}
        self.order: list[list[Any]] = []  #: every message since the first, as it came

    def spawn(
        self,
        preload: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        *,
        entry: str = ENTRY,
        path: Sequence[str] = (),
        rehearsal: str = "",
    ) -> list[Any]:
        """Start a zygote; return its first message."""
        self.zygote = Zygote.spawn(
            preload=preload,
            env=env or {},
            lifeline_fd=self.lifeline_fd,
            board_fd=self.board.fd,
            entry=entry,
            log_fd=2,
            path=[*path, HELPERS, *sys.path],
            rehearsal=rehearsal,
        )
        self.channel = FdChannel(self.zygote.sock, Codec())
        return self.receive()

    def __enter__(self) -> FakeRuntime:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def send(self, *message: Any) -> None:
        """Send a message to the zygote."""
        self.channel.send(list(message))

    def receive(self) -> list[Any]:
        """Return the zygote's next message."""
        message = self.channel.recv(time.monotonic() + PATIENCE_S)
        self.order.append(message)
        return message

    def fork(self, n: int = 1, *, warmth: int = 0) -> list[Child]:
        """Return n new children; exits that are reported meanwhile are kept in `exits`."""
        self.send("fork", n, warmth)
        made: list[Child] = []
        while len(made) < n:
            match self.receive():
                case ["forked", int(pid), int()]:
                    made.append(Child(pid, self.channel.take_fd()))
                case ["exited", int(pid), int(status)]:
                    self._note(pid, status)
                case other:
                    raise AssertionError(f"expected a fork, got {other!r}")
        self.children += made
        return made

    def fork_one(self) -> Child:
        """Return one new child."""
        return self.fork()[0]

    def exited(self, *children: Child) -> list[int]:
        """Wait until the zygote reported the exits of these children; return their wait statuses. Acknowledges nothing."""
        while not all(child.pid in self.exits for child in children):
            match self.receive():
                case ["exited", int(pid), int(status)]:
                    self._note(pid, status)
                case other:
                    raise AssertionError(f"expected an exit, got {other!r}")
        return [self.exits[child.pid] for child in children]

    def end(self, child: Child) -> int:
        """Wait for a child's exit and acknowledge it; return its wait status."""
        (status,) = self.exited(child)
        self.send("reap", child.pid)
        return status

    def kill_zygote(self) -> None:
        """SIGKILL and reap the zygote."""
        os.kill(self.zygote.pid, signal.SIGKILL)
        os.waitpid(self.zygote.pid, 0)
        self.channel.close()

    def close(self) -> int | None:
        """End the zygote by ending its socket; return its wait status, None if it was reaped before."""
        status = None
        if hasattr(self, "channel"):
            self.channel.close()
            try:
                status = os.waitpid(self.zygote.pid, 0)[1]
            except ChildProcessError:
                pass
        for child in self.children:
            child.sock.close()
        if self.board.fd >= 0:
            self.board.close()
            os.close(self.lifeline_fd)
            os.close(self.lifeline_write_fd)
        return status

    def _note(self, pid: int, status: int) -> None:
        assert pid not in self.exits, f"the exit of {pid} was reported twice"
        self.exits[pid] = status
