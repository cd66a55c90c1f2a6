"""What arrives on data channels: every frame of a client becomes a queued request, a refusal, or news for one that runs.

Runs on whichever thread reads at the moment, always under the loop's lock. Runs no user code.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from dspex_runtime.errors import ProtocolError
from dspex_runtime.host.mailbox import Request
from dspex_runtime.host.peer import Peer
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.codec import UndecodableError

if TYPE_CHECKING:
    from dspex_runtime.host.server_loop import ServerLoop

log = logging.getLogger("dspex_runtime.host")


class Intake:
    """Reads channels into the mailbox."""

    def __init__(self, loop: ServerLoop) -> None:
        self._loop = loop
        self.fresh: list[Request] = []  # queued by the read in progress, not yet announced as waiting; `Request.fresh` says so

    def read(self, peers: list[Peer]) -> None:
        """Take in what these channels hold."""
        for peer in peers:
            more = True
            while more and peer.channel.fileno() >= 0:
                more = self._read_once(peer)

    def _read_once(self, peer: Peer) -> bool:
        """Read one channel; True when it holds more that the kernel does not know of."""
        try:
            received = peer.channel.recv_ready()
            for message in received:
                self._handle(peer, message)
        except UndecodableError as exc:
            self._undecodable(peer, exc)
            return True
        except (EOFError, OSError):
            self.drop(peer)
            return False
        except (ProtocolError, ValueError, TypeError, LookupError, AttributeError) as exc:
            log.warning("closed a channel of client %s: %s", peer.client or "?", exc)
            self.drop(peer)
            return False
        return bool(received) and peer.channel.pending

    def _undecodable(self, peer: Peer, exc: UndecodableError) -> None:
        if exc.kind == m.CALL and exc.request:
            peer.send([m.FAULT, exc.request, self._loop.calls.fault(exc)])
        else:
            log.warning("dropped a message of client %s: %s", peer.client or "?", exc)

    def announce(self, taken: Request | None) -> None:
        """Tell the clients of requests just queued that they wait; `taken` is run at once and needs no word."""
        fresh = self.fresh
        if not fresh or (len(fresh) == 1 and fresh[0] is taken):
            fresh.clear()
            return
        by_peer: dict[Peer, list[list[Any]]] = {}
        for request in fresh:
            request.fresh = False
            # A mux client knows without a word: there every request that begins is announced, one that was not has not.
            if request is not taken and request.id and request.peer is not None and not request.peer.mux:
                request.waited = True
                by_peer.setdefault(request.peer, []).append([m.BEGUN, request.id, False])
        fresh.clear()
        for peer, frames in by_peer.items():
            peer.send_many(frames)

    def _handle(self, peer: Peer, message: list[Any]) -> None:
        kind = message[0]
        if kind == m.CALL and peer.greeted:
            _, id, method, args, kwargs, deadline, key, credit = message
            if type(id) is not int or not (deadline is None or type(deadline) is float):
                raise ProtocolError(f"a call's number and deadline are an int and a float, not {id!r:.50} and {deadline!r:.50}")
            self.accept(Request(peer, id, method, args, kwargs, deadline, key, credit))
        elif not peer.greeted:
            self._greet(peer, message)
        elif kind == m.CAST:
            _, _, method, args, kwargs = message
            self.accept(Request(peer, 0, method, args, kwargs))
        elif kind == m.CANCEL:
            _, id = message
            self._cancel(peer, id)
        elif kind == m.CREDIT:
            _, id, n = message
            running = peer.running.get(id)
            if running is not None and running.stream is not None:
                running.stream.add(int(n))
        else:
            raise ProtocolError(f"a client does not send messages of kind {kind}")

    def _greet(self, peer: Peer, message: list[Any]) -> None:
        kind, _, hello = message
        if kind != m.HELLO:
            raise ProtocolError("the first frame must be HELLO")
        if not m.accepts(hello.get("protocol")):
            text = f"this module speaks protocol {list(m.PROTOCOL)}, the client {hello.get('protocol')}"
            peer.send([m.REFUSED, 0, {"message": text, "protocol": list(m.PROTOCOL)}])
            raise ProtocolError(text)
        peer.greeted = True
        peer.mux = bool(hello.get("mux", peer.mux))
        peer.client = str(hello.get("client") or peer.client)

    def accept(self, request: Request) -> None:
        """Queue a request, or answer at once why not."""
        loop, peer = self._loop, request.peer
        if loop.refusing:
            # A cast cannot be given back: nobody would send it again. Those queued before are still run; these are not.
            if request.id and peer is not None:
                peer.give_back(request.id)
            return
        if request.key is not None and loop.answers.covers(request) and self._answered_before(request):
            return
        if not loop.mailbox.put(request, time.monotonic(), loop.in_flight_async):
            if request.key is not None:
                loop.mailbox.lost.append(request)
            if request.id and peer is not None:
                peer.send([m.OVERLOADED, request.id, loop.mailbox.limit])
            else:
                log.warning("the mailbox is full (%d): dropped a cast", loop.mailbox.limit)
            return
        request.fresh = True
        self.fresh.append(request)

    def accept_again(self) -> None:
        """The first request of a key left unbegun: let one of those who wait for the same key be the first."""
        lost, self._loop.mailbox.lost = self._loop.mailbox.lost, []
        for request in lost:
            for waiting in self._loop.answers.settle(request, None):
                self.accept(waiting)

    def _answered_before(self, request: Request) -> bool:
        found = self._loop.answers.meet(request)
        if isinstance(found, bool):
            return found
        if request.peer is not None:
            request.peer.send([m.REPLY, request.id, *found])
        return True

    def _cancel(self, peer: Peer, id: int) -> None:
        running = peer.running.get(id)
        if running is None:
            self._loop.mailbox.cancel(peer, id)
            return
        running.cancelled = True
        if running.cancel is not None:
            running.cancel()

    def drop(self, peer: Peer) -> None:
        """A client is gone: forget what it has queued, cancel what can be cancelled."""
        self._loop.channels.remove(peer)
        self._loop.mailbox.drop_peer(peer)
        for id in tuple(peer.running):
            self._cancel(peer, id)
