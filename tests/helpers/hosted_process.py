"""A real module process, forked by the test, which plays the runtime: it holds the control socket and brokers clients."""

from __future__ import annotations

import gc
import logging
import os
import pickle
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from dspex_runtime.core.child_spec import LaunchSpec
from dspex_runtime.core.launch_map import to_map
from dspex_runtime.host import bootstrap
from dspex_runtime.osproc.board import Board
from dspex_runtime.osproc.channel import Channel, FdChannel, pair
from dspex_runtime.osproc.descriptors import close_all_but, same_file
from dspex_runtime.state.protocol import OFFERS
from dspex_runtime.types import Kind
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.faults import from_fault

PATIENCE_S = 20.0
SLOT = 7


def patience() -> float:
    """Return a deadline beyond any passing run."""
    return time.monotonic() + PATIENCE_S


class Client:
    """One end of a direct pipe, with the other end in the module."""

    def __init__(self, channel: Channel, mux: bool) -> None:
        self.channel = channel
        self.mux = mux
        self._number = 0

    def send(self, message: list[Any]) -> None:
        self.channel.send(message)

    def begin(
        self,
        method: str,
        *args: Any,
        deadline: float | None = None,
        key: str | None = None,
        credit: int = 0,
        chain: list[Any] | None = None,
        **kwargs: Any,
    ) -> int:
        """Send a CALL and return its number."""
        self._number += 1
        self.send([m.CALL, self._number, method, list(args), kwargs, deadline, key, credit, chain])
        return self._number

    def recv(self) -> list[Any]:
        return self.channel.recv(patience())

    def answer(self) -> list[Any]:
        """Return the next message that is not BEGUN."""
        while (message := self.recv())[0] == m.BEGUN:
            pass
        return message

    def result(self) -> Any:
        """Return the value of the next reply, or raise its fault."""
        message = self.answer()
        if message[0] == m.FAULT:
            raise from_fault(message[2])
        assert message[0] == m.REPLY, message
        return message[2]

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        self.begin(method, *args, **kwargs)
        return self.result()

    def cast(self, method: str, *args: Any) -> None:
        self.send([m.CAST, 0, method, list(args), {}])

    def close(self) -> None:
        self.channel.close()


