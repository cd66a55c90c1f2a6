"""What arrives on data channels: every frame of a client becomes a queued request, a refusal, or news for one that runs.

Owns the reading, not the order: a client may have several pipes (its threads, its event loops), and what one thread of it sends
over two of them is to run in the order in which it was sent: see `Intake.look` and `send_order`.

Runs on whichever thread reads at the moment, always under the loop's lock. Runs no user code. Writes of parameters are not
queued (`param_service`), so they are made while the module is busy, too.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.errors import ProtocolError
from dspex_runtime.host.deadlock import comes_back
from dspex_runtime.host.deadlock_refusal import refuse_deadlocked
from dspex_runtime.host.mailbox import OF_PARAMETERS, Request
from dspex_runtime.host.peer import Peer
from dspex_runtime.host.send_order import SendOrder
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.codec import UndecodableError

if TYPE_CHECKING:
    from dspex_runtime.host.loop_state import LoopState

log = logging.getLogger("dspex_runtime.host")

# How often what is left of a message that had come in part is read on: more bytes than a pipe holds.
MAX_READS_OF_A_PIPE: Final = 16


class Intake:
    """Reads channels into the mailbox.

    Args:
        loop: The loop.
        ordered: Whether requests run one by one, so that their order means something.
    """

    def __init__(self, loop: LoopState, *, ordered: bool = False) -> None:
        self._loop = loop
        self._ordered = ordered
        self.order = SendOrder()
        self.fresh: list[Request] = []  # queued by the read in progress, not yet announced as waiting; `Request.fresh` says so

    def read(self, peers: list[Peer]) -> None:
        """Take in what these channels hold."""
        for peer in peers:
            more = True
            while more and peer.channel.fileno() >= 0:
                more = self._read_once(peer)

    def look(self, settled: Sequence[Request] = ()) -> bool:
        """Take in what all channels hold, and put each client's requests in their order. False when there was nothing.

        What arrived over one pipe was written after what the same thread had written to another: that is in its pipe by then.
        So one look at all of them, after a request was read, finds whatever goes before it.

        Args:
            settled: Those that had come early when the last pipe was added that was announced by then: they are it no more.
        """
        ready = looked = self._loop.channels.ready()
        for _ in range(MAX_READS_OF_A_PIPE):
            self.read(looked)
            cut = [peer for peer in looked if peer.channel.pending]
            if not cut or not self._ordered:
                break
            looked = [peer for peer in self._loop.channels.ready() if peer in cut]
        if not self.order.is_kept():
            self._loop.mailbox.put_in_order(self.order.early)
        self.order.settle(settled)
        return bool(ready)

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
            _, id, method, args, kwargs, deadline, key, credit, chain = message
            if type(id) is not int or not (deadline is None or type(deadline) is float):
                raise ProtocolError(f"a call's number and deadline are an int and a float, not {id!r:.50} and {deadline!r:.50}")
            if type(method) is not str or type(args) is not list or type(kwargs) is not dict:
                raise _illegal(method, args, kwargs)
            if chain is not None and type(chain) is not list:
                raise ProtocolError(f"the chain of a call is a list, or nil; not {chain!r:.50}")
            request = Request(peer, id, method, args, kwargs, deadline, key, credit, chain)
            if method in OF_PARAMETERS and self._serve_now(request):
                if self._ordered:
                    self.order.pass_by(peer, id)
                return
            if self._ordered:
                self.order.place(peer, request)
            self.accept(request)
        elif not peer.greeted:
            self._greet(peer, message)
        elif kind == m.CAST:
            _, number, method, args, kwargs = message
            if type(method) is not str or type(args) is not list or type(kwargs) is not dict or type(number) is not int:
                raise _illegal(method, args, kwargs)
            request = Request(peer, 0, method, args, kwargs)
            request.number = number
            if self._ordered:
                self.order.place(peer, request)
            self.accept(request)
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
        if self._ordered:
            self.order.joined(peer)

    def _serve_now(self, request: Request) -> bool:
        """Serve a write of a parameter that need not wait for a call thread; False: queue it like any request."""
        service = self._loop.calls.parameters()
        return service is not None and not self._loop.refusing and service.serve(request)

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
        # Only now: what leaves unbegun from here on (`lost`) is the first of its key, which nobody else queued or runs.
        if loop.dependencies.error is not None and request.method not in OF_PARAMETERS:
            loop.dependencies.refuse(request)
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
        if request.early:
            self.order.early.append(request)
        if request.chain is not None and comes_back(loop.id, request.chain):
            refuse_deadlocked(loop)

    def accept_again(self) -> None:
        """The first request of a key left unbegun: let one of those who wait for the same key be the first."""
        mailbox = self._loop.mailbox
        while mailbox.lost:  # one that is refused in its turn leaves those that came to wait for it
            lost, mailbox.lost = mailbox.lost, []
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
            self._loop.deferred.given_up(peer, id)
            return
        running.give_up()

    def adopt(self, peers: Sequence[Peer], senders: Mapping[str, Sequence[int]], queued: Sequence[Request]) -> None:
        """Go on where another process was: with its clients' channels, their numbers, and what is in the mailbox already."""
        for peer in peers:
            self._loop.channels.add(peer)
        if self._ordered:
            self.order.adopt(senders, [request for request in queued if request.early])
            for peer in peers:
                if peer.greeted:
                    self.order.joined(peer)
        self.read([peer for peer in peers if peer.channel.pending])

    def drop(self, peer: Peer) -> None:
        """A client is gone: forget what it has queued, cancel what can be cancelled."""
        self._loop.channels.remove(peer)
        self._loop.mailbox.drop_peer(peer)
        self._loop.deferred.client_gone(peer)
        for id in tuple(peer.running):
            self._cancel(peer, id)
        self.order.left(peer)


def _illegal(method: Any, args: Any, kwargs: Any) -> ProtocolError:
    found = ", ".join(type(part).__name__ for part in (method, args, kwargs))
    return ProtocolError(f"a request has a method (str), args (list) and kwargs (dict), not {found}")
