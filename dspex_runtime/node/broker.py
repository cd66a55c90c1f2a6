"""Hands out direct pipes: a client asks for a module, both get one end, and the parent is out of the way.

A request for a module that is not ready is parked: it is answered by the next incarnation, by NoProcessError when none is
coming, or dropped when the client gives up or its deadline passes. One for a group is answered by any of its replicas; what its
answer says of the group is the caller's to give.
"""

from __future__ import annotations

import errno
import random
import resource
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.errors import CallTimeoutError, DspexError, NoProcessError
from dspex_runtime.exit_reason import describe
from dspex_runtime.node.event_loop import EventLoop, Timer
from dspex_runtime.node.groups import Group
from dspex_runtime.node.peer import Peer
from dspex_runtime.node.registry import Record
from dspex_runtime.osproc.channel import pair
from dspex_runtime.types import State
from dspex_runtime.wire.messages import BEGUN, CHANNEL

if TYPE_CHECKING:
    from dspex_runtime.node.module_process import ModuleProcess

# A client that lost its pipe to a live module (the module refused its bytes, say) is given another one after this long;
# in the usual case the death is known within a millisecond and the next incarnation answers.
SAME_INCARNATION_AFTER_S: Final = 1.0
AT_ONCE: Final = 0.0  # the deadline of a request that is not to be parked: its client has others to go to


@dataclass(slots=True, eq=False)
class Parked:
    """One request for a channel that waits."""

    peer: Peer
    request: int
    id: str
    after: int
    timer: Timer | None = None
    fallback: Timer | None = None
    facts: Callable[[Group], dict[str, Any]] | None = None  #: of a request for a group


class Broker:
    """Parks requests per full id and answers them when the registry says that something changed."""

    def __init__(self, loop: EventLoop, fault: Callable[[Peer, int, Exception], None]) -> None:
        self._loop = loop
        self._fault = fault
        self._parked: dict[str, list[Parked]] = {}

    def ask(self, peer: Peer, request: int, record: Record, after: int, deadline: float | None) -> None:
        """Answer now, or park and say so; see the module docstring."""
        if self._answer(peer, request, record, after):
            return
        if deadline == AT_ONCE:
            self._fault(peer, request, CallTimeoutError(f"{record.id!r} is {record.state}: it takes no calls now", id=record.id))
            return
        parked = Parked(peer, request, record.id, after)
        if deadline is not None:
            # The client times out by itself; this only keeps the table from holding requests of nobody.
            parked.timer = self._loop.call_at(deadline + 1.0, lambda: self._drop(parked))
        if record.state is State.READY:
            parked.fallback = self._loop.call_later(SAME_INCARNATION_AFTER_S, lambda: self._same_incarnation(parked, record))
        self._parked.setdefault(record.id, []).append(parked)
        peer.send([BEGUN, request, False])

    def ask_group(
        self, peer: Peer, request: int, group: Group, deadline: float | None, facts: Callable[[Group], dict[str, Any]]
    ) -> None:
        """Answer with a pipe to one of the replicas and with `facts` of the group; or park and say so."""
        if self._answer_group(peer, request, group, facts):
            return
        parked = Parked(peer, request, group.id, 0, facts=facts)
        if deadline is not None:
            parked.timer = self._loop.call_at(deadline + 1.0, lambda: self._drop(parked))
        self._parked.setdefault(group.id, []).append(parked)
        peer.send([BEGUN, request, False])

    def group_changed(self, group: Group, facts: Callable[[Group], dict[str, Any]]) -> None:
        """A replica came or went: answer whoever waits for the group, or has waited for what it has taken the place of."""
        for parked in list(self._parked.get(group.id, ())):
            if self._answer_group(parked.peer, parked.request, group, facts):
                self._drop(parked)

    def changed(self, record: Record) -> None:
        """A record changed: answer whoever waits for it and can be answered."""
        for parked in list(self._parked.get(record.id, ())):
            if parked.facts is None and self._answer(parked.peer, parked.request, record, parked.after):
                self._drop(parked)

    def forget(self, peer: Peer, request: int | None = None) -> None:
        """Drop one request of a client, or all of them."""
        for parked in [p for waiting in self._parked.values() for p in waiting if p.peer is peer]:
            if request in (None, parked.request):
                self._drop(parked)

    def _same_incarnation(self, parked: Parked, record: Record) -> None:
        if parked in self._parked.get(record.id, ()) and self._answer(parked.peer, parked.request, record, 0):
            self._drop(parked)

    def _drop(self, parked: Parked) -> None:
        waiting = self._parked.get(parked.id, [])
        if parked in waiting:
            waiting.remove(parked)
        if not waiting:
            self._parked.pop(parked.id, None)
        for timer in (parked.timer, parked.fallback):
            if timer is not None:
                timer.cancel()

    def _answer_group(self, peer: Peer, request: int, group: Group, facts: Callable[[Group], dict[str, Any]]) -> bool:
        if group.gone:
            self._fault(peer, request, no_replica(group))
            return True
        there = group.routable
        return bool(there) and self._answer(peer, request, random.choice(there), 0, {"group": facts(group)})

    def _answer(self, peer: Peer, request: int, record: Record, after: int, more: dict[str, Any] | None = None) -> bool:
        if record.gone:
            self._fault(peer, request, no_process(record))
            return True
        if record.state is not State.READY or record.incarnation <= after or record.process is None or not record.process.serving:
            return False
        info = {**pipe_facts(record, record.process), "incarnation": record.incarnation, "kind": record.process.kind.value}
        try:
            ours, theirs = (sock.detach() for sock in pair())
        except OSError as exc:
            self._fault(peer, request, no_descriptors(exc, record.id))
            return True
        record.process.send_channel({"client": str(id(peer)), "mux": False}, theirs)
        peer.send([CHANNEL, request, info if more is None else {**info, **more}], (ours,))
        return True


