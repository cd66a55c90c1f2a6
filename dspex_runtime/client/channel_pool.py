"""Direct pipes from this process to one module id: borrowed by a thread for one request, given back, dropped when they die.

Most recently used first, at most `MAX_IDLE` idle ones. Ordering: a thread's cast keeps its pipe for that thread's next request,
so that a cast and a later call of one thread arrive in that order. What takes different pipes is numbered in one row (`numbers`),
and a module that runs its requests one by one puts it in that order.
"""

from __future__ import annotations

import itertools
import os
import select
import socket
import threading
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.client.connection import ControlConnection
from dspex_runtime.client.deadline import remaining_s
from dspex_runtime.client.steps import Await, Steps, run
from dspex_runtime.errors import CallTimeoutError, ProtocolError
from dspex_runtime.osproc.channel import Channel
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.messages import HELLO, PROTOCOL, REFUSED, Message

if TYPE_CHECKING:
    from dspex_runtime.client.groups import Group

MAX_IDLE: Final = 4  # per module and process; each idle pipe costs a descriptor here and one in the module
CALL_TIMEOUT_S: Final = 60.0  # until the runtime has told the module's own
AT_ONCE: Final = 0.0  # a deadline by which the runtime knows that it is not to wait
SEND_GRACE_S: Final = 0.1  # for what is sent after a deadline passed (CANCEL)


class Link:
    """One pipe to one incarnation. Owned by whoever borrowed it, else by the pool; closed when collected."""

    __slots__ = ("__weakref__", "channel", "incarnation", "recv", "send")

    def __init__(self, sock: socket.socket, codec: Codec, incarnation: int) -> None:
        self.channel = Channel(sock, codec)
        self.send = self.channel.send  # bound once: saves two lookups per call
        self.recv = self.channel.recv
        self.incarnation = incarnation

    def say_and_close(self, message: Message) -> None:
        """Send a last message, as far as the pipe takes it, and close: no late reply can reach the next borrower."""
        try:
            self.send(message, monotonic() + SEND_GRACE_S)
        except (OSError, EOFError):
            pass  # the module is gone, or its pipe is full: closing tells it as well
        self.close()

    def close(self) -> None:
        """Close the pipe, waking a thread that waits on it. Closing twice is fine."""
        self.channel.close()

    def __del__(self) -> None:
        self.channel.close()


class _Pinned(threading.local):
    link: Link | None = None


