"""The runtime's side of a subscription to parameters, played by the test, and the table that its large values are read from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from dspex_runtime.params import values
from dspex_runtime.params.table import Table
from dspex_runtime.wire.messages import BYE, EVENT
from helpers.descriptor import Descriptor
from helpers.param_tables import CODEC, Tables

if TYPE_CHECKING:
    from client.conftest import FakeRuntime


class Told:
    """The runtime's side of one subscription, which begins at once."""

    def __init__(self, runtime: FakeRuntime) -> None:
        self.runtime = runtime
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.number = 0
        runtime.on_subscribe = self._subscribe

    def _subscribe(self, number: int, topic: str, args: dict[str, Any]) -> list[list[Any]]:
        self.number = number
        self.asked.append((topic, args))
        return [[EVENT, number, {"type": "subscribed"}]]

    def push(self, payload: dict[str, Any]) -> None:
        self.runtime.push(EVENT, self.number, payload)

    def change(self, version: int, value: Any = ..., *, name: str = "k", id: str = "qa", skipped: int = 0) -> None:
        """Tell of a version; its value is ten times the version unless said otherwise, None is to be read from the table."""
        data = None if value is None else bytes(values.encode(CODEC, version * 10 if value is ... else value))
        facts = {"id": id, "name": name, "version": version, "when": float(version), "who": "me", "value": data}
        self.push({"type": "changed", **facts, "skipped": skipped})

    def end(self) -> None:
        self.runtime.push(BYE, self.number, "stopped")


def attach(runtime: FakeRuntime, made: Tables) -> Table:
    """Give the module a table."""
    table = made.new()
    runtime.handlers["param_table"] = lambda args: Descriptor(os.dup(table.fd), {})
    return table