class HostedProcess:
    """See the module docstring. `board` outlives the process, as the runtime's does."""

    def __init__(self, folder: Path, *, warmth: int = 0) -> None:
        self.folder = folder
        self.log = folder / "module.log"
        self.codec = Codec(pickle=True)
        self.board = Board.create()
        self.clients: list[Client] = []
        self.status: int | None = None
        ours, theirs = socket.socketpair()
        gc.collect()  # as the zygote does: what is collected in the child would close descriptors that are others' by then
        self.pid = os.fork()
        if self.pid == 0:
            self._child(theirs.detach(), warmth)
        theirs.close()
        self.control = FdChannel(ours, self.codec)
        self._number = 0
        self._early: list[list[Any]] = []
        #: What the module wants kept: events, each with its descriptor, which is ours.
        self.offered: list[tuple[dict[str, Any], int]] = []

    def _child(self, control_fd: int, warmth: int) -> None:
        status = 99
        try:
            gc.freeze()
            os.setpgid(0, 0)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            logging.getLogger().handlers.clear()  # pytest's; a zygote has none
            close_all_but((control_fd, *same_file(self.board.fd)), limit=4096)
            status = bootstrap.main(control_fd, self.board, warmth, cast(Any, None))  # forks nothing
        finally:
            os._exit(status)

    def assign(self, found: Any = None, *args: Any, **options: Any) -> None:
        """Tell the process what to become: a class or instance (pickled, as a client's `rt.start` sends it) or a target."""
        kept: dict[str, Any] = {"kept": False, "journal": str(self.folder / "journal"), "base": {}}
        facts = {**kept, "log": str(self.log), "log_max_bytes": 0, "log_keep": 2, "cwd": str(self.folder)} | {
            key: options.pop(key)
            for key in ("log", "log_max_bytes", "log_keep", "rehearsal", "dependencies", *kept)
            if key in options
        }
        if found is not None and not isinstance(found, str):
            import cloudpickle

            options["pickled"] = cloudpickle.dumps(found)
        elif isinstance(found, str):
            options["target"] = found
        launch = LaunchSpec(kind=options.pop("kind", Kind.MODULE), args=args, **options)
        spec = {"id": "sup/it", "incarnation": 3, "runtime": "test", "socket": "/nowhere", "slot": SLOT, **facts}
        self.control.send([m.CONTROL, 0, "assign", {**spec, "launch": to_map(launch)}])

    def start(self, found: Any, *args: Any, **options: Any) -> dict[str, Any]:
        """Assign and wait for READY; a fault is raised."""
        self.assign(found, *args, **options)
        message = self.recv()
        if message[0] == m.FAULT:
            raise from_fault(message[2])
        assert message[0] == m.READY, message
        info: dict[str, Any] = message[2]
        return info

    def recv(self) -> list[Any]:
        """Return the next message of the module on the control channel."""
        return self._early.pop(0) if self._early else self._next()

    def _next(self) -> list[Any]:
        while True:
            message = self.control.recv(patience())
            if message[0] != m.EVENT or message[2].get("type") not in OFFERS:
                return message
            self.offered.append((message[2], self.control.take_fd()))

    def ask(self, op: str, *fds: int, **args: Any) -> Any:
        """Send a control operation and return its answer; other messages are kept for `recv`."""
        return self.answer(self.begin(op, *fds, **args))

    def begin(self, op: str, *fds: int, **args: Any) -> int:
        """Send a control operation; its number is what `answer` takes."""
        self._number += 1
        self.control.send([m.CONTROL, self._number, op, args], fds=fds)
        return self._number

    def answer(self, number: int) -> Any:
        """Return the answer of an operation; other messages are kept for `recv`, and other answers for their own `answer`."""
        message = next((one for one in self._early if _answers(one, number)), None)
        if message is not None:
            self._early.remove(message)
        while message is None:
            came = self._next()
            if _answers(came, number):
                message = came
            else:
                self._early.append(came)
        if message[0] == m.FAULT:
            raise from_fault(message[2])
        return message[2]

    def tell(self, op: str, **args: Any) -> None:
        """Send a control operation that has no answer."""
        self.control.send([m.CONTROL, 0, op, args])

    def client(self, *, mux: bool = False, hello: bool = True, name: str = "test") -> Client:
        """Broker a direct pipe; `name` is what the client calls itself."""
        ours, theirs = pair()
        self.control.send([m.CHANNEL, 0, {"client": "test", "mux": mux}], fds=[theirs.fileno()])
        theirs.close()
        client = Client(Channel(ours, self.codec), mux)
        self.clients.append(client)
        if hello:
            client.send([m.HELLO, 0, {"protocol": list(m.PROTOCOL), "mux": mux, "client": name}])
        return client

    def bye(self) -> Any:
        """Return the exit reason that the module gives."""
        while (message := self.recv())[0] != m.BYE:
            pass
        return message[2]

    def wait(self) -> int:
        """Wait for the process to end; return its exit code (negative: a signal)."""
        if self.status is None:
            pidfd = os.pidfd_open(self.pid)
            try:
                import select

                poller = select.poll()
                poller.register(pidfd, select.POLLIN)
                assert poller.poll(PATIENCE_S * 1000), f"still running; log:\n{self.text()}"
            finally:
                os.close(pidfd)
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.status

    def slot(self) -> tuple[int, ...]:
        """Return the stamps."""
        return self.board.slot(SLOT).snapshot()

    def text(self) -> str:
        """Return the log."""
        return self.log.read_text() if self.log.exists() else ""

    def close(self) -> None:
        """End whatever is left."""
        for client in self.clients:
            client.close()
        for _, fd in self.offered:
            os.close(fd)
        self.control.close()
        if self.status is None:
            os.killpg(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self.board.close()


def _answers(message: list[Any], number: int) -> bool:
    return message[0] in (m.REPLY, m.FAULT) and message[1] == number


def hosted_processes(folder: Path) -> Iterator[Any]:
    """Fixture body: a factory of processes, all ended afterwards."""
    made: list[HostedProcess] = []

    def make(**options: Any) -> HostedProcess:
        sub = folder / f"process{len(made)}"
        sub.mkdir()
        made.append(HostedProcess(sub, **options))
        return made[-1]

    yield make
    for process in made:
        process.close()


def pickled_args(*args: Any, **kwargs: Any) -> bytes:
    """Return constructor arguments as a client sends those that are not plain data."""
    return pickle.dumps((args, kwargs))


class Gate:
    """A door in user code: `pass_through(path)` waits in the module until the test opens it."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        os.mkfifo(self.path)

    def open(self) -> None:
        """Let everybody who waits go on; returns when somebody did."""
        os.close(os.open(self.path, os.O_WRONLY))


def pass_through(path: str) -> None:
    """Wait at a gate, as a call to an LM would: without the GIL."""
    os.close(os.open(path, os.O_RDONLY))
