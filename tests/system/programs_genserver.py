"""The servers of test_genserver.py."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from gates import until_exists

import dspex_runtime as dx


class Desk(dx.GenServer):
    """Answers now, later or never; hands callers on to others; ends in many ways."""

    def init(self, secret: str = "") -> dict[str, Any]:
        return {"secret": secret, "open": [], "seen": []}

    def handle_call(self, request: Any, from_: Any, state: dict[str, Any]) -> Any:
        match request:
            case "later":
                return dx.NoReply({**state, "open": [*state["open"], from_]})
            case ["to", id]:
                dx.connect().server(id).cast(["answer", from_])
                return dx.NoReply(state)
            case "from_":
                return dx.Reply(from_, state)  # the caller gets its own call, to answer it again
            case "open":
                return dx.Reply(state["open"], state)
            case ["call itself", id]:
                return dx.Reply(_code(lambda: dx.connect().server(id).call("pid")), state)
            case ["stop itself", id]:
                return dx.Reply(_code(lambda: dx.connect().server(id).stop()), state)
            case ["get_state of itself", id]:
                return dx.Reply(_code(lambda: dx.connect().server(id).get_state()), state)
            case ["wait", path]:
                _wait(path)
                return dx.Reply("done", state)
            case ["stop", reason]:
                return dx.Stop(reason, state)
            case ["reply and stop", path]:
                return dx.Stop("normal", {**state, "goodbye": path}, reply="the reply")
            case "crash":
                raise ValueError("asked to crash")
            case "pid":
                return dx.Reply(os.getpid(), state)
        return dx.Reply(request, state)

    def handle_cast(self, request: Any, state: dict[str, Any]) -> Any:
        match request:
            case ["answer", from_]:
                dx.reply(from_, f"from {dx.self_id()}")
                return dx.NoReply({**state, "open": [*state["open"], from_]})
            case ["wait", path]:
                _wait(path)
        return dx.NoReply({**state, "seen": [*state["seen"], request]})

    def terminate(self, reason: Any, state: dict[str, Any]) -> None:
        if "goodbye" in state:
            open(state["goodbye"], "w").close()
        print("terminated", reason, "after", state["seen"])

    def format_status(self, status: dict[str, Any]) -> dict[str, Any]:
        return {**status, "state": {**status["state"], "secret": "***", "open": len(status["state"]["open"])}}


class Leaky(Desk):
    """Fails to hide its secret."""

    def format_status(self, status: dict[str, Any]) -> dict[str, Any]:
        raise KeyError(status["state"]["secret"])


class FailsQuietly(dx.GenServer):
    """Cannot start, and thinks nothing of it."""

    def init(self) -> Any:
        return dx.Fail("no licence")


class ToItself(dx.GenServer):
    """Sends to itself, in init and in callbacks; the state is what came."""

    def init(self) -> Any:
        me = dx.connect().server(dx.self_id())
        dx.send_after(0.05, "later")
        never = dx.send_after(60.0, "never")
        me.cast("first")
        self.request = me.send_request("request")
        me.info_message("second")
        asyncio.run(self._cast("third"))
        assert dx.cancel_timer(never) is not None
        return dx.NoReply([], continue_="continue")

    async def _cast(self, message: str) -> None:
        async with await dx.aio.connect() as rt:
            await (await rt.server(dx.self_id())).cast(message)

    def handle_call(self, request: Any, from_: Any, state: list[Any]) -> Any:
        if request == "request":
            return dx.Reply(None, [*state, "request"])
        me = dx.connect().server(dx.self_id())
        for number in range(3):
            me.cast(number)
            me.info_message(-number)
        return dx.Reply("sent", [])

    def handle_cast(self, message: Any, state: list[Any]) -> Any:
        return dx.NoReply([*state, message])

    handle_info = handle_continue = handle_cast


class FailsOnce(dx.GenServer):
    """Starts when a file is there; holds another one open, as a resource."""

    def init(self, path: str) -> Any:
        if not os.path.exists(path):
            raise LookupError(f"no {path}: {os.getpid()}")

    def handle_call(self, request: Any, from_: Any, state: None) -> Any:
        return dx.Reply("up", state)


def _wait(path: str) -> None:
    open(path + ".begun", "w").close()
    until_exists(path)


def _code(function: Any) -> str:
    """Return the code of the error that comes at once."""
    start = time.monotonic()
    try:
        function()
    except dx.CallError as exc:
        return exc.code if time.monotonic() - start < 4 else "late"
    return "no error"


class Notes(dx.GenServer):
    """Keeps what it is sent."""

    def init(self) -> list[Any]:
        return []

    def handle_call(self, request: Any, from_: Any, state: list[Any]) -> Any:
        return dx.Reply(None, [*state, request])

    def handle_cast(self, request: Any, state: list[Any]) -> Any:
        return dx.NoReply([*state, request])

    handle_info = handle_cast
