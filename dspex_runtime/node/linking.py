"""Links between living things of one runtime, and the delivery of exit signals. Who is linked and what a signal does: `core.links`.

A link binds one incarnation of a child, or a client's connection, to another. Never decides about restarts: what a signal ends
is an ended process like any other, for its supervisor too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias

from dspex_runtime.core.links import Dies, Ignored, LinkTable, Message, Receiver, Signal, Stops, effect
from dspex_runtime.core.names import ROOT
from dspex_runtime.errors import NoProcessError
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.node.registry import Record, Registry
from dspex_runtime.types import Exit, Kind

if TYPE_CHECKING:
    from dspex_runtime.node.module_process import ModuleProcess
    from dspex_runtime.node.session import Session

# How long whoever calls exit() waits until its receiver, which may be held up in C code, has it in its mailbox.
TAKEN_WITHIN_S: Final = 2.0


class ProcessId(NamedTuple):
    """One incarnation of a module, a server or a supervisor."""

    id: str
    incarnation: int


Endpoint: TypeAlias = "ProcessId | Session"


class Tree(Protocol):
    """What signals need of the supervision tree."""

    def alive(self, record: Record) -> bool:
        """Whether its newest incarnation lives, starting and stopping included."""
        ...

    def root(self) -> int:
        """Which incarnation of the root supervisor lives; 0 when none does."""
        ...

    def kill(self, record: Record, reason: ExitReason, sender: str) -> None:
        """End it at once; `reason` is what its end will be called."""
        ...

    def end(self, record: Record, reason: ExitReason, sender: str) -> None:
        """End it in order with this reason, by force when its shutdown time is over."""
        ...


class Linking:
    """All links of a runtime."""

    def __init__(self, registry: Registry, tree: Callable[[], Tree | None]) -> None:
        self._registry = registry
        self._tree = tree
        self._table: LinkTable[Endpoint] = LinkTable()
        # Under which numbers a client is told of the end of what it is linked with: one for each `Monitor` it got.
        self._refs: dict[Session, dict[ProcessId, list[int]]] = {}

    def __len__(self) -> int:
        return len(self._table)

    def find(self, id: str) -> ProcessId:
        """Return the newest incarnation of a child, or of the root; of what does not exist incarnation 0, which never lives."""
        tree = self._tree()
        if id == ROOT:
            return ProcessId(ROOT, tree.root() if tree is not None else 0)
        try:
            record = self._registry.resolve(id)
        except NoProcessError:
            return ProcessId(id, 0)
        return ProcessId(record.id, record.incarnation)

    def link(self, a: Endpoint, b: Endpoint) -> None:
        """Link two, for good or until one ends. With what does not live any more the other gets the signal "noproc"."""
        dead = [one for one in (a, b) if not self.alive(one)]
        if not dead:
            self._table.link(a, b)
        elif len(dead) == 1:
            self.deliver(Signal(dead[0], b if dead[0] == a else a, "noproc"))

    def link_client(self, session: Session, other: ProcessId, ref: int) -> None:
        """Link a client's connection with a child; the child's end is told under `ref`."""
        self._refs.setdefault(session, {}).setdefault(other, []).append(ref)
        self.link(session, other)

    def unlink(self, a: Endpoint, b: Endpoint) -> bool:
        """Remove a link; returns whether there was one. Neither learns of the other's end through it any more."""
        for client, other in ((a, b), (b, a)):
            if not isinstance(client, ProcessId) and isinstance(other, ProcessId):
                self._take_refs(client, other)
        return self._table.unlink(a, b)

    def drop_ref(self, session: Session, ref: int) -> bool:
        """Give up one of a client's numbers, the last of a pair with its link; returns whether it was in use."""
        for other, refs in self._refs.get(session, {}).items():
            if ref in refs:
                refs.remove(ref)
                if not refs:
                    self.unlink(session, other)
                return True
        return False

    def exited(self, endpoint: Endpoint, reason: ExitReason) -> None:
        """A process or a client's connection ended: signal whom it was linked with."""
        if not isinstance(endpoint, ProcessId):
            self._refs.pop(endpoint, None)
        for signal in self._table.exited(endpoint, reason):
            self.deliver(signal)

    def exit(self, sender: Endpoint, receiver: ProcessId, reason: ExitReason, taken: Callable[[], None]) -> None:
        """Deliver a signal that was sent; `taken` is called once, when what its sender sends from then on comes behind it."""
        self._signal(receiver, sender, reason, taken)

    def deliver(self, signal: Signal[Endpoint]) -> None:
        """Let the signal of a link do what it does; nothing where its receiver is gone."""
        receiver, sender = signal.receiver, signal.sender
        if isinstance(receiver, ProcessId):
            self._signal(receiver, sender, signal.reason)
        elif isinstance(sender, ProcessId):
            for ref in self._take_refs(receiver, sender):
                receiver.down(ref, sender.id, sender.incarnation, signal.reason)

    def _signal(self, receiver: ProcessId, sender: Endpoint, reason: ExitReason, taken: Callable[[], None] | None = None) -> None:
        """`taken`: it is no link's signal, and who sent it waits."""
        living = self._living(receiver)
        if living is None:
            if taken is not None:
                taken()
            return
        record, tree = living
        who = sender if isinstance(sender, ProcessId) else ProcessId(sender.label, 0)
        launch = record.spec.launch
        trap_exit = launch is None or launch.trap_exit
        what = effect(reason, _kind(record), trap_exit=trap_exit, via_link=taken is None, from_self=receiver == sender)
        if taken is not None and isinstance(what, Message):
            assert record.process is not None
            _tell(record.process, Exit(who.id, who.incarnation, reason), taken)
            return
        if taken is not None:
            taken()
        match what:
            case Ignored():
                pass
            case Message():
                assert record.process is not None
                record.process.message(Exit(who.id, who.incarnation, reason))
            case Stops(reason):
                tree.end(record, reason, who.id)
            case Dies(reason):
                tree.kill(record, reason, who.id)

    def alive(self, endpoint: Endpoint) -> bool:
        """Return whether an endpoint lives; whoever has a connection does."""
        if not isinstance(endpoint, ProcessId):
            return True
        if endpoint.id == ROOT:
            tree = self._tree()
            return tree is not None and 0 < endpoint.incarnation == tree.root()
        return self._living(endpoint) is not None

    def _living(self, process: ProcessId) -> tuple[Record, Tree] | None:
        """Return the record of an incarnation that lives, and the tree that it lives in; the root has none."""
        record, tree = self._registry.get(process.id), self._tree()
        if record is None or tree is None or record.incarnation != process.incarnation or not tree.alive(record):
            return None
        return record, tree

    def _take_refs(self, session: Session, other: ProcessId) -> list[int]:
        of_session = self._refs.get(session, {})
        refs = of_session.pop(other, [])
        if not of_session:
            self._refs.pop(session, None)
        return refs


def _tell(process: ModuleProcess, message: Exit, taken: Callable[[], None]) -> None:
    """Put a signal into a mailbox and say when it is there: the pipes of its sender go past us."""
    if process.serving:
        process.request("signal", {"message": message}, TAKEN_WITHIN_S, lambda _value, _fault: taken())
    else:
        process.message(message)  # nobody has a pipe to it yet, or it takes nothing in any more
        taken()


def _kind(record: Record) -> Receiver:
    if record.process is None:
        return Receiver.SUPERVISOR
    return Receiver.SERVER if record.process.kind is Kind.SERVER else Receiver.MODULE
