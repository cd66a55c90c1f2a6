"""A module that asks: its requests come over its control pipe and are carried out by the same operations as a client's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dspex_runtime.node.linking import ProcessId
from dspex_runtime.node.peer import Peer
from dspex_runtime.node.session import Responder, cancel_all, serve
from dspex_runtime.types import Down
from dspex_runtime.wire.messages import CANCEL, CONTROL, Message

if TYPE_CHECKING:
    from dspex_runtime.node.module_process import ModuleProcess
    from dspex_runtime.node.node import Node


class ModuleSession:
    """One incarnation's side of what it asks and holds. It is served until its process has ended, also while it stops.

    `instead` is asked first, and says whether it has answered: of one that does not speak for its incarnation (`swapping.asking`).
    """

    owner = False

    def __init__(self, node: Node, process: ModuleProcess) -> None:
        self.node = node
        self.process = process
        self.endpoint = ProcessId(process.id, process.incarnation)
        self.open_requests: dict[int, Responder] = {}
        self.instead: Callable[[int, str, dict[str, Any]], bool] | None = None

    def __repr__(self) -> str:
        return f"<session of {self.endpoint.id} {self.endpoint.incarnation}>"

    @property
    def peer(self) -> Peer:
        """Where answers go."""
        return self.process.peer

    def message(self, message: Message) -> None:
        """Handle a request, or the word that one is given up. Their numbers are negative: they never meet the runtime's own."""
        match message:
            case [int(kind), int(request), str(op), dict() as args] if kind == CONTROL:
                if self.instead is None or not self.instead(request, op, args):
                    serve(self, request, op, args)
            case [int(kind), int(request)] if kind == CANCEL:
                responder = self.open_requests.get(request)
                if responder is not None:
                    responder.cancel()
            case _:
                self.process.illegal(message)

    def down(self, ref: int, id: str, incarnation: int, reason: Any) -> None:
        """Deliver a monitor's notice into the mailbox."""
        self.deliver(Down(id, incarnation, reason, ref))

    def deliver(self, message: Any) -> None:
        """Put a message into its mailbox."""
        self.process.message(message)

    def closed(self) -> None:
        """The process ended: nobody waits for its answers."""
        cancel_all(self)
