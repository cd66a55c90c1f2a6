"""What is held and moved in the tests of `host.moving`: servers whose state shows what happened, and in which process."""

from __future__ import annotations

import os
import threading
from typing import Any

import dspex_runtime.host.behaviours as dx
from dspex_runtime.host.context import current_request
from helpers.hosted_process import pass_through


class Box:
    """The state: a plain object, which travels as a whole."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.waiting: dict[Any, Any] = {}  # from_ by name
        self.timers: dict[Any, Any] = {}


class Recorder(dx.GenServer):
    """Remembers everything; the first word says what else it does."""

    def init(self) -> Any:
        return Box()

    def handle_call(self, request: Any, from_: Any, box: Box) -> Any:
        match request:
            case ["wait", path]:
                pass_through(path)
                return dx.Reply("waited", box)
            case ["continue", path]:
                return dx.Reply("continues", box, continue_=path)
            case ["idle", seconds]:
                return dx.Reply("idle", box, timeout=seconds)
            case ["defer", name]:
                box.waiting[name] = from_
                return dx.NoReply(box)
            case ["aside", path]:  # only a thread has the from_
                threading.Thread(target=lambda: (pass_through(path), dx.reply(from_, "aside")), daemon=True).start()
                return dx.NoReply(box)
            case ["both", name, path]:  # a thread has it, and the state
                box.waiting[name] = from_
                threading.Thread(target=lambda: (pass_through(path), dx.reply(from_, "by the thread")), daemon=True).start()
                return dx.NoReply(box)
            case ["later", path, message]:
                threading.Thread(target=lambda: (pass_through(path), dx.send_after(0.0, message)), daemon=True).start()
                return dx.Reply(None, box)
            case "who waits":
                served = current_request.get()
                return dx.Reply(served.chain if served is not None else None, box)
            case ["answer", name]:
                return dx.Reply(dx.reply(box.waiting.pop(name), f"answer to {name}"), box)
            case ["timer", seconds, message]:
                box.timers[message] = dx.send_after(seconds, message)
                return dx.Reply(None, box)
            case ["timed answer", seconds]:
                dx.send_after(seconds, ("answer", from_))
                return dx.NoReply(box)
            case ["cancel", message]:
                return dx.Reply(dx.cancel_timer(box.timers[message]), box)
            case ["lock"]:
                box.waiting["lock"] = threading.Lock()
                return dx.Reply(None, box)
            case "pid":
                return dx.Reply(os.getpid(), box)
            case "seen":
                return dx.Reply(list(box.seen), box)
        box.seen.append(request)
        return dx.Reply([os.getpid(), request], box)

    def handle_cast(self, request: Any, box: Box) -> Any:
        box.seen.append(request)
        return dx.NoReply(box)

    def handle_info(self, message: Any, box: Box) -> Any:
        match message:
            case ("answer", from_):
                dx.reply(from_, "in time")
            case _:
                box.seen.append(message)
        return dx.NoReply(box)

    def handle_continue(self, path: Any, box: Box) -> Any:
        pass_through(path)
        box.seen.append("continued")
        return dx.NoReply(box)

    def terminate(self, reason: Any, box: Box) -> None:
        print("terminated", reason, *(dx.reply(from_, "the end") for from_ in box.waiting.values()))


class Idempotent(Recorder):
    """The same, whose calls may be sent again."""

    @dx.idempotent
    def handle_call(self, request: Any, from_: Any, box: Box) -> Any:
        return super().handle_call(request, from_, box)
