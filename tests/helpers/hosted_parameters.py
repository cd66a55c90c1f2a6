"""Servers with parameters for tests of module processes, and a keeper that gives one incarnation what the last one had."""

from __future__ import annotations

import os
import signal
from typing import Any

import dspex_runtime.host.behaviours as dx
from dspex_runtime.params.parameter import Parameter
from dspex_runtime.params.view import View
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.codec import Codec
from helpers.hosted_process import HostedProcess, pass_through

CODEC = Codec(pickle=True)


class Thermostat(dx.GenServer):
    """A server with parameters of all ways to be written."""

    target = Parameter(float, 20.0, min=5.0, max=30.0)
    name = Parameter(str, "hall")
    odd = Parameter(int, 1, check=lambda value: value % 2 == 1)
    gated = Parameter(str, "", check=lambda path: not path or pass_through(path) is None)
    weights = Parameter("array", [0.0, 0.0], requires_grad=True, learning_rate=0.5)
    safe = Parameter(int, 0, durability="fsync")
    quick = Parameter(int, 0, durability="memory")
    big = Parameter("any", None)

    def init(self, state: Any = None) -> Any:
        return state

    def handle_call(self, request: Any, from_: Any, state: Any) -> Any:
        match request:
            case ["wait", path]:
                pass_through(path)
            case ["set", name, value]:
                setattr(self, name, value)
            case ["state", value]:
                state = value
            case "fork":
                return dx.Reply(self.forked(), state)
        return dx.Reply({"target": self.target, "name": self.name, "odd": self.odd, "quick": self.quick, "safe": self.safe}, state)

    def forked(self) -> Any:
        """Set a parameter in a child of ours; return what that sees of it."""
        ours, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            self.target = 29.0
            os.write(theirs, str(self.target).encode())
            os._exit(0)
        os.waitpid(pid, 0)
        os.close(theirs)
        try:
            return os.read(ours, 100).decode()
        finally:
            os.close(ours)

    def get_state(self, state: Any) -> Any:
        return {"state": state}

    def set_state(self, saved: Any, state: Any) -> Any:
        return ["given back", saved["state"], state]


class Collector(dx.GenServer):
    """A server that changes its parameters in place."""

    items = Parameter(list, [])
    seen = Parameter(dict, {})

    def init(self) -> Any:
        self.items.append("init")
        return dx.NoReply(None, continue_="continue")

    def handle_continue(self, word: Any, state: Any) -> Any:
        self.items.append(word)
        return dx.NoReply(state)

    def handle_call(self, request: Any, from_: Any, state: Any) -> Any:
        match request:
            case ["replace", *items]:
                self.items = []
                self.items.extend(items)
            case ["nested", name]:
                self.seen.setdefault(name, []).append(request)
            case "stop":
                self.items.append("stop")
                return dx.Stop("normal", state, reply="stopped")
            case "crash":
                self.items.append("crash")
                raise ValueError("crash")
            case _:
                self.items.append(request)
        return dx.Reply(len(self.items), state)


class Plain(dx.GenServer):
    """A server without parameters."""

    def init(self) -> Any:
        return "plain"

    def handle_call(self, request: Any, from_: Any, state: Any) -> Any:
        return dx.Reply(state, state)


class Keeper:
    """What a keeper does for the module of a test: holds its descriptors, and gives them to the next incarnation."""

    def __init__(self, process: HostedProcess) -> None:
        process.ask("ping")
        self.fds = {self._key(event): os.dup(fd) for event, fd in process.offered}

    @staticmethod
    def _key(event: dict[str, Any]) -> tuple[Any, ...]:
        return (event["type"], *((event["name"], event["version"]) if event["type"] == "blob" else ()))

    def view(self) -> View:
        """Return a reader of the table."""
        return View(os.dup(self.fds["table",]), CODEC, lambda name, version: os.dup(self.fds["blob", name, version]))

    def give(self, process: HostedProcess, **more: Any) -> None:
        """Tell an assigned process what is kept for it."""
        blobs = [key for key in self.fds if key[0] == "blob"]
        info = {"table": ("table",) in self.fds, "blobs": [list(key[1:]) for key in blobs], "volatile": ("volatile",) in self.fds}
        keys = [key for key in ("table",) if (key,) in self.fds]
        fds = [self.fds[key,] for key in keys] + [self.fds[key] for key in blobs]
        fds += [self.fds["volatile",]] if info["volatile"] else []
        user = more.pop("user", None)
        if user is not None:
            fds.append(memory(user))
            info["user"] = True
        process.control.send([m.CONTROL, 0, "kept", {**info, **more}], fds=fds)
        if user is not None:
            os.close(fds[-1])

    def close(self) -> None:
        for fd in self.fds.values():
            os.close(fd)
        self.fds.clear()


def memory(data: bytes) -> int:
    """Return a descriptor with data to hand over."""
    fd = os.memfd_create("test")
    os.write(fd, data)
    return fd


def killed(process: HostedProcess) -> None:
    """End a module process."""
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def restarted(fork: Any, keeper: Keeper, before: HostedProcess, found: Any = Thermostat, **options: Any) -> HostedProcess:
    """Return the next incarnation, with what is kept of the one before."""
    given = {key: options.pop(key) for key in ("user", "facts", "configured", "stored") if key in options}
    process: HostedProcess = fork()
    process.assign(found, kept=True, journal=str(before.folder / "journal"), **options)
    keeper.give(process, **given)
    assert process.recv()[0] == m.READY
    return process
