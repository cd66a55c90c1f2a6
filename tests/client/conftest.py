"""A runtime and modules to test the client against: threads that speak the protocol over real sockets, and do as they are told."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dspex_runtime.client.connection import ControlConnection
from dspex_runtime.client.session import Session
from dspex_runtime.errors import DspexError, NoProcessError
from dspex_runtime.osproc.board import Board
from dspex_runtime.osproc.channel import FdChannel, pair
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.faults import to_fault
from dspex_runtime.wire.framing import FrameReader, frame
from dspex_runtime.wire.messages import BEGUN, CALL, CANCEL, CHANNEL, CONTROL, FAULT, HELLO, PARAM, PROTOCOL, REPLY, SUBSCRIBE
from helpers.descriptor import Descriptor
from helpers.group_facts import group_facts

PATIENCE_S = 20.0


class FakePipe:
    """A module's end of a direct pipe, without a Channel's good manners: it can die with bytes unread."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE_S)
        self.sock = sock
        self.codec = Codec(pickle=True)
        self.reader = FrameReader()
        self.hello: list[Any] = []

    def next(self) -> list[Any] | None:
        """Read the next message but the hello; None at the end."""
        while True:
            body = self.reader.next()
            if body is not None:
                message = self.codec.unpack(body)
                if message[0] != HELLO:
                    return message
                self.hello = message
                continue
            try:
                data = self.sock.recv(65536)
            except OSError:
                return None
            if not data:
                return None
            self.reader.feed(data)

    def say(self, *message: Any) -> None:
        self.sock.sendall(frame(self.codec.pack(list(message))))

    def die(self) -> None:
        """Close as the kernel does for a killed process: unread bytes give the client ECONNRESET, none an end of file."""
        os.close(self.sock.detach())


Serve = Callable[[FakePipe], None]


def echo(pipe: FakePipe) -> None:
    """Answer each call with its first argument."""
    while (message := pipe.next()) is not None:
        if message[0] == CALL:
            pipe.say(REPLY, message[1], message[3][0] if message[3] else None)


class FakeModule:
    """One incarnation: what it does with each pipe it is given."""

    def __init__(
        self, serve: Serve = echo, *, incarnation: int = 1, call_timeout_s: float = 60.0, idempotent: tuple[str, ...] = ()
    ) -> None:
        self.serve = serve
        self.facts = {
            "incarnation": incarnation,
            "kind": "module",
            "call_timeout_s": call_timeout_s,
            "idempotent": list(idempotent),
        }
        self.pipes: list[FakePipe] = []

    @property
    def incarnation(self) -> int:
        return int(self.facts["incarnation"])  # type: ignore[arg-type]


def _until_gone(serve: Serve, pipe: FakePipe) -> None:
    try:
        serve(pipe)
    except OSError:
        pass  # the client closed the pipe, or the pipe died as it was told to


