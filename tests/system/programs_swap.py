"""The servers of test_swap.py, in versions."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from gates import until_exists

import dspex_runtime as dx


def at_gate(path: str) -> None:
    """Say who is here, and wait until it is opened."""
    if path:
        Path(path + ".begun").write_text(str(os.getpid()))
        until_exists(path)


class Book(dx.GenServer):
    """Writes down what it is told, each thing once."""

    __version__ = "1"

    def init(self, gate: str = "") -> dict[str, Any]:
        return {"seen": [], "mail": [], "gate": gate, "open": None}

    def handle_call(self, request: Any, from_: Any, state: dict[str, Any]) -> Any:
        match request:
            case ["note", key]:
                state["seen"].append(key)
                return dx.Reply(self.__version__, state)
            case ["wait", path]:
                at_gate(path)
                return dx.Reply(self.__version__, state)
            case ["later"]:
                return dx.NoReply({**state, "open": from_})
            case ["answer"]:
                dx.reply(state["open"], self.__version__)
                return dx.Reply(None, {**state, "open": None})
            case ["monitor", id]:
                return dx.Reply(dx.monitor(id), state)
            case ["link", id]:
                return dx.Reply(dx.link(id), state)
            case ["register", key]:
                return dx.Reply(dx.register(key), state)
            case ["send_after", seconds, message]:
                dx.send_after(seconds, message)
                return dx.Reply(None, state)
            case "pid":
                return dx.Reply(os.getpid(), state)
            case "version":
                return dx.Reply(self.__version__, state)
        return dx.Reply(state[request], state)

    def handle_cast(self, request: Any, state: dict[str, Any]) -> Any:
        state["seen"].append(request)
        return dx.NoReply(state)

    def handle_info(self, message: Any, state: dict[str, Any]) -> Any:
        return dx.NoReply({**state, "mail": [*state["mail"], message]})


class NewBook(Book):
    """The next version; its state has a name more."""

    __version__ = "2"

    def code_change(self, old_version: Any, state: dict[str, Any], extra: Any) -> dict[str, Any]:
        if isinstance(old_version, tuple):
            return {key: value for key, value in state.items() if key != "was"}
        return {**state, "was": old_version}


class GatedBook(NewBook):
    """Waits in each migration."""

    def code_change(self, old_version: Any, state: dict[str, Any], extra: Any) -> dict[str, Any]:
        if not isinstance(old_version, tuple):
            at_gate(state["gate"] + str(len(state["seen"])))
        return super().code_change(old_version, state, extra)


class FailingBook(NewBook):
    """Cannot be migrated to."""

    def code_change(self, old_version: Any, state: dict[str, Any], extra: Any) -> dict[str, Any]:
        raise ValueError("no way from here")


class KeepingBook(Book):
    """Runs init in the rehearsal: it keeps its state by itself, and asks the runtime for things."""

    __version__ = "3"

    def init(self, gate: str = "") -> dict[str, Any]:
        dx.register("the book")
        return {**super().init(gate), "ref": dx.monitor("friend"), "was": None}

    def get_state(self, state: dict[str, Any]) -> dict[str, Any]:
        return {"seen": state["seen"]}

    def set_state(self, saved: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        return {**state, "seen": saved["seen"]}


class Stubborn(Book):
    """Does not leave."""

    def terminate(self, reason: Any, state: dict[str, Any]) -> None:
        while True:
            time.sleep(1)
