"""A server that keeps a text, in a file of its own: nothing in it imports numpy."""

from __future__ import annotations

from typing import Any

import dspex_runtime as dx


class Text(dx.GenServer):
    """Answers with the size of what it keeps."""

    text = dx.Parameter(str, default="")

    def init(self) -> None:
        """No state but its parameter."""
        return

    def handle_call(self, request: Any, from_: Any, state: None) -> dx.Reply:
        """Say how large a parameter is."""
        return dx.Reply(len(getattr(self, request)), state)
