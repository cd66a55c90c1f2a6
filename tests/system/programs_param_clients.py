"""Servers and a client for the tests of subscriptions, over real processes."""

from __future__ import annotations

import sys
from typing import Any

import dspex_runtime as dx


class Knobs(dx.GenServer):
    """Has parameters of each size; sets them from inside, too."""

    level = dx.Parameter(int, default=0, min=0)
    text = dx.Parameter(str, default="")
    odd = dx.Parameter(int, default=1, check=lambda value: value % 2 == 1)

    def init(self) -> None:
        return None

    def handle_call(self, request: Any, from_: Any, state: None) -> Any:
        match request:
            case "level":
                return dx.Reply(self.level, state)
            case ("set", name, value):
                setattr(self, name, value)
                return dx.Reply(None, state)
            case ("count", n):
                for _ in range(n):
                    self.level = self.level + 1
                return dx.Reply(self.level, state)
        raise ValueError(request)


class Listener(dx.GenServer):
    """Subscribes to what it is told, and keeps the changes that came."""

    def init(self, *patterns: str) -> list[Any]:
        for pattern in patterns:
            dx.subscribe(pattern)
        return []

    def handle_info(self, message: Any, state: list[Any]) -> Any:
        return dx.NoReply([*state, message])

    def handle_call(self, request: Any, from_: Any, state: list[Any]) -> Any:
        match request:
            case ("subscribe", pattern):
                return dx.Reply(dx.subscribe(pattern), state)
            case ("unsubscribe", pattern):
                return dx.Reply(dx.unsubscribe(pattern, flush=True), state)
        return dx.Reply(list(state), state)


def follow(socket: str, pattern: str) -> None:
    """Print "version skipped" for each change, in a process of its own that a test may stop."""
    with dx.connect(socket) as rt, rt.watch(pattern) as changes:
        print("ready", flush=True)
        for change in changes:
            print(change.version, change.skipped, flush=True)


if __name__ == "__main__":
    follow(*sys.argv[1:])