class FakeRuntime:
    """Answers the control protocol. `handlers` maps an op to a function of its args; raising a DspexError is a FAULT."""

    def __init__(self) -> None:
        self.handlers: dict[str, Callable[[dict[str, Any]], Any]] = {
            "unanswered": lambda args: None,
            "exit_of": lambda args: "killed",
        }
        self.on_subscribe: Callable[[int, str, dict[str, Any]], list[list[Any]]] = lambda number, topic, args: []
        self.modules: dict[str, FakeModule | None] = {}
        self.asked: list[list[Any]] = []
        self.greeting: list[Any] = [HELLO, 0, {"protocol": list(PROTOCOL), "version": "fake", "name": "fake", "pid": 1}]
        self._parked: list[tuple[FdChannel, list[Any]]] = []
        self._channels: list[FdChannel] = []
        self._threads: list[threading.Thread] = []
        self._pipes: list[FakePipe] = []
        self._changed = threading.Condition()

    def accept(self) -> socket.socket:
        """Return the client's end of a new control connection."""
        ours, theirs = pair()
        channel = FdChannel(theirs, Codec())
        self._channels.append(channel)
        self._run(lambda: self._serve(channel))
        return ours

    def listen(self, path: str) -> socket.socket:
        """Take clients at a path, until the returned socket is shut down."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(path)
        listener.listen()

        def take() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                channel = FdChannel(sock, Codec())
                self._channels.append(channel)
                self._run(lambda channel=channel: self._serve(channel))  # type: ignore[misc]

        self._run(take)
        return listener

    def session(self, path: str = "/fake.sock") -> Session:
        """Return a connected session."""
        session = Session(ControlConnection(self.accept()))
        session.connection.open().result(PATIENCE_S)
        session.publish(path)
        return session

    def start(self, id: str, module: FakeModule) -> FakeModule:
        """An incarnation is ready: those who waited for it are answered."""
        with self._changed:
            self.modules[id] = module
            parked, self._parked = self._parked, []
        for channel, message in parked:
            self._channel(channel, message)
        return module

    def parked(self, id: str) -> None:
        """Wait until somebody waits for the next incarnation of an id."""
        with self._changed:
            assert self._changed.wait_for(lambda: any(m[2] == id for _, m in self._parked), PATIENCE_S)

    def heard(self, wanted: Callable[[list[Any]], bool]) -> list[Any]:
        """Wait for a control message."""
        with self._changed:
            assert self._changed.wait_for(lambda: any(map(wanted, self.asked)), PATIENCE_S), self.asked
            return next(message for message in self.asked if wanted(message))

    def push(self, *message: Any) -> None:
        """Send something to every client."""
        for channel in self._channels:
            channel.send(list(message))

    def hang_up(self) -> None:
        """Close all control connections, as a runtime that dies."""
        for channel in self._channels:
            channel.close()

    def _serve(self, channel: FdChannel) -> None:
        while True:
            try:
                message = channel.recv(None)
            except (EOFError, OSError):
                return
            try:
                self._handle(channel, message)
            except OSError:
                pass  # the client went away
            with self._changed:
                self.asked.append(message)
                self._changed.notify_all()

    def _handle(self, channel: FdChannel, message: list[Any]) -> None:
        match message:
            case [int(kind), 0, _] if kind == HELLO:
                channel.send(self.greeting)
            case [int(kind), int(number)] if kind == CANCEL:
                with self._changed:
                    self._parked = [(c, m) for c, m in self._parked if c is not channel or m[1] != number]
            case [int(kind), int(), str(), int(), _] if kind == CHANNEL:
                self._channel(channel, message)
            case [int(kind), int(number), str(topic), dict(args)] if kind == SUBSCRIBE:
                for answer in self.on_subscribe(number, topic, args):
                    channel.send(answer)
            case [int(kind), int(number), str(op), dict(args)] if kind == CONTROL:
                handler = self.handlers.get(op)
                if handler is None:
                    return  # never answered
                try:
                    answer = handler(args)
                    if isinstance(answer, Descriptor):
                        try:
                            channel.send([PARAM, number, answer.info], fds=(answer.fd,))
                        finally:
                            os.close(answer.fd)
                        return
                    channel.send([REPLY, number, answer])
                except DspexError as exc:
                    channel.send([FAULT, number, to_fault(exc, id=None, incarnation=None, codec=Codec())])

    def _channel(self, channel: FdChannel, message: list[Any]) -> None:
        _, number, id, after, _ = message
        if id not in self.modules:
            error = NoProcessError(f"there is no {id!r}", id=id)
            channel.send([FAULT, number, to_fault(error, id=id, incarnation=None, codec=Codec())])
            return
        module = self.modules[id]
        if module is None or module.incarnation <= after:
            with self._changed:
                self._parked.append((channel, message))
                self._changed.notify_all()
            channel.send([BEGUN, number, False])
            return
        ours, theirs = pair()
        pipe = FakePipe(ours)
        module.pipes.append(pipe)
        self._pipes.append(pipe)
        self._run(lambda: _until_gone(module.serve, pipe))
        with theirs:  # also when the client went away before it could be given to it
            channel.send([CHANNEL, number, {"id": id, **module.facts}], fds=(theirs.fileno(),))

    def _run(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def close(self) -> None:
        """End every thread and descriptor."""
        self.hang_up()
        for pipe in self._pipes:
            try:
                pipe.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # dead already
        for thread in self._threads:
            thread.join(PATIENCE_S)
        for pipe in self._pipes:
            pipe.sock.close()


@pytest.fixture
def runtime() -> Iterator[FakeRuntime]:
    fake = FakeRuntime()
    yield fake
    fake.close()


@pytest.fixture
def session(runtime: FakeRuntime) -> Iterator[Session]:
    session = runtime.session()
    yield session
    session.close()


@pytest.fixture
def module() -> type[FakeModule]:
    return FakeModule


@pytest.fixture
def board() -> Iterator[Board]:
    board = Board.create()
    yield board
    board.close()


@pytest.fixture
def grouped(runtime: FakeRuntime, board: Board) -> Callable[..., list[FakeModule]]:
    """Starts replicas of "qa", each of which does with its pipes as it is told. Who asks for the group is led to the first."""

    def start(*serve: Serve | None, known: int | None = None, seq: int = 4) -> list[FakeModule]:
        ids = [f"qa#{n}" for n in range(len(serve))]
        replicas = [runtime.start(id, FakeModule(each or echo)) for id, each in zip(ids, serve, strict=True)]
        way_in = FakeModule(serve[0] or echo)
        way_in.facts |= {"id": ids[0], "group": group_facts(*ids[:known], seq=seq)}
        runtime.start("qa", way_in)
        runtime.handlers["board"] = lambda _: Descriptor(os.dup(board.fd), {})
        return [way_in, *replicas]

    return start


@pytest.fixture
def short_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for runtimes with a path short enough for a socket."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="dx", dir="/tmp") as folder:
        os.chmod(folder, 0o700)
        monkeypatch.setenv("DSPEX_RUNTIME_DIR", folder)
        monkeypatch.delenv("DSPEX_SOCKET", raising=False)
        yield Path(folder)