class ChannelPool:
    """The pipes of one process to one module id, and what the runtime last said about the module.

    Attributes:
        after: Last incarnation known to be dead; a new pipe must lead to a later one.
        call_timeout_s: The module's own time-out for calls without one; infinity for none.
        idempotent: Methods that may run twice.
        own: The pool leads to the very module this process is.
        group: Where the id is a group's: its replicas, each of which has a pool of its own (`routing`).
        numbers: Those of what is sent to the module, in the order in which a thread sends it, over whichever pipe.
    """

    def __init__(
        self,
        connection: ControlConnection,
        codec: Codec,
        client: str,
        id: str,
        *,
        own: bool = False,
        grouped: Callable[[ChannelPool, Mapping[str, Any]], Steps[ChannelPool]] | None = None,
    ) -> None:
        self.own = own
        self.group: Group | None = None
        self._grouped = grouped
        self.connection = connection
        self.codec = codec
        self.client = client
        self.id = id
        self.idle: list[Link] = []
        self.pinned = _Pinned()
        self.after = 0
        self.call_timeout_s: float = CALL_TIMEOUT_S
        self.idempotent: frozenset[str] = frozenset()
        self.numbers = itertools.count(1)
        self._keys = itertools.count(1)
        self._lock = threading.Lock()
        self._open: weakref.WeakSet[Link] = weakref.WeakSet()

    def new_key(self) -> str:
        """Return an idempotency key, the same for every resend of one request."""
        return f"{self.client}-{self.id}-{next(self._keys)}"

    # -- the hot path: `calls.call` pops from `idle` itself ------------------------------------------------------------

    def borrow(self, deadline: float | None) -> Link | None:
        """Return a pipe for one request, waiting for the next incarnation if need be; None where the id is a group's.

        Raises:
            NoProcessError: No incarnation is coming.
            CallTimeoutError: None was ready at the deadline.
            RuntimeUnreachableError: The runtime is gone.
        """
        link = self.pooled()
        return run(self.open(deadline)) if link is None else link

    def pooled(self) -> Link | None:
        """Return a pipe that is open already, first that of the thread's last cast; None where there is none. Never waits."""
        link = self.pinned.link
        if link is not None:
            self.pinned.link = None
            return link
        try:
            return self.idle.pop()
        except IndexError:
            return None

    def give_back(self, link: Link) -> None:
        """Return a pipe on which no answer is outstanding."""
        if len(self.idle) < MAX_IDLE and link.incarnation > self.after and not self.connection.closed:
            self.idle.append(link)
        else:
            link.close()

    # -- opening and losing --------------------------------------------------------------------------------------------

    def request_pipe(
        self, deadline: float | None, on_parked: Callable[[], None] | None = None, *, now: bool = False
    ) -> Steps[tuple[dict[str, Any], int]]:
        """Ask the runtime for a pipe to an incarnation later than `after`; returns (info, descriptor).

        `on_parked` is called, on another thread, when there is none yet. With `now` that is CallTimeoutError.
        """
        asked = self.connection.channel(self.id, self.after, AT_ONCE if now else deadline, on_parked)
        try:
            info, fd = yield Await(asked, remaining_s(deadline))
        except BaseException as exc:
            _close_unused(asked)
            if type(exc) is not TimeoutError:
                raise
            # Ask for any incarnation next time: whatever made us think that the last one is dead may have been wrong.
            self.after = 0
            raise CallTimeoutError(f"{self.id!r} was not ready for the call before its deadline", id=self.id) from None
        with self._lock:
            # The runtime hands out a pipe to a living incarnation only: it knows better than an end of file.
            self.after = min(self.after, info["incarnation"] - 1)
            self.know(info)
        return info, fd

    def know(self, info: Mapping[str, Any]) -> None:
        """Go by what the runtime says of the module; calls that are under way go on as they began."""
        self.call_timeout_s = inf if info["call_timeout_s"] is None else info["call_timeout_s"]
        self.idempotent = frozenset(info["idempotent"])

    def open(self, deadline: float | None, *, now: bool = False) -> Steps[Link | None]:
        """Open one more pipe; None where the id is a group's: it is one to a replica then, and the pool of that has it."""
        info, fd = yield from self.request_pipe(deadline, now=now)
        if "group" in info:
            yield from self.is_group(info, fd, deadline)
            return None
        self.group = None
        return self._opened(info, fd, deadline)

    def is_group(self, info: Mapping[str, Any], fd: int, deadline: float | None) -> Steps[None]:
        """Be a group's from now on, and give the pipe to the replica that it leads to."""
        assert self._grouped is not None
        try:
            pool = yield from self._grouped(self, info)
        except BaseException:
            os.close(fd)
            raise
        with pool._lock:
            pool.after = min(pool.after, info["incarnation"] - 1)
            pool.know(info)
        pool.give_back(pool._opened(info, fd, deadline))

    def _opened(self, info: Mapping[str, Any], fd: int, deadline: float | None) -> Link:
        link = Link(socket.socket(fileno=fd), self.codec, info["incarnation"])
        with self._lock:
            self._open.add(link)
        try:
            link.send(self.hello(mux=False), deadline)
        except TimeoutError:
            link.close()
            raise CallTimeoutError(f"{self.id!r} takes no bytes", id=self.id) from None
        except (OSError, EOFError):
            pass  # it died just now: the request that follows finds out and does what its rules say
        return link

    def hello(self, *, mux: bool) -> Message:
        """Return the first frame of a pipe."""
        return [HELLO, 0, {"protocol": list(PROTOCOL), "mux": mux, "client": self.client}]

    def lost(self, link: Link) -> None:
        """The pipe ended: its incarnation is taken for dead, and so are all idle pipes to it."""
        link.close()
        self.lost_incarnation(link.incarnation)

    def lost_incarnation(self, incarnation: int) -> None:
        """Take an incarnation for dead and drop the idle pipes to it."""
        with self._lock:
            self.after = max(self.after, incarnation)
            dead = [link for link in self.idle if link.incarnation <= self.after]
            for link in dead:
                try:
                    self.idle.remove(link)
                except ValueError:
                    continue  # borrowed meanwhile (`pop` takes no lock): that thread finds out at send
                link.close()

    def drop_dead(self) -> None:
        """Close the idle pipes whose module has ended: of an id that is not called again nobody else would notice."""
        poller = select.poll()
        watched = {link.channel.fileno(): link for link in list(self.idle)}
        watched.pop(-1, None)
        for fileno in watched:
            poller.register(fileno, select.POLLIN)
        for fileno, _ in poller.poll(0) if watched else ():
            link = watched[fileno]
            try:
                self.idle.remove(link)
            except ValueError:
                continue  # borrowed meanwhile: that thread finds out
            link.close()

    def refused(self, message: Message) -> ProtocolError:
        """Return the error for a module that speaks another protocol."""
        facts = message[2] if message[0] == REFUSED else {}
        return ProtocolError(f"{self.id!r} refused this client: {facts.get('message', 'no reason given')}", id=self.id)

    def close(self) -> None:
        """Close all pipes, borrowed ones too: whoever waits on one learns it. The connection is closed before."""
        with self._lock:
            links = list(self._open)
            self.idle.clear()
        for link in links:
            link.close()

    def forked(self) -> None:
        """Drop the parent's pipes in a forked child; their channels closed themselves."""
        self._lock = threading.Lock()
        self.idle.clear()
        if self.group is not None:
            self.group.forked()
        self.pinned = _Pinned()
        self._open = weakref.WeakSet()


def _close_unused(asked: Future[tuple[dict[str, Any], int]]) -> None:
    """Close the descriptor of an answer that came just as its caller gave up; a later one is closed at its arrival."""
    if asked.done() and not asked.cancelled() and asked.exception() is None:
        os.close(asked.result()[1])
