"""The parent's end of a real keeper process, for tests: asks, tells, and starts another one when it was killed."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from dspex_runtime.osproc import lifeline
from dspex_runtime.osproc.channel import FdChannel
from dspex_runtime.osproc.keeper_client import KeeperProcess
from dspex_runtime.state.protocol import NO_ANSWER
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.faults import from_fault
from helpers.waiting import PATIENCE_S


class KeeperParent:
    """See the module docstring."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.events: list[dict[str, Any]] = []
        self.lifeline = lifeline.create()
        self._log = os.open(state_dir / "keeper.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._number = 0
        self.process: KeeperProcess | None = None

    def start(self, **args: Any) -> Any:
        self.process = KeeperProcess.spawn(self.lifeline[0], self._log)
        self.channel = FdChannel(self.process.sock, Codec())
        return self.ask("open", **{"state_dir": str(self.state_dir), "fresh": False, "shared": {}, **args})

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def tell(self, op: str, fds: tuple[int, ...] = (), /, **args: Any) -> None:
        """Tell something; descriptors are given away."""
        self._send([NO_ANSWER, op, args], fds)

    def begin(self, op: str, fds: tuple[int, ...] = (), /, **args: Any) -> int:
        self._number += 1
        self._send([self._number, op, args], fds)
        return self._number

    def ask(self, op: str, fds: tuple[int, ...] = (), /, **args: Any) -> Any:
        """Ask something and return the value; descriptors that come are closed."""
        value, brought = self.ask_fds(op, fds, **args)
        for fd in brought:
            os.close(fd)
        return value

    def ask_fds(self, op: str, fds: tuple[int, ...] = (), /, **args: Any) -> tuple[Any, list[int]]:
        return self.answer(self.begin(op, fds, **args))

    def answer(self, number: int) -> tuple[Any, list[int]]:
        """Return the answer to a question; what comes before it must be events, or of that question."""
        brought: list[int] = []
        while True:
            message = self.channel.recv(time.monotonic() + PATIENCE_S)
            match message:
                case [0, "event", facts]:
                    self.events.append(facts)
                case [int(n), "fds", int(count)] if n == number:
                    brought += [self.channel.take_fd() for _ in range(count)]
                case [int(n), "ok", value, int(count)] if n == number:
                    return value, brought + [self.channel.take_fd() for _ in range(count)]
                case [int(n), "error", fault] if n == number:
                    raise from_fault(fault)
                case _:
                    raise AssertionError(message)

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            os.kill(self.process.pid, signal.SIGKILL)
            os.waitpid(self.process.pid, 0)
            self.channel.close()
            self.process = None

    def close(self) -> None:
        self.kill()
        os.close(self._log)
        for fd in self.lifeline:
            try:
                os.close(fd)
            except OSError:
                pass  # the test has cut it

    def log(self) -> str:
        return (self.state_dir / "keeper.log").read_text()

    def _send(self, message: list[Any], fds: tuple[int, ...]) -> None:
        try:
            self.channel.send(message, fds=fds)
        finally:
            for fd in fds:
                os.close(fd)
