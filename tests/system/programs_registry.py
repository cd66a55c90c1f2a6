"""Servers of the registry's system tests: they do what they are told, and remember what they were sent."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from gates import until_exists

import dspex_runtime as dx


class Registrar(dx.GenServer):
    """Calls functions of `dx` by name; the state is what handle_info got."""

    def init(self, key: Any = None, slow: str | None = None, fails: bool = False) -> list[Any]:
        if key is not None:
            dx.register(key, "from init")
        if slow is not None:
            Path(slow + ".begun").touch()
            until_exists(slow)
        if fails:
            raise RuntimeError("init failed")
        return []

    def handle_call(self, request: Any, from_: Any, state: list[Any]) -> Any:
        if request == "messages":
            return dx.Reply(list(state), state)
        try:
            return dx.Reply(self.do(*request), state)
        except dx.RegistryError as exc:
            return dx.Reply(exc, state)  # raised, it would end the process, as in OTP

    def do(self, name: str, *args: Any) -> Any:
        match name, *args:
            case "hold", key:
                self.lock = dx.lock(key)
                self.lock.__enter__()
                return None
            case "whereis", key:
                found = dx.whereis(key)
                return None if found is None else found.id
            case "lookup", key, *match:
                return [(ref.id, value) for ref, value in dx.lookup(key, *match)]
            case "question", key, text:
                return dx.whereis(key)(question=text).answer
            case "ask", key, what:
                return dx.whereis(key).call(what)
            case "add", key, n:
                return dx.update_value(key, lambda old: old + n)
            case _:
                return getattr(dx, name)(*args)

    def handle_info(self, message: Any, state: list[Any]) -> Any:
        return dx.NoReply([*state, message])


class Careful(dx.GenServer):
    """Adds one to a number in a file, slowly, in a thread or a task of its own; a lock keeps the sum right."""

    def init(self, path: str) -> str:
        return path

    def handle_call(self, request: Any, from_: Any, path: str) -> Any:
        def work() -> None:
            for _ in range(request):
                with dx.lock("the file"):
                    add_one(path)

        def several() -> None:
            threads = [threading.Thread(target=work) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            dx.reply(from_, "done")

        threading.Thread(target=several).start()
        return dx.NoReply(path)


def add_one(path: str) -> None:
    number = int(Path(path).read_text())
    time.sleep(0.001)
    Path(path).write_text(str(number + 1))
