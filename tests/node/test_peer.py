"""The non-blocking connection: whole messages in order, descriptors with their message, bounded memory, honest ends."""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from dspex_runtime.errors import ProtocolError, UnserialisableError
from dspex_runtime.node.event_loop import EventLoop
from dspex_runtime.node.peer import Peer
from dspex_runtime.wire.codec import Codec, Opaque
from dspex_runtime.wire.ext import DATETIME
from dspex_runtime.wire.framing import frame
from dspex_runtime.wire.messages import BYE, CONTROL, EVENT, FAULT, REPLY, Message


@dataclass
class Wire:
    """A peer, the other end of its socket, and what the peer told."""

    loop: EventLoop
    peer: Peer
    other: socket.socket
    messages: list[Message] = field(default_factory=list)
    ends: list[Exception | None] = field(default_factory=list)

    def turn(self) -> None:
        """Let the loop handle everything that is ready now."""
        self.loop.call_later(0.0, self.loop.stop)
        self.loop.run()


@pytest.fixture
def wire() -> Iterator[Wire]:
    loop = EventLoop()
    ours, other = socket.socketpair()
    holder: list[Wire] = []
    peer = Peer(
        loop,
        ours,
        lambda _, message: holder[0].messages.append(message),
        lambda _, error: holder[0].ends.append(error),
        max_backlog_bytes=2**20,
    )
    holder.append(Wire(loop, peer, other))
    yield holder[0]
    peer.close()
    other.close()
    loop.close()


def framed(message: Message) -> bytes:
    return frame(Codec().pack(message))


def test_a_message_that_comes_byte_by_byte_is_one_message(wire: Wire) -> None:
    for byte in framed([14, 1, "info", {"id": "qa"}]):
        wire.other.send(bytes([byte]))
        wire.turn()
    assert wire.messages == [[14, 1, "info", {"id": "qa"}]]


def test_many_messages_in_one_read_are_handled_in_order(wire: Wire) -> None:
    wire.other.send(b"".join(framed([14, n, "x", {}]) for n in range(100)))
    wire.turn()
    assert [message[1] for message in wire.messages] == list(range(100))


def test_a_descriptor_arrives_with_its_message(wire: Wire) -> None:
    read_fd, write_fd = os.pipe()
    wire.other.sendmsg([framed([19, 0, {}])], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [read_fd]))])
    os.close(read_fd)
    wire.turn()
    received = wire.peer.take_fd()
    assert received is not None
    assert wire.peer.take_fd() is None
    os.write(write_fd, b"through")
    assert os.read(received, 7) == b"through"
    os.close(received)
    os.close(write_fd)


def test_a_sent_descriptor_is_given_away(wire: Wire) -> None:
    read_fd, write_fd = os.pipe()
    wire.peer.send([19, 0, {}], (read_fd,))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(read_fd)
    _, fds, _, _ = socket.recv_fds(wire.other, 4096, 4)
    os.close(fds[0])
    os.close(write_fd)


def test_a_message_that_cannot_be_encoded_closes_its_descriptors_and_sends_nothing(wire: Wire) -> None:
    read_fd, write_fd = os.pipe()
    with pytest.raises(UnserialisableError):
        wire.peer.send([19, 0, object()], (read_fd,))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(read_fd)
    os.close(write_fd)
    wire.other.setblocking(False)
    with pytest.raises(BlockingIOError):
        wire.other.recv(1)


def test_what_does_not_fit_the_socket_leaves_later_in_order(wire: Wire) -> None:
    sent = [[16, n, "x" * 1000] for n in range(800)]
    for message in sent:
        wire.peer.send(message)
    assert wire.peer.backlog_bytes > 0
    expected = b"".join(framed(message) for message in sent)
    received = bytearray()
    while len(received) < len(expected):
        received += wire.other.recv(65536)
        wire.turn()
    assert received == expected
    assert wire.peer.backlog_bytes == 0


def test_who_waits_for_all_to_be_sent_is_told_once_and_may_send_more(wire: Wire) -> None:
    told: list[int] = []
    for n in range(400):
        wire.peer.send([16, n, "x" * 1000])

    def drained() -> None:
        told.append(wire.peer.backlog_bytes)
        wire.peer.send([16, 0, "more"])

    wire.peer.when_drained(drained)
    assert told == []
    received = bytearray()
    more = framed([16, 0, "more"])
    while not received.endswith(more):
        received += wire.other.recv(65536)
        wire.turn()
    assert told == [0]