def pipe_facts(record: Record, process: ModuleProcess) -> dict[str, Any]:
    """Return what a client that has a pipe goes by."""
    launch = record.spec.launch
    call_timeout_s = None if launch is None else launch.limits.call_timeout_s
    return {"id": record.id, "call_timeout_s": call_timeout_s, "idempotent": process.idempotent}


def no_process(record: Record) -> NoProcessError:
    """Return the error for a call to a child that is down and stays down."""
    how = {State.STOPPED: "was stopped", State.EXITED: "has exited", State.FAILED: "failed: its supervisor gave up"}[record.state]
    last = f" (last exit: {describe(record.last_exit)})" if record.last_exit is not None else ""
    return NoProcessError(
        f"{record.id!r} {how}{last}",
        id=record.id,
        incarnation=record.incarnation,
        reason=record.last_exit or "noproc",
        hint=f"`dspex start {record.id}` brings it back",
    )


def no_replica(group: Group) -> NoProcessError:
    """Return the error for a call to a group that is down and stays down."""
    last = group.lowest()
    if last is not None:
        error = no_process(last)
        error.message = f"all {len(group.by_number)} replicas of {group.id!r} are down: {error.message}"
        error.id, error.hint = group.id, f"`dspex start {group.id}` brings them back"
        return error
    return NoProcessError(f"{group.id!r} has no replicas", id=group.id, hint=f"`dspex scale {group.id}=1` starts one")


def no_descriptors(exc: OSError, id: str) -> DspexError:
    """Return the error for a pipe that could not be made."""
    if exc.errno in (errno.EMFILE, errno.ENFILE):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return DspexError(
            f"cannot open a pipe to {id!r}: the runtime has reached its limit of {limit} open files",
            id=id,
            hint="raise it with `ulimit -n` before `dspex up`; `dspex doctor` shows what is needed",
        )
    return DspexError(f"cannot open a pipe to {id!r}: {exc}", id=id)
