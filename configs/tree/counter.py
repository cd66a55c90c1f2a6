"""A counter: its state is a number, lost with the process as in OTP."""

from __future__ import annotations

from typing import Any

import dspex_runtime as dx


class Counter(dx.GenServer):
    """`dspex call counter next` counts up and answers; `value` only answers; the cast `reset` starts over."""

    def init(self, start: int = 0) -> int:
        """Begin at `start`."""
        self.start = start
        return start

    def handle_call(self, request: Any, from_: Any, state: int) -> Any:  # noqa: ARG002 - the behaviour's signature
        """Answer `next` and `value`; everything else is the caller's mistake, and no reason to end."""
        match request:
            case "next":
                return dx.Reply(state + 1, state + 1)
            case "value":
                return dx.Reply(state, state)
            case _:
                return dx.Reply({"error": f"unknown request {request!r}; known: next, value"}, state)

    def handle_cast(self, request: Any, state: int) -> Any:
        """Take `reset`; ignore the rest."""
        return dx.NoReply(self.start if request == "reset" else state)
