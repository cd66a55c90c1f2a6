"""In which order a client sent what came over its several pipes, and which requests came ahead of something still on its way.

Owns what is known of each client: its pipes and the numbers it has used. Never reads a pipe and never touches the mailbox:
`intake` asks here while it does both. Touched under the loop's lock only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dspex_runtime.host.mailbox import Request
    from dspex_runtime.host.peer import Peer


class Sender:
    """One client: how many pipes of it are open, the highest number it has used, and whether a request of it is early."""

    __slots__ = ("early", "last", "pipes")

    def __init__(self) -> None:
        self.early = False
        self.last = 0
        self.pipes = 0


class SendOrder:
    """The order of all clients' requests.

    Attributes:
        early: Requests that came early (`Request.early`), those that may be queued still.
    """

    def __init__(self) -> None:
        self.early: list[Request] = []
        self._senders: dict[str, Sender] = {}

    def joined(self, peer: Peer) -> None:
        """A pipe of a client is open, and says whose it is."""
        peer.sender = self._senders.setdefault(peer.client, Sender())
        peer.sender.pipes += 1

    def left(self, peer: Peer) -> None:
        """A pipe is closed; with its last one a client is forgotten."""
        sender, peer.sender = peer.sender, None
        if sender is not None:
            sender.pipes -= 1
            if not sender.pipes:
                self._senders.pop(peer.client, None)

    def senders(self) -> dict[str, tuple[int, bool]]:
        """Return the last number of each client, and whether a request of it is early."""
        return {client: (sender.last, sender.early) for client, sender in self._senders.items()}

    def adopt(self, senders: Mapping[str, Sequence[int]], early: Iterable[Request]) -> None:
        """Go on with what `senders` was elsewhere, and what is early; their pipes are yet to join."""
        for client, (last, is_early) in senders.items():
            sender = self._senders.setdefault(client, Sender())
            sender.last, sender.early = last, bool(is_early)
        self.early += early

    def place(self, peer: Peer, request: Request) -> None:
        """Say whether something that was sent before a request may still be on its way.

        It may where its client has more pipes than this one, of which one may be so new that it is not watched yet: then
        a number is missing. And what comes behind an early one has to wait for that.
        """
        sender, number = peer.sender, request.number
        if sender is not None and number:
            request.early = sender.early = sender.early or sender.pipes > 1 or number != sender.last + 1
            sender.last = max(sender.last, number)

    def pass_by(self, peer: Peer, number: int) -> None:
        """A request was served without queueing: its number is used, and what may be missing before it still is."""
        sender = peer.sender
        if sender is not None and number:
            sender.early = sender.early or number != sender.last + 1
            sender.last = max(sender.last, number)

    def is_kept(self) -> bool:
        """Return whether each client's numbers rise among what came early."""
        last: dict[str, int] = {}
        for request in self.early:
            if request.number and request.peer is not None:
                client = request.peer.client
                if request.number < last.get(client, 0):
                    return False
                last[client] = request.number
        return True

    def settle(self, requests: Sequence[Request]) -> None:
        """These are early no more: nothing that was sent before them is still on its way."""
        for request in requests:
            request.early = False
            self._note(request, early=False)
        if self.early:
            self.early = [request for request in self.early if request.early]
            for request in self.early:
                self._note(request, early=True)

    def _note(self, request: Request, *, early: bool) -> None:
        sender = self._senders.get(request.peer.client) if request.peer is not None else None
        if sender is not None:
            sender.early = early
