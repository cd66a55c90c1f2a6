"""The server of a spare's rehearsal. Loaded from its file, as a user's would be."""

from __future__ import annotations

from typing import Any

from dspex_runtime.host.behaviours import GenServer, Reply
from dspex_runtime.params.parameter import Parameter


class Understudy(GenServer):
    """Answers with what it is asked."""

    word = Parameter(str, default="")

    def init(self) -> int:
        """Start with nothing."""
        return 0

    def handle_call(self, request: Any, from_: Any, state: int) -> Reply:  # noqa: ARG002 (the signature of the callback)
        """Give the request back."""
        return Reply(request, state + 1)
