"""A runtime in this process: a real Node with real clients on real sockets, fake processes and a clock that stands still."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any, cast

import pytest

from dspex_runtime.config import normalize
from dspex_runtime.node import node as node_module
from dspex_runtime.node.node import Node
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.faults import from_fault
from dspex_runtime.wire.framing import FrameReader, frame
from dspex_runtime.wire.messages import CONTROL, FAULT, HELLO, PROTOCOL, REPLY, Message
from helpers.fake_keeper import FakeKeeper
from helpers.fake_tree import FakeLauncher, FakeProcess, ManualLoop, use_fake_processes


def server(id: str, **fields: Any) -> dict[str, Any]:
    """Return a child as it is written in YAML, with OTP's manners (no back-off)."""
    return {"id": id, "server": "pkg.mod:Name", "backoff": "none", **fields}


class Client:
    """One connection to the node, played by the test."""

    def __init__(self, runtime: FakeNode, sock: socket.socket) -> None:
        self.sock = sock
        self.ended = False  #: the node closed the connection
        self.descriptors = 0  #: received so far
        self._runtime = runtime
        self._reader = FrameReader()
        self._requests = 0
        sock.setblocking(False)

    def greet(self, role: str = "client") -> Client:
        self.send([HELLO, 0, {"protocol": list(PROTOCOL), "role": role, "version": "0", "pid": os.getpid()}])
        ((kind, _, self.server),) = self.heard()
        assert kind == HELLO
        return self

    def send(self, *messages: Message) -> None:
        """Send messages, and let the node handle them."""
        self.sock.send(b"".join(frame(Codec().pack(message)) for message in messages))
        self._runtime.turn()

    def heard(self) -> list[Message]:
        """Return what came since the last look."""
        while not self.ended:
            try:
                data, fds, _, _ = socket.recv_fds(self.sock, 2**20, 16)
            except BlockingIOError:
                break
            except ConnectionResetError:
                data, fds = b"", []
            for fd in fds:
                os.close(fd)
            self.descriptors += len(fds)
            self.ended = not data
            self._reader.feed(data)
        messages: list[Message] = []
        while (body := self._reader.next()) is not None:
            messages.append(Codec().unpack(body))
        return messages

    def begin(self, op: str, /, **args: Any) -> int:
        """Send a control request; return its number."""
        self._requests += 1
        self.send([CONTROL, self._requests, op, args])
        return self._requests

    def ask(self, op: str, /, **args: Any) -> Any:
        """Send a control request that is answered at once; return its value or raise its fault."""
        number = self.begin(op, **args)
        (answer,) = [message for message in self.heard() if message[0] in (REPLY, FAULT) and message[1] == number]
        if answer[0] == FAULT:
            raise from_fault(answer[2])
        return answer[2]

    def close(self) -> None:
        """Leave, and let the node notice."""
        self.sock.close()
        self._runtime.turn()


class FakeNode:
    """See the module docstring; `owner` is the connection that boots it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        use_fake_processes(monkeypatch)
        monkeypatch.setenv("DSPEX_RUNTIME_DIR", str(folder / "run"))
        monkeypatch.setattr(node_module, "EventLoop", ManualLoop)
        monkeypatch.setattr(node_module, "Launcher", self._launch)
        self.keeper = FakeKeeper()
        monkeypatch.setattr(node_module, "KeeperProcess", self.keeper)
        self.folder = folder
        self.launcher = FakeLauncher()
        self.options: dict[str, Any] = {}  #: what the launcher was made with
        ours, theirs = socket.socketpair()
        self.node = Node(ours)
        self.loop = cast(ManualLoop, self.node.loop)
        self.clients = [Client(self, theirs)]

    def _launch(self, *_: Any, **options: Any) -> FakeLauncher:
        self.options = options
        self.launcher.facts = options["facts"]
        return self.launcher

    @property
    def owner(self) -> Client:
        return self.clients[0]

    def config(self, *children: dict[str, Any], **tree: Any) -> dict[str, Any]:
        config = {
            "version": 1,
            "name": "t",
            "runtime": {"state_dir": str(self.folder / "state"), "spares": 0},
            "tree": {"strategy": "one_for_one", **tree, "children": list(children)},
        }
        return normalize(config, base_dir=self.folder)

    def boot(self, *children: dict[str, Any], **tree: Any) -> FakeNode:
        """Boot a tree and let it come up."""
        self.owner.greet("owner")
        self.send_boot(config=self.config(*children, **tree))
        self.turn()  # where something is kept, the tree waits for the keeper
        assert self.node.state == "running", self.owner.heard()
        self.owner.heard()
        return self

    def send_boot(self, **args: Any) -> int:
        """Send the boot request. The runtime makes its log its output; the test's is put back."""
        kept = [os.dup(fd) for fd in (1, 2)]
        try:
            return self.owner.begin("boot", **args)
        finally:
            for fd, copy in zip((1, 2), kept, strict=True):
                os.dup2(copy, fd)
                os.close(copy)

    def connect(self) -> Client:
        """Return a new client that was greeted."""
        return self.connect_silent().greet()

    def connect_silent(self) -> Client:
        """Return a new client that has said nothing yet."""
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(self.node.socket_path)
        client = Client(self, sock)
        self.clients.append(client)
        self.turn()
        return client

    def process(self, id: str) -> FakeProcess:
        return self.launcher.processes[id]

    def shown(self) -> dict[str, str]:
        return {record.id: record.state.value for record in self.node.registry}

    def crash(self, id: str) -> None:
        self.process(id).end()
        self.turn()

    def turn(self) -> None:
        """Let happen what is under way."""
        self.loop.turn()
        self.keeper.turn()
        self.launcher.settle()
        self.loop.turn()
        self.keeper.turn()
        self.loop.turn()

    def advance(self, seconds: float) -> None:
        self.loop.advance(seconds)
        self.turn()

    def close(self) -> None:
        self.node._release()
        self.keeper.close()
        for client in self.clients:
            client.sock.close()
        if self.node.board is not None:
            self.node.board.close()
        self.loop.close()
