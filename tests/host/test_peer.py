"""A client's channel as the loop uses it: a client that is gone is no error, a value that cannot cross is."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from dspex_runtime.errors import UnserialisableError
from dspex_runtime.host.peer import Peer, unserialisable
from dspex_runtime.osproc.channel import Channel, pair
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.codec import Codec


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Peer]]:
    """The client's end, and ours."""
    theirs, ours = pair()
    client, peer = Channel(theirs, Codec()), Peer(Channel(ours, Codec()))
    yield client, peer
    client.close()
    peer.channel.close()


def test_frames_arrive_in_order(ends: tuple[Channel, Peer]) -> None:
    client, peer = ends
    assert peer.send([m.BEGUN, 1, True])
    assert peer.send_many([[m.REPLY, 1, "a"], [m.BEGUN, 2, True]])
    peer.give_back(3)
    assert client.recv_ready() == [[m.BEGUN, 1, True], [m.REPLY, 1, "a"], [m.BEGUN, 2, True], [m.RETRY, 3]]
    assert peer.open


@pytest.mark.parametrize("many", [False, True])
def test_a_client_that_is_gone_is_told_nothing_and_known_to_be_gone(ends: tuple[Channel, Peer], many: bool) -> None:
    client, peer = ends
    client.close()
    assert not (peer.send_many([[m.RETRY, 1]]) if many else peer.send([m.RETRY, 1]))
    assert not peer.open
    peer.give_back(2)


@pytest.mark.parametrize("many", [False, True])
def test_a_client_that_reads_nothing_is_given_up(ends: tuple[Channel, Peer], monkeypatch: pytest.MonkeyPatch, many: bool) -> None:
    monkeypatch.setattr("dspex_runtime.host.peer.SEND_TIMEOUT_S", 0.0)
    reply = [m.REPLY, 1, b"x" * 8_000_000]  # more than a socket takes
    peer = ends[1]
    assert not (peer.send_many([reply]) if many else peer.send(reply))
    assert not peer.open


def test_a_value_that_cannot_cross_is_an_error_and_nothing_was_sent(ends: tuple[Channel, Peer]) -> None:
    client, peer = ends
    with pytest.raises(UnserialisableError):
        peer.send([m.REPLY, 1, threading.Lock()])
    assert peer.open
    assert client.recv_ready() == []


def test_whatever_an_encoder_raises_becomes_the_error_that_says_so() -> None:
    mine = UnserialisableError("no", path="result")
    assert unserialisable(mine) is mine
    assert "the result cannot be sent: ZeroDivisionError: by zero" in str(unserialisable(ZeroDivisionError("by zero")))
