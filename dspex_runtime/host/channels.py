"""The data channels of one process and who watches them. Owns the epolls; reads and interprets nothing.

Three epolls:
    data        every client channel. One idle call thread (the reader) waits here and reads.
    control     the control thread's. While no call thread is idle, `data` is armed inside it: an epoll in an epoll.
    followers   where the other idle call threads of a concurrent module wait; `data` is armed inside it instead when
                there are any, so that the next request wakes one of them and not the control thread.

Arming is one EPOLL_CTL_MOD (0.3 us), so an un-contended call costs no thread switch. Callers hold the loop's lock.
"""

from __future__ import annotations

import os
import select
import signal

from dspex_runtime.host.peer import Peer


class DataChannels:
    """Client channels, and which thread the kernel wakes for them."""

    def __init__(self, control: select.epoll) -> None:
        self._data = select.epoll()
        self._control = control
        self._followers: select.epoll | None = None
        self._armed: select.epoll | None = None
        # Edge-triggered eventfds: a write wakes one waiter, and nobody has to read them back. Two writes before the first
        # of them has looked are one event.
        self._wake_reader = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._wake_follower = -1
        self._signalled: tuple[int, int] | None = None
        self._data.register(self._wake_reader, select.EPOLLIN | select.EPOLLET)
        self._control.register(self._data.fileno(), 0)
        self.peers: dict[int, Peer] = {}

    def fileno(self) -> int:
        """Return the descriptor that the control thread sees when armed channels have something to read."""
        return self._data.fileno()

    def add(self, peer: Peer) -> None:
        """Watch a new client channel."""
        fileno = peer.channel.fileno()
        self.peers[fileno] = peer
        self._data.register(fileno, select.EPOLLIN)

    def remove(self, peer: Peer) -> None:
        """Forget and close a client channel; closing twice is fine."""
        peer.open = False
        for fileno, known in self.peers.items():
            if known is peer:
                del self.peers[fileno]
                self._data.unregister(fileno)
                peer.channel.close()
                return

    def let_go(self) -> None:
        """Forget all client channels, and close our descriptors of them without a word to anybody: they are another process's."""
        for fileno, peer in self.peers.items():
            self._data.unregister(fileno)  # closing is not enough: the stream lives on, and would be reported here
            peer.open = False
            peer.channel.let_go()
        self.peers.clear()

    def wait(self, timeout_s: float | None) -> list[Peer]:
        """As the reader, without the lock: wait for channels with something to read; [] when woken or timed out."""
        return self._ready(self._data.poll(timeout_s))

    def ready(self) -> list[Peer]:
        """Return the channels with something to read now."""
        return self._ready(self._data.poll(0))

    def _ready(self, events: list[tuple[int, int]]) -> list[Peer]:
        find = self.peers.get  # once each: without the lock, another thread may remove one between a look and a take
        return [peer for fileno, _ in events if (peer := find(fileno)) is not None]

    def arm(self, followers: int) -> None:
        """No call thread reads now: let the kernel wake an idle follower, or else the control thread."""
        wanted = self.followers() if followers else self._control
        if self._armed is wanted:
            return
        self.disarm()
        # One-shot for the followers, or one request would wake all of them.
        wanted.modify(self._data.fileno(), select.EPOLLIN | select.EPOLLONESHOT if followers else select.EPOLLIN)
        self._armed = wanted

    def disarm(self) -> None:
        """A call thread reads again."""
        if self._armed is not None:
            self._armed.modify(self._data.fileno(), 0)
            self._armed = None

    def follow(self, followers: select.epoll) -> None:
        """As an idle follower, without the lock: wait to be needed."""
        followers.poll()

    def followed(self) -> None:
        """A follower came back: its one-shot arming may be spent, so that the next `arm` must not take it for given."""
        if self._armed is self._followers:
            self.disarm()

    def followers(self) -> select.epoll:
        """Return where followers wait; made, under the lock like all else here, when there is a first one."""
        if self._followers is None:
            self._followers = select.epoll()
            self._wake_follower = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            self._followers.register(self._wake_follower, select.EPOLLIN | select.EPOLLET)
            self._followers.register(self._data.fileno(), 0)
            if self._signalled is not None:
                self._followers.register(self._signalled[0], select.EPOLLIN | select.EPOLLET)
        return self._followers

    def wake_reader(self) -> None:
        """Make the reader look up from its wait."""
        os.eventfd_write(self._wake_reader, 1)

    def wake_followers(self, n: int) -> None:
        """Make idle followers look up: at least one of n. Each that does wakes the next (`ServerLoop._follow`)."""
        for _ in range(n if self._followers is not None else 0):
            os.eventfd_write(self._wake_follower, 1)

    def wake_on_signals(self) -> None:
        """Make signals end a wait of the main thread, which calls this, also those that come just before it.

        Without this Python would run their handlers at the next request: the interpreter looks for signals between bytecodes,
        and between the last of them and epoll_wait there are some instructions more. A pipe, as set_wakeup_fd writes one byte.

        The control thread sees them, too (`signals`): it wakes a main thread that waits for a lock, which no descriptor does.
        """
        self._signalled = ends = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for epoll in (self._data, self._control):
            epoll.register(ends[0], select.EPOLLIN | select.EPOLLET)
        if self._followers is not None:
            self._followers.register(ends[0], select.EPOLLIN | select.EPOLLET)
        signal.set_wakeup_fd(ends[1], warn_on_full_buffer=False)

    @property
    def signals(self) -> int:
        """The descriptor that the control thread sees when a signal has come; -1: none."""
        return self._signalled[0] if self._signalled is not None else -1

    def close(self) -> None:
        """Close every channel and descriptor."""
        if self._signalled is not None:
            signal.set_wakeup_fd(-1)
            for end in self._signalled:
                os.close(end)
        for peer in list(self.peers.values()):
            self.remove(peer)
        for epoll in (self._data, self._followers):
            if epoll is not None:
                epoll.close()
        os.close(self._wake_reader)
        if self._wake_follower >= 0:
            os.close(self._wake_follower)
