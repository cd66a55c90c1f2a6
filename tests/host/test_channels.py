"""Which epoll hears of a client's bytes: the reader's always, the control thread's or a follower's only while armed."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from dspex_runtime.host.channels import DataChannels
from dspex_runtime.host.peer import Peer
from dspex_runtime.osproc.channel import Channel, pair
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.codec import Codec


class Client:
    """Both ends of one client channel."""

    def __init__(self) -> None:
        ours, theirs = pair()
        self.channel, self.peer = Channel(ours, Codec()), Peer(Channel(theirs, Codec()))

    def send(self) -> None:
        self.channel.send([m.CANCEL, 1])

    def take(self) -> None:
        """Read what was sent, as the intake does."""
        assert self.peer.channel.recv_ready() == [[m.CANCEL, 1]]


@pytest.fixture
def control() -> Iterator[select.epoll]:
    with select.epoll() as epoll:
        yield epoll


@pytest.fixture
def channels(control: select.epoll) -> Iterator[DataChannels]:
    channels = DataChannels(control)
    yield channels
    channels.close()


@pytest.fixture
def client(channels: DataChannels) -> Iterator[Callable[[], Client]]:
    made: list[Client] = []

    def make() -> Client:
        made.append(Client())
        channels.add(made[-1].peer)
        return made[-1]

    yield make
    for each in made:
        each.channel.close()


def heard(epoll: select.epoll, channels: DataChannels) -> bool:
    """Return whether this epoll tells of armed channels now."""
    return channels.fileno() in [fileno for fileno, _ in epoll.poll(0)]


def test_the_reader_is_told_who_has_sent(channels: DataChannels, client: Callable[[], Client]) -> None:
    first, second, third = client(), client(), client()
    assert channels.ready() == []
    first.send()
    third.send()
    assert sorted(map(id, channels.wait(20))) == sorted(map(id, (first.peer, third.peer)))
    first.take()
    assert channels.ready() == [third.peer]
    second.channel.close()
    assert set(channels.ready()) == {second.peer, third.peer}  # an end is something to read


def test_the_reader_can_be_made_to_look_up(channels: DataChannels) -> None:
    channels.wake_reader()
    channels.wake_reader()
    assert channels.wait(20) == []
    assert channels._data.poll(0) == []  # both wakes were one, and none is left behind


def test_the_control_thread_hears_of_requests_only_while_armed(
    channels: DataChannels, control: select.epoll, client: Callable[[], Client]
) -> None:
    one = client()
    one.send()
    assert not heard(control, channels)
    channels.arm(0)
    channels.arm(0)
    assert heard(control, channels)
    assert heard(control, channels)  # until they are read
    channels.disarm()
    channels.disarm()
    assert not heard(control, channels)
    assert channels.ready() == [one.peer]


def test_with_followers_the_control_thread_is_left_alone(
    channels: DataChannels, control: select.epoll, client: Callable[[], Client]
) -> None:
    channels.arm(2)
    client().send()
    channels.follow(channels.followers())
    assert not heard(control, channels)


def test_one_request_wakes_one_follower(channels: DataChannels, client: Callable[[], Client]) -> None:
    channels.arm(2)
    client().send()
    channels.follow(channels.followers())
    assert channels._followers is not None
    assert channels._followers.poll(0) == []


def test_a_spent_arming_is_renewed(channels: DataChannels, client: Callable[[], Client]) -> None:
    channels.arm(1)
    client().send()
    channels.follow(channels.followers())
    channels.followed()
    channels.arm(1)
    channels.follow(channels.followers())  # returns: what the first one did not read still counts


def test_a_follower_that_comes_back_leaves_the_control_threads_arming(
    channels: DataChannels, control: select.epoll, client: Callable[[], Client]
) -> None:
    channels.wake_followers(1)  # none was ever there
    channels.arm(1)
    channels.arm(0)
    channels.followed()
    client().send()
    assert heard(control, channels)


def test_as_many_followers_look_up_as_are_woken(channels: DataChannels) -> None:
    channels.arm(2)
    looked_up = threading.Semaphore(0)
    threads = [threading.Thread(target=lambda: (channels.follow(channels.followers()), looked_up.release())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in threads:
        channels.wake_followers(1)  # edge-triggered: one at a time
        assert looked_up.acquire(timeout=20)
    for thread in threads:
        thread.join(20)


def test_a_removed_channel_is_closed_and_never_told_of_again(channels: DataChannels, client: Callable[[], Client]) -> None:
    gone, stays = client(), client()
    gone.send()
    channels.remove(gone.peer)
    channels.remove(gone.peer)
    assert not gone.peer.open
    assert gone.peer.channel.fileno() == -1
    assert channels.ready() == []
    with pytest.raises((EOFError, ConnectionResetError)):
        gone.channel.recv(0.0)
    stays.send()
    assert channels.ready() == [stays.peer]


def test_a_channel_that_was_removed_while_it_was_told_of_is_passed_over(
    channels: DataChannels, client: Callable[[], Client]
) -> None:
    gone = client()
    gone.send()
    events = channels._data.poll(20)
    channels.remove(gone.peer)
    assert channels._ready(events) == []


def test_a_new_channel_may_have_the_number_of_a_removed_one(channels: DataChannels, client: Callable[[], Client]) -> None:
    first = client()
    number = first.peer.channel.fileno()
    channels.remove(first.peer)
    made = [client() for _ in range(3)]
    reused = [each for each in made if each.peer.channel.fileno() == number]
    assert len(reused) == 1
    reused[0].send()
    assert channels.ready() == [reused[0].peer]


def test_closing_closes_everything(control: select.epoll) -> None:
    before = set(os.listdir("/proc/self/fd"))
    channels, clients = DataChannels(control), [Client() for _ in range(3)]
    for each in clients:
        channels.add(each.peer)
        each.channel.close()
    channels.arm(1)
    channels.close()
    assert set(os.listdir("/proc/self/fd")) == before
    assert channels.peers == {}


@pytest.mark.parametrize("follows", [False, True])
def test_a_signal_that_comes_just_before_a_wait_ends_it(channels: DataChannels, follows: bool) -> None:
    before = signal.signal(signal.SIGUSR2, lambda *_: None)
    try:
        if follows:
            channels.followers()
        channels.wake_on_signals()
        signal.raise_signal(signal.SIGUSR2)
        assert channels.wait(None) == []  # not for ever
        assert not follows or [fd for fd, _ in channels.followers().poll()]
        signal.raise_signal(signal.SIGUSR2)
        assert channels._data.poll()  # each time
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_followers_that_come_later_are_woken_by_signals_too(channels: DataChannels) -> None:
    before = signal.signal(signal.SIGUSR2, lambda *_: None)
    try:
        channels.wake_on_signals()
        signal.raise_signal(signal.SIGUSR2)
        assert [fd for fd, _ in channels.followers().poll()]
    finally:
        signal.signal(signal.SIGUSR2, before)
