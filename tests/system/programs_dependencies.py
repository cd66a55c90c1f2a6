"""Servers that depend on one another; each start is noted in a file, and may wait for another one to be there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gates import until_exists

import dspex_runtime as dx


def _begin(journal: str | None, gate: str | None) -> None:
    if gate is not None:
        until_exists(gate)
    if journal is not None:
        with open(journal, "a") as file:
            file.write(f"{dx.self_id()}\n")


class Server(dx.GenServer):
    """Says who it is; notes its start once `gate` is there."""

    def init(self, journal: str | None = None, gate: str | None = None) -> list[Any]:
        _begin(journal, gate)
        return []

    def handle_call(self, request: Any, from_: Any, state: list[Any]) -> Any:
        if request == "seen":
            return dx.Reply(list(state), state)
        if isinstance(request, list) and request[:1] == ["wait"]:
            Path(request[1] + ".begun").touch()
            until_exists(request[1])
        return dx.Reply([dx.self_id(), request], state)

    def handle_cast(self, request: Any, state: list[Any]) -> Any:
        return dx.NoReply([*state, request])

    def handle_info(self, message: Any, state: list[Any]) -> Any:
        return dx.NoReply([*state, message])
