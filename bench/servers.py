"""The smallest server, in a file of its own: what it imports is what its process pays for."""

from __future__ import annotations

from typing import Any

import dspex_runtime as dx


class Echo(dx.GenServer):
    """Answers with what it is asked."""

    def init(self) -> None:
        """No state."""
        return

    def handle_call(self, request: Any, from_: Any, state: None) -> dx.Reply:
        """Give the request back."""
        return dx.Reply(request, state)
