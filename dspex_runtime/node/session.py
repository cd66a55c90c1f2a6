"""One connected client: its hello, its requests, what it follows. Whatever it held goes when its connection ends."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from dspex_runtime.core.keys import show
from dspex_runtime.errors import CallTimeoutError, ConfigError, DspexError, NoProcessError, ProtocolError, UnserialisableError
from dspex_runtime.node.event_loop import Timer
from dspex_runtime.node.peer import PLAIN, Peer
from dspex_runtime.types import Kind
from dspex_runtime.wire.faults import to_fault
from dspex_runtime.wire.messages import (
    BYE,
    CANCEL,
    CHANNEL,
    CONTROL,
    DOWN,
    EVENT,
    FAULT,
    HELLO,
    PARAM,
    PROTOCOL,
    REFUSED,
    REPLY,
    SUBSCRIBE,
    Message,
    accepts,
)

if TYPE_CHECKING:
    from dspex_runtime.node.linking import Endpoint
    from dspex_runtime.node.node import Node

MAX_TOLD_BYTES: Final = 2**20  # not yet read by a client: what is only told on the way is left out then


class Asker(Protocol):
    """Whoever requests come from: a client (`Session`) or a module (`ModuleSession`). Hashable, by identity."""

    def __hash__(self) -> int: ...

    node: Node
    open_requests: dict[int, Responder]

    @property
    def owner(self) -> bool:
        """Whether its end stops the tree."""
        ...

    @property
    def peer(self) -> Peer:
        """Where answers go."""
        ...

    @property
    def endpoint(self) -> Endpoint:
        """What it is to links."""
        ...

    def down(self, ref: int, id: str, incarnation: int, reason: Any) -> None:
        """Deliver a monitor's notice."""
        ...


def send_fault(peer: Peer, request: int, error: BaseException) -> None:
    """Answer a request with an error."""
    error.__traceback__ = error.__context__ = None  # where in the runtime it was raised is of no use to a client
    peer.send([FAULT, request, to_fault(error, id=getattr(error, "id", None), incarnation=None, codec=PLAIN)])


@dataclass(slots=True, eq=False)
class Responder:
    """The answer to one request: used once, later uses and a vanished client are ignored."""

    session: Asker
    request: int
    timer: Timer | None = None
    on_done: Callable[[], None] | None = None  #: whoever waits to answer it forgets it
    done: bool = False

    def reply(self, value: Any) -> None:
        """Answer with a value; with an error where it cannot be sent (too large, nested too deep)."""
        if self._finish():
            try:
                self.session.peer.send([REPLY, self.request, value])
            except UnserialisableError as exc:
                send_fault(self.session.peer, self.request, exc)

    def give(self, info: dict[str, Any], fd: int) -> None:
        """Answer with a descriptor, which is given away."""
        if self._finish():
            self.session.peer.send([PARAM, self.request, info], (fd,))
        else:
            os.close(fd)

    def tell(self, payload: dict[str, Any]) -> None:
        """Tell a client that waits how it goes; one that does not read is left to wait."""
        if not self.done and self.session.peer.backlog_bytes < MAX_TOLD_BYTES:
            self.session.peer.send([EVENT, self.request, payload])

    def fail(self, error: BaseException) -> None:
        """Answer with an error."""
        if self._finish():
            send_fault(self.session.peer, self.request, error)

    def fault(self, fault: dict[str, Any]) -> None:
        """Answer with an error that came as data."""
        if self._finish():
            self.session.peer.send([FAULT, self.request, fault])

    def give_up_after(self, timeout_s: float | None, message: str) -> None:
        """Answer with CallTimeoutError unless something else does within `timeout_s`."""
        if timeout_s is not None:
            loop = self.session.node.loop
            self.timer = loop.call_later(timeout_s, lambda: self.cancel(CallTimeoutError(message)))

    def cancel(self, error: BaseException | None = None) -> None:
        """Stop waiting; with an error the client is told."""
        if error is not None:
            self.fail(error)
        else:
            self._finish()

    def _finish(self) -> bool:
        if self.done:
            return False
        self.done = True
        if self.timer is not None:
            self.timer.cancel()
        if self.session.open_requests.get(self.request) is self:  # not another one under the same number
            del self.session.open_requests[self.request]
        if self.on_done is not None:
            self.on_done()
        return True


def serve(session: Asker, request: int, op: str, args: dict[str, Any]) -> None:
    """Carry out a control request; whatever is wrong with it, it is answered."""
    responder = Responder(session, request)
    session.open_requests[request] = responder
    try:
        session.node.operate(op, args, responder)
    except DspexError as exc:
        responder.fail(exc)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as exc:
        responder.fail(DspexError(f"malformed request {op!r}: {type(exc).__name__}: {exc}"))
    except Exception as exc:
        responder.fail(DspexError(f"the runtime failed at {op!r}: {type(exc).__name__}: {exc}", hint="see its runtime.log"))
        raise  # a bug of ours: the loop logs it; whoever asked must not wait for ever because of it


