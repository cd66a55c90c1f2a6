"""Servers with parameters, as users write them, one of them an array: whoever is in this file needs numpy."""

from __future__ import annotations

from typing import Any

import dspex_runtime as dx


class Stateful(dx.GenServer):
    """Answers with the size of what it keeps."""

    text = dx.Parameter(str, default="")
    array = dx.Parameter("array", default=[])

    def init(self) -> None:
        """No state but its parameters."""
        return

    def handle_call(self, request: Any, from_: Any, state: None) -> dx.Reply:
        """Say how large a parameter is."""
        return dx.Reply(len(getattr(self, request)), state)


class Levels(dx.GenServer):
    """A number of each durability, and an echo."""

    memory = dx.Parameter(float, default=0.0, min=0.0, max=2.0, durability="memory")
    journal = dx.Parameter(float, default=0.0, min=0.0, max=2.0)
    fsync = dx.Parameter(float, default=0.0, min=0.0, max=2.0, durability="fsync")

    def init(self) -> None:
        """No state but its parameters."""
        return

    def handle_call(self, request: Any, from_: Any, state: None) -> dx.Reply:
        """Give the request back."""
        return dx.Reply(request, state)