def test_who_waits_for_a_peer_that_is_lost_is_not_told(wire: Wire) -> None:
    told: list[int] = []
    for n in range(400):
        wire.peer.send([16, n, "x" * 1000])
    wire.peer.when_drained(lambda: told.append(1))
    wire.other.close()
    wire.turn()
    wire.peer.close()
    assert told == []


def test_a_peer_that_does_not_read_costs_bounded_memory_then_is_closed(wire: Wire) -> None:
    for _ in range(4000):
        wire.peer.send([16, 0, "x" * 1000])
    assert wire.peer.closed
    assert isinstance(wire.ends[0], ProtocolError)


def test_garbage_closes_with_the_reason(wire: Wire) -> None:
    wire.other.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    wire.turn()
    assert wire.peer.closed
    assert isinstance(wire.ends[0], ProtocolError)


def test_what_was_sent_before_the_end_is_handled_before_the_end(wire: Wire) -> None:
    wire.other.send(framed([20, 0, "normal"]))
    wire.other.close()
    wire.peer.drain()
    assert wire.messages == [[20, 0, "normal"]]
    assert wire.ends == [None]


def test_a_stranger_who_keeps_writing_into_the_pipe_of_the_dead_is_not_waited_for(wire: Wire) -> None:
    said = framed([20, 0, "killed"])

    def more(_: Peer, message: Message) -> None:
        wire.messages.append(message)
        wire.other.send(said)  # there is always one more

    wire.peer._on_message = more
    wire.other.send(said * 3)
    wire.peer.drain()
    assert wire.messages[:3] == [[20, 0, "killed"]] * 3
    assert len(wire.messages) <= 6  # what was there, and one read more
    assert not wire.peer.closed


def test_sending_to_a_peer_that_is_gone_raises_nothing_and_its_last_words_are_heard(wire: Wire) -> None:
    wire.other.send(framed([20, 0, "killed"]))
    wire.other.close()
    wire.peer.send([14, 0, "stop", {}])
    wire.peer.drain()
    assert wire.messages == [[20, 0, "killed"]]


def test_the_end_is_told_once(wire: Wire) -> None:
    wire.other.close()
    wire.turn()
    wire.peer.close()
    wire.peer.close(ProtocolError("late"))
    assert wire.ends == [None]


@pytest.mark.parametrize("kind", [CONTROL, REPLY, EVENT, BYE])
def test_a_message_with_a_value_that_cannot_be_rebuilt_is_lost_alone(wire: Wire, kind: int) -> None:
    nowhere = Opaque(Codec().pack(["2026-13-45"]), DATETIME)
    wire.other.send(framed([kind, 7, nowhere]) + framed([CONTROL, 8, "info", {}]))
    wire.turn()
    assert not wire.peer.closed
    assert wire.messages[-1] == [CONTROL, 8, "info", {}]
    told = {CONTROL: [], REPLY: [[FAULT, 7]]}.get(kind, [])
    assert [message[:2] for message in wire.messages[:-1]] == told


def test_a_request_that_cannot_be_rebuilt_is_answered(wire: Wire) -> None:
    wire.other.send(framed([CONTROL, 7, "register", {"key": Opaque(Codec().pack(["2026-13-45"]), DATETIME)}]))
    wire.turn()
    kind, number, fault = Codec().unpack(wire.other.recv(65536)[4:])
    assert (kind, number) == (FAULT, 7)
    assert "cannot be rebuilt here" in fault["message"]


def test_a_message_whose_handling_fails_does_not_lose_those_behind_it(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Peer, message: Message) -> None:
        wire.messages.append(message)
        raise RuntimeError("no")

    monkeypatch.setattr(wire.peer, "_on_message", fail)
    wire.other.send(framed([EVENT, 0, {}]) + framed([BYE, 0, "normal"]))
    wire.other.close()
    wire.peer.drain()
    assert wire.messages == [[EVENT, 0, {}], [BYE, 0, "normal"]]
    assert wire.ends == [None]
    assert caplog.text.count("RuntimeError: no") == 2
