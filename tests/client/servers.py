"""Servers that the tests of whole runtimes start by name."""

from __future__ import annotations

import os
from typing import Any

import dspex_runtime as dx


class Counter(dx.GenServer):
    """Counts what it is asked; dies, hangs and raises when told to."""

    def init(self, start: int = 0) -> int:
        print("counting from", start, flush=True)
        return start

    def handle_call(self, request: Any, from_: Any, state: int) -> Any:
        match request:
            case "pid":
                return dx.Reply(os.getpid(), state)
            case "die":
                os._exit(3)
            case "hang":
                return dx.NoReply(state)
            case _:
                return dx.Reply(state, state + 1)

    def handle_cast(self, request: int, state: int) -> Any:
        return dx.NoReply(state + request)

    def handle_info(self, message: int, state: int) -> Any:
        return dx.NoReply(message)


class Broken(dx.GenServer):
    """Does not start."""

    def init(self) -> None:
        raise ValueError("cannot begin")


class Slow(dx.GenServer):
    """Starts when it is too late."""

    def init(self) -> None:
        import threading

        print("begun", flush=True)
        threading.Event().wait(60)


class Ignoring(dx.GenServer):
    """Does not want to start, which is no failure."""

    def init(self) -> Any:
        return dx.Ignore()
