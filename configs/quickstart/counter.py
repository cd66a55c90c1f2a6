"""Counts questions: the smallest useful GenServer. No dspy in it, so it starts in a millisecond."""

from __future__ import annotations

from typing import Any

import dspex_runtime as dx


class Counter(dx.GenServer):
    """`dspex call counter` returns the count; the cast "asked" adds one; the request "reset" starts anew."""

    __version__ = "1"

    def init(self, start: int = 0) -> int:
        """Begin at `start`: state lives in the process, so a killed counter begins there again."""
        return start

    def handle_call(self, request: Any, from_: Any, state: int) -> Any:  # noqa: ARG002 - the behaviour's signature
        """Answer every request with the count."""
        return dx.Reply(state, 0 if request == "reset" else state)

    def handle_cast(self, request: Any, state: int) -> Any:
        """Count one question; other casts change nothing."""
        return dx.NoReply(state + 1 if request == "asked" else state)
