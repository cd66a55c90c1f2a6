"""Frames between the two processes of a move: of any size, with any number of descriptors, or an error that says why not."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from dspex_runtime.errors import SwapError
from dspex_runtime.host.moving import stream as streams
from dspex_runtime.host.moving.stream import END, FDS_AT_ONCE, INLINE_BYTES, Frame, Incoming, Outgoing
from dspex_runtime.wire.codec import Codec, UndecodableError
from dspex_runtime.wire.framing import MAX_FRAME_BYTES
from helpers.waiting import PATIENCE_S, wait_until

CODEC = Codec(pickle=True)


@pytest.fixture
def ends() -> Iterator[tuple[Outgoing, Incoming]]:
    ours, theirs = socket.socketpair()
    with Outgoing(ours, CODEC) as outgoing, Incoming(theirs, CODEC) as incoming:
        yield outgoing, incoming


@pytest.fixture
def aside() -> Iterator[Callable[..., Future[Any]]]:
    """Runs something on a thread of its own."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit


def all_of(incoming: Incoming) -> list[Frame]:
    frames = [incoming.recv()]
    while frames[-1].kind != END:
        frames.append(incoming.recv())
    return frames[:-1]


def test_frames_come_in_order_and_the_end_is_acknowledged(ends: Any, aside: Any) -> None:
    outgoing, incoming = ends
    read = aside(all_of, incoming)
    for number in range(3):
        outgoing.send("state", {"n": number, "value": (1, {2})})
    outgoing.end()
    assert read.result(PATIENCE_S) == [("state", {"n": number, "value": (1, {2})}, []) for number in range(3)]
    assert outgoing.bytes > 0


@pytest.mark.parametrize("n", [1, FDS_AT_ONCE, FDS_AT_ONCE + 1, 3 * FDS_AT_ONCE])
def test_any_number_of_descriptors_comes_with_its_frame_in_order(ends: Any, aside: Any, n: int) -> None:
    outgoing, incoming = ends
    read = aside(all_of, incoming)
    sent = [os.eventfd(place) for place in range(n)]
    try:
        outgoing.send("loop", {}, sent)
        outgoing.send("loop", {"none": True})
        outgoing.end()
        frames = read.result(PATIENCE_S)
        assert [len(frame.fds) for frame in frames] == [n, 0]
        for place, fd in enumerate(frames[0].fds):
            if place:
                assert os.eventfd_read(fd) == place
            assert not os.get_inheritable(fd)
            os.close(fd)
    finally:
        for fd in sent:
            os.close(fd)


@pytest.mark.parametrize("size", [INLINE_BYTES + 1, MAX_FRAME_BYTES + 1])
def test_a_frame_may_be_of_any_size_and_have_descriptors_too(ends: Any, aside: Any, size: int) -> None:
    outgoing, incoming = ends
    read = aside(all_of, incoming)
    ours, theirs = os.pipe()
    outgoing.send("state", {"data": b"x" * size}, [ours])
    outgoing.end()
    ((kind, facts, fds),) = read.result(PATIENCE_S)
    assert (kind, len(facts["data"]), len(fds)) == ("state", size, 1)
    for fd in (ours, theirs, *fds):
        os.close(fd)


def test_a_reader_that_goes_is_an_error_at_the_writer(ends: Any, aside: Any) -> None:
    outgoing, incoming = ends
    incoming.close()
    with pytest.raises(SwapError, match="does not take what it is sent") as raised:
        outgoing.send("state", {})
    assert raised.value.code == "move"


def test_a_reader_that_goes_before_the_end_is_an_error_at_the_writer(ends: Any, aside: Any) -> None:
    outgoing, incoming = ends
    ended = aside(outgoing.end)
    incoming._channel.recv()
    incoming.close()
    with pytest.raises(SwapError, match="has not taken all"):
        ended.result(PATIENCE_S)


def test_a_writer_that_goes_before_the_end_is_an_error_at_the_reader(ends: Any) -> None:
    outgoing, incoming = ends
    outgoing.send("state", {})
    outgoing.close()
    assert incoming.recv().kind == "state"
    with pytest.raises(SwapError, match="has not sent all of itself"):
        incoming.recv()


def test_closing_an_end_wakes_whoever_waits_there(ends: Any, aside: Any) -> None:
    outgoing, _ = ends
    writing = aside(lambda: [outgoing.send("state", {"data": b"x" * 100_000}) for _ in range(100)])
    wait_until(lambda: outgoing.bytes > 300_000, what="the socket is full")
    outgoing.close()
    with pytest.raises(SwapError):
        writing.result(PATIENCE_S)


def test_descriptors_of_a_frame_that_nobody_got_are_closed(ends: Any, aside: Any) -> None:
    outgoing, incoming = ends
    ours, theirs = os.pipe()
    read = aside(incoming.recv)
    outgoing._send_fds([theirs])
    outgoing.close()
    with pytest.raises(SwapError):
        read.result(PATIENCE_S)
    os.close(theirs)
    incoming.close()
    assert os.read(ours, 1) == b""  # no write end is left
    os.close(ours)


def test_a_value_that_cannot_be_rebuilt_is_told_as_such(ends: Any) -> None:
    outgoing, incoming = ends
    outgoing.send("state", {"value": Unbuildable()})
    with pytest.raises(UndecodableError, match="not here"):
        incoming.recv()


class Unbuildable:
    def __reduce__(self) -> Any:
        return (_refuse, ())


def _refuse() -> None:
    raise RuntimeError("not here")


def test_descriptors_wait_while_the_user_has_too_many_on_their_way(ends: Any, aside: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    outgoing, incoming = ends
    send, refused = outgoing._channel.send, []

    def crowded(message: Any, deadline: Any = None, *, fds: Any = ()) -> None:
        if fds and len(refused) < 3:
            refused.append(message)
            raise OSError(streams.errno.ETOOMANYREFS, "too many references")
        send(message, deadline, fds=fds)

    monkeypatch.setattr(outgoing._channel, "send", crowded)
    read = aside(all_of, incoming)
    ours, theirs = os.pipe()
    outgoing.send("loop", {}, [ours])
    outgoing.end()
    ((_, _, fds),) = read.result(PATIENCE_S)
    assert len(refused) == 3
    for fd in (ours, theirs, *fds):
        os.close(fd)


def test_nobody_is_waited_for_while_descriptors_have_room(ends: Any, aside: Any) -> None:
    outgoing, incoming = ends
    fd = os.eventfd(0)
    try:
        for _ in range(streams.ANSWERS_AHEAD):
            outgoing.send("channel", {}, [fd])  # nobody reads
        read = aside(all_of, incoming)
        for _ in range(streams.ANSWERS_AHEAD):
            outgoing.send("channel", {}, [fd] * (FDS_AT_ONCE // 2))
        outgoing.end()
        frames = read.result(PATIENCE_S)
    finally:
        os.close(fd)
    assert [len(frame.fds) for frame in frames] == [1] * streams.ANSWERS_AHEAD + [FDS_AT_ONCE // 2] * streams.ANSWERS_AHEAD
    for frame in frames:
        for each in frame.fds:
            os.close(each)