def cancel_all(session: Asker) -> None:
    """Whoever asked is gone: stop waiting for what it asked."""
    for responder in list(session.open_requests.values()):
        responder.cancel()


class Session:
    """A client connection. `owner` is the connection whose end stops the tree."""

    def __init__(self, node: Node, peer_of: Callable[[Session], Peer], *, owner: bool = False) -> None:
        self.node = node
        self.owner = owner
        self.open_requests: dict[int, Responder] = {}
        self.label = "client"  #: what exit signals call it
        self.left = False  #: it said goodbye
        self._greeted = False
        self.peer = peer_of(self)

    @property
    def endpoint(self) -> Endpoint:
        """Itself: a link of a client lasts as long as its connection."""
        return self

    # -- messages ---------------------------------------------------------------------------------------------------

    def message(self, peer: Peer, message: Message) -> None:
        """Handle one message of the client."""
        if not self._greeted:
            self._greet(message)
            return
        match message:
            case [int(kind), int(request), str(op), dict() as args] if kind == CONTROL:
                serve(self, request, op, args)
            case [int(kind), int(request), str(id), int(after), (float() | None) as deadline] if kind == CHANNEL and (
                deadline == deadline  # not NaN
            ):
                self._channel(request, id, after, deadline)
            case [int(kind), int(request), str(topic), dict() as args] if kind == SUBSCRIBE:
                self._subscribe(request, topic, args)
            case [int(kind), int(request)] if kind == CANCEL:
                self._cancel(request)
            case [int(kind), 0, "normal"] if kind == BYE:
                self.left = True
            case [int(kind), int(request), *_] if kind in (CONTROL, CHANNEL, SUBSCRIBE):
                # Whoever asks is told: a connection, and with it a tree, must not end because of one wrong argument.
                send_fault(peer, request, ConfigError(f"malformed request: {show(message[2:], 200)}"))
            case _:
                peer.close(ProtocolError(f"illegal message from a client: {show(message, 200)}"))

    def _greet(self, message: Message) -> None:
        match message:
            case [int(kind), 0, dict() as hello] if kind == HELLO and accepts(hello.get("protocol")):
                self._greeted = True
                self.label = f"client#{hello.get('pid')}"
                facts = {"protocol": list(PROTOCOL), "version": self.node.version, "name": self.node.name, "pid": os.getpid()}
                self.peer.send([HELLO, 0, facts])
            case [int(kind), 0, dict() as hello] if kind == HELLO:
                text = (
                    f"this runtime (version {self.node.version}) speaks protocol {PROTOCOL[0]} to {PROTOCOL[1]}, "
                    f"the client speaks {hello.get('protocol')}"
                )
                self.peer.send([REFUSED, 0, {"message": text, "protocol": list(PROTOCOL)}])
                self.node.loop.call_soon(self.peer.close)
            case _:
                self.peer.close(ProtocolError("the first message of a client must be its hello"))

    def _subscribe(self, request: int, topic: str, args: dict[str, Any]) -> None:
        since, follow = args.get("since"), args.get("follow", True)
        try:
            if topic == "params":
                self.node.subscriptions.subscribe(self.peer, request, args)
                return
            if topic != "events":
                raise DspexError(f"unknown topic {topic!r}; there are 'events' and 'params'")
            if type(since) not in (int, type(None)) or type(follow) is not bool:
                wanted = "'since' is the number of an event, 'follow' true or false"
                raise ConfigError(f"malformed request 'events': {wanted}; got {show(args, 200)}")
            self.node.reports.follow(self.peer, request, since, self.node.snapshot, on=follow)
        except DspexError as exc:  # also where the children's metadata do not fit a frame
            send_fault(self.peer, request, exc)

    def _channel(self, request: int, id: str, after: int, deadline: float | None) -> None:
        group = self.node.registry.group(id)
        if group is not None:
            self.node.replicas.pipe(self, request, group, deadline)
            return
        try:
            record = self.node.registry.resolve(id)
        except DspexError as exc:
            send_fault(self.peer, request, exc)
            return
        if record.spec.kind is Kind.SUPERVISOR:
            send_fault(self.peer, request, NoProcessError(f"{record.id!r} is a supervisor: it takes no calls", id=record.id))
            return
        self.node.broker.ask(self.peer, request, record, after, deadline)

    def _cancel(self, request: int) -> None:
        if request in self.open_requests:
            self.open_requests[request].cancel()
        self.node.broker.forget(self.peer, request)
        self.node.reports.unfollow(self.peer, request)
        self.node.subscriptions.unfollow(self.peer, request)

    def down(self, ref: int, id: str, incarnation: int, reason: Any) -> None:
        """Deliver a monitor's notice."""
        self.peer.send([DOWN, ref, id, incarnation, reason])

    def closed(self, peer: Peer, error: Exception | None) -> None:
        """The connection ended, however: release what the client held."""
        cancel_all(self)
        self.node.session_closed(self, peer, error)
