"""What moves of the loop: clients and their channels, the mailbox, timers, calls that are owed an answer, records and counters.

    ["loop", {"part": "facts", ...}]                    flags, counters, and the calls that are kept, by columns
    ["loop", {"part": PART, "items": [...]}]            a batch of one of the others, in order; see `Freight.take`
    ["channel", {"items": [...]}] + a descriptor each   a batch of client channels, with what was read of half a frame

Values of users are packed one by one, so that what cannot be sent, or not be rebuilt, is named. In a request its peer is the place
of that among the channels; the name of one that is gone, of which only casts are left; None: the process itself.

`pack` runs on the main thread of a loop that is sealed. A `Freight` keeps what came; its `adopt` gives that, in one step, to a loop
that has served nobody yet. What does not move: requests of the parent, which are given back (`leaving`); and what only this very
process has, threads of the user's and what they hold.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.errors import ProtocolError, SwapError, UnserialisableError
from dspex_runtime.host import context
from dspex_runtime.host.change_mail import ChangeMail
from dspex_runtime.host.mailbox import Request
from dspex_runtime.host.moving.watched import pack_debug, unpack_debug
from dspex_runtime.host.peer import Peer
from dspex_runtime.host.send_order import SendOrder
from dspex_runtime.host.timers import Row, Timer, Timers
from dspex_runtime.osproc.channel import Channel
from dspex_runtime.wire.codec import UndecodableError

if TYPE_CHECKING:
    from dspex_runtime.host.moving.stream import Frame, Outgoing
    from dspex_runtime.host.server_loop import ServerLoop
    from dspex_runtime.wire.codec import Codec

__all__ = ["CHANNEL", "LOOP", "Freight", "forget", "pack"]

LOOP: Final = "loop"
CHANNEL: Final = "channel"

BATCH_ITEMS: Final = 250  # channels, too: as many descriptors as go at once
BATCH_BYTES: Final = 262144


def pack(loop: ServerLoop, codec: Codec, stream: Outgoing) -> dict[str, int]:
    """Send everything; return how many channels, queued requests and timers that was. The state was packed before.

    Raises:
        SwapError: Something cannot be sent, or the stream is broken.
    """
    with loop.lock:
        # Encoding runs users' code (__reduce__), which may come back to us: not under the lock. Nothing here changes any more.
        peers = [p for p in loop.channels.peers.values() if p.channel.fileno() >= 0 and p.channel.unread is not None]
        queued, timers = loop.mailbox.requests(), loop.timers.pending()
        done, waiting = loop.answers.record()
        calls, new = loop.tally.metrics.kept()
    packing = _Packing(codec, {peer: place for place, peer in enumerate(peers)})
    parts: dict[str, Iterable[tuple[Any, int]]] = {
        "mailbox": packing.requests(queued),
        "timers": packing.timers(timers),
        "answers": ((list(each), len(each[1])) for each in done),
        "waiting": (([key, [item for item, _ in packing.requests(others)]], 0) for key, others in waiting.items()),
        "senders": (([client, *row], 0) for client, row in loop.intake.order.senders().items()),
    }
    sent = {part: _send_batches(stream, part, items) for part, items in parts.items()}
    debug = pack_debug(context.Process.server, codec)
    last, owed = loop.deferred.calls()  # after all that was pickled: what left with it has its number now
    _send_batches(stream, "owed", packing.owed(owed))
    changes = context.Process.changes
    facts = {
        "suspended": loop._suspended,
        "refusing": loop.refusing,
        "idle_due": loop._idle_due,
        "begun": loop.tally.begun,
        "totals": loop.tally.metrics.totals(),
        "executions": [list(column) for column in zip(*calls, strict=True)],  # 1000 rows, one by one: 0.5 ms here, 1 ms there
        "new": new,
        "own_client": loop.mailbox.own_client,
        "last": last,
        "methods": sorted({request.method for request in (*queued, *owed.values()) if request.key is not None}),
        "changes": changes.contents() if changes is not None else None,
        "debug": debug,
    }
    stream.send(LOOP, {"part": "facts", **facts})
    _send_channels(stream, peers)
    return {"channels": len(peers), "queued": sent["mailbox"], "timers": sent["timers"]}


def forget(loop: ServerLoop) -> None:
    """Another process has it all: close the channels without a word, run nothing of it, write none of it down. With the lock."""
    loop.refusing = True
    loop.channels.let_go()
    loop.mailbox.clear()
    loop.mailbox.lost.clear()
    loop.intake.fresh.clear()
    loop.intake.order = SendOrder()
    loop.timers = Timers()
    loop._idle_due = None
    loop.tally.queued(0)
    loop.tally.metrics.take_new()


class _Packing:
    """Turns what moves into plain data, with its size in bytes as far as it may be large."""

    def __init__(self, codec: Codec, places: Mapping[Peer, int]) -> None:
        self._codec = codec
        self._places = places

    def requests(self, requests: Iterable[Request]) -> Iterator[tuple[list[Any], int]]:
        for request in requests:
            if self._moves(request):
                body = self._bytes(_shown(request), [request.args, request.kwargs])
                yield self._request(request, body), len(body)

    def owed(self, calls: Mapping[int, Request]) -> Iterator[tuple[list[Any], int]]:
        for number, request in calls.items():
            if self._moves(request):
                yield [number, self._request(request, b"")], 0  # its callback has had what it asks

    def timers(self, timers: Iterable[Timer]) -> Iterator[tuple[list[Any], int]]:
        for timer in timers:
            body = self._bytes("the message of a timer", [timer.message])
            yield [timer.due, timer.row.name, timer.number, body], len(body)

    def _moves(self, request: Request) -> bool:
        # A call without a channel is the parent's, which asks again; of a client that is gone only casts are left.
        return request.peer is None or request.peer in self._places or not request.id

    def _request(self, request: Request, body: bytes) -> list[Any]:
        peer = request.peer
        place = None if peer is None else self._places.get(peer, peer.client)
        return [
            place, request.id, request.number, request.method, body, request.deadline, request.key, request.credit, request.early,
            request.waited, request.chain,
        ]  # fmt: skip

    def _bytes(self, what: str, value: list[Any]) -> bytes:
        try:
            return self._codec.pack(value)
        except UnserialisableError as exc:
            raise SwapError(f"{what} cannot be moved: {exc.message}", code="move") from exc


def _send_batches(stream: Outgoing, part: str, items: Iterable[tuple[Any, int]]) -> int:
    sent, batch, size = 0, [], 0
    for item, item_bytes in items:
        batch.append(item)
        sent, size = sent + 1, size + item_bytes
        if len(batch) == BATCH_ITEMS or size > BATCH_BYTES:
            stream.send(LOOP, {"part": part, "items": batch})
            batch, size = [], 0
    if batch:
        stream.send(LOOP, {"part": part, "items": batch})
    return sent


def _send_channels(stream: Outgoing, peers: list[Peer]) -> None:
    batch: list[Peer] = []
    size = 0
    for place, peer in enumerate(peers, 1):
        batch.append(peer)
        size += len(peer.channel.unread or b"")
        if len(batch) == BATCH_ITEMS or size > BATCH_BYTES or place == len(peers):
            items = [[each.client, each.mux, each.greeted, each.open, each.channel.unread] for each in batch]
            stream.send(CHANNEL, {"items": items}, [each.channel.fileno() for each in batch])
            batch, size = [], 0


class Freight:
    """What came of the old process's loop, before anybody uses it.

    Args:
        codec: Of the new process, which knows its classes.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._facts: dict[str, Any] | None = None
        self._peers: list[Peer] = []
        self._requests: list[tuple[Request, Any]] = []  # with their peers' places
        self._waiting: list[tuple[str, list[tuple[Request, Any]]]] = []
        self._owed: list[tuple[int, Request, Any]] = []
        self._timers: list[Timer] = []
        self._answers: list[tuple[str, bytes]] = []
        self._executions: list[Any] = []
        self._senders: dict[str, list[int]] = {}

    @property
    def counts(self) -> dict[str, int]:
        """How many channels, queued requests and timers there are."""
        return {"channels": len(self._peers), "queued": len(self._requests), "timers": len(self._timers)}

    def take(self, frame: Frame) -> None:
        """Keep a frame of kind LOOP or CHANNEL; its descriptors are ours from now on.

        Raises:
            SwapError: "move": a value in it cannot be rebuilt by the new version; says which.
            ProtocolError: It is no such frame.
        """
        match frame.kind, frame.facts:
            case "channel", {"items": list(items)} if len(items) == len(frame.fds):
                self._take_channels(items, frame.fds)
            case "loop", {"part": "facts"}:
                self._facts = frame.facts
                self._executions = list(zip(*frame.facts["executions"], strict=True))
            case "loop", {"part": str(part), "items": list(items)}:
                for item in items:
                    self._take_item(part, item)
            case _:
                raise ProtocolError(f"the loop has no part {frame.facts.get('part')!r} in a frame of kind {frame.kind!r}")

    def _take_channels(self, items: list[Any], fds: list[int]) -> None:
        left = list(fds)
        try:
            for client, mux, greeted, is_open, unread in items:
                peer = Peer(Channel(socket.socket(fileno=left.pop(0)), self._codec), client=client, mux=mux)
                peer.greeted, peer.open = greeted, is_open
                peer.channel.put_back(unread)
                self._peers.append(peer)
        except BaseException:
            for fd in left:
                os.close(fd)
            raise

    def _take_item(self, part: str, item: Any) -> None:
        match part:
            case "mailbox":
                self._requests.append(self._request(item))
            case "timers":
                due, row, number, body = item
                (message,) = self._value("the message of a timer", body)
                self._timers.append(Timer(due, number, message, Row(row)))
            case "answers":
                self._answers.append((item[0], item[1]))
            case "waiting":
                self._waiting.append((item[0], [self._request(each) for each in item[1]]))
            case "senders":
                self._senders[item[0]] = item[1:]
            case "owed":
                self._owed.append((item[0], *self._request(item[1])))
            case _:
                raise ProtocolError(f"the loop has no part {part!r}")

    def _request(self, item: list[Any]) -> tuple[Request, Any]:
        place, id, number, method, body, deadline, key, credit, early, waited, chain = item
        request = Request(None, id, method, [], {}, deadline, key, credit, chain)
        request.number, request.early, request.waited = number, early, waited
        if body:
            request.args, request.kwargs = self._value(_shown(request), body)
        return request, place

    def _value(self, what: str, body: bytes) -> list[Any]:
        try:
            return self._codec.unpack(body)
        except UndecodableError as exc:
            raise SwapError(f"{what} cannot be taken over by the new version: {exc.message}", code="move") from exc

    def adopt(self, loop: ServerLoop, base: Mapping[str, Any]) -> None:
        """Give everything to the new process's loop, which begins to serve with it. Once; not on its main thread.

        Args:
            loop: It has served nobody but the parent.
            base: Figures of the incarnations before, and of this one until now; what is not among them is taken from what came.
        """
        facts = self._facts
        if facts is None:
            raise ProtocolError("nothing has come of the old process's loop")
        self._bind()
        if context.Process.assignment is not None:
            unpack_debug(facts["debug"], context.Process.server, self._codec, context.Process.assignment.id)
        with loop.lock:
            self._adopt(loop, facts, {**facts["totals"], **{key: value for key, value in base.items() if value is not None}})
        self._adopt_changes(loop, facts["changes"])
        loop.begin_to_serve()
        if context.Process.mail is not None:
            context.Process.mail.hand_to(loop)  # what `init` has sent, behind what came

    def _bind(self) -> None:
        """Give every request its peer."""
        gone: dict[str, Peer] = {}

        def peer_at(place: Any) -> Peer | None:
            if place is None:
                return None
            if isinstance(place, int):
                return self._peers[place]
            if place not in gone:
                gone[place] = _gone(place, self._codec)
            return gone[place]

        for request, place in self._requests:
            request.peer = peer_at(place)
        for _, request, place in self._owed:
            request.peer = peer_at(place)
        for _, others in self._waiting:
            for request, place in others:
                request.peer = peer_at(place)

    def _adopt(self, loop: ServerLoop, facts: Mapping[str, Any], base: Mapping[str, Any]) -> None:
        begun, limit = facts["begun"], loop._max_calls
        if limit is not None:
            begun = min(begun, limit - 1)  # the new version may have a lower one: it ends with the next call
        loop.tally.adopt(begun, base, self._executions, facts["new"])
        loop._suspended, loop.refusing, loop._idle_due = facts["suspended"], facts["refusing"], facts["idle_due"]
        loop._paused = loop._suspended
        loop.timers.adopt(self._timers)
        loop.deferred.adopt(facts["last"], {number: request for number, request, _ in self._owed})
        waiting = {key: [request for request, _ in others] for key, others in self._waiting}
        loop.answers.adopt(self._answers, waiting, facts["methods"])
        if loop.mailbox.own_client is None:
            loop.mailbox.own_client = facts["own_client"]
        queued = [request for request, _ in self._requests]
        for request in queued:
            loop.mailbox.put_own(request)  # it was taken in: there is room for it, whatever the new limit
        loop._queue_due()  # what is read from here on came later
        peers, self._peers = self._peers, []
        loop.intake.adopt(peers, self._senders, queued)
        loop._settle_queue(None)
        loop._wake_all()

    def _adopt_changes(self, loop: ServerLoop, contents: dict[str, Any] | None) -> None:
        if contents is None:
            return
        if context.Process.changes is None:
            context.Process.changes = ChangeMail(loop, self._codec)
        context.Process.changes.adopt(**contents)


def _shown(request: Request) -> str:
    if request.peer is None and not request.id:
        return f"a queued message ({request.method})"
    return f"the queued {'call' if request.id else 'cast'} of {request.method!r}"


def _gone(client: str, codec: Codec) -> Peer:
    """Return what stands for a client that is gone."""
    ours, theirs = socket.socketpair()
    theirs.close()
    peer = Peer(Channel(ours, codec), client=client)
    peer.open = False
    peer.channel.close()
    return peer
