"""Groups at work: who of the replicas may be called, who is told so, and what is done to a group one thing after the other.

    a replica serves -> it has what the others have (`sharing`) -> callers are sent to it -> whoever calls the group is told

A client that asks for a pipe to a group gets one to any replica, and is told from then on who they are; where each of its calls
goes it decides itself. Owns who is told, and the turns; never carries a call.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dspex_runtime.node.broker import pipe_facts
from dspex_runtime.node.groups import Group
from dspex_runtime.node.registry import Record
from dspex_runtime.node.scaling import Scaling
from dspex_runtime.node.session import Asker, Session
from dspex_runtime.node.sharing import Sharing
from dspex_runtime.wire.messages import EVENT

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node
    from dspex_runtime.node.swapping.rolling import Rolling

__all__ = ["Replicas"]

Facts: TypeAlias = dict[str, Any]
Work: TypeAlias = Callable[[Callable[[], None]], None]  # takes what it calls when it is done

NOBODY: Final[Facts] = {"call_timeout_s": None, "idempotent": []}


class Replicas:
    """See the module docstring."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._followers: dict[str, set[Session]] = {}
        self._told: dict[str, Facts] = {}
        self._latest: dict[str, Facts] = {}  #: what was last found of each group, told or not
        self._seq = 0
        self._turns: dict[str, deque[Work]] = {}
        self._rolling: dict[str, Rolling] = {}  #: swaps that are under way, by full id of the group
        self._waiting: list[tuple[Callable[[], bool], Callable[[], None]]] = []
        self.sharing = Sharing(node)
        self.scaling = Scaling(node)
        node.registry.on_change.append(self._changed)

    # -- who may be called ------------------------------------------------------------------------------------------

    def pipe(self, session: Session, request: int, group: Group, deadline: float | None) -> None:
        """Give a client a pipe to one of the replicas, and tell it from now on who they are."""
        self.follow(session, group)
        self._node.broker.ask_group(session.peer, request, group, deadline, self.facts)

    def follow(self, session: Asker, group: Group) -> None:
        """Have a client be told when others may be called than those that it knows of."""
        if isinstance(session, Session):
            self._followers.setdefault(group.id, set()).add(session)

    def facts(self, group: Group) -> Facts:
        """Return what a client that calls the group goes by; what it hears in another order it puts in that of `seq`."""
        there = [(record, record.process) for record in group.routable]
        about = next((pipe_facts(record, process) for record, process in there if process is not None), NOBODY)
        members = [[record.id, record.incarnation, process.slot] for record, process in there if process is not None]
        return self._numbered({**about, "id": group.id, "members": members, "shares": group.shares})

    def _numbered(self, facts: Facts) -> Facts:
        """Return facts with a `seq`: the last one where they are the same as then, a higher one where they are others."""
        latest = self._latest.get(facts["id"])
        if latest is None or {**facts, "seq": latest["seq"]} != latest:
            self._seq += 1
            latest = self._latest[facts["id"]] = {**facts, "seq": self._seq}
        return latest

    def changed(self, group: Group) -> None:
        """Something of a group is another: let in who has what the others have, and tell who follows it."""
        for record in group.records:
            if not group.serves(record):
                # It misses what is written meanwhile, and may be the same incarnation when it serves again: after a swap.
                group.joined.pop(record.id, None)
                self.sharing.leave(record.id)
            elif group.joined.get(record.id) != record.incarnation:
                self._let_in(group, record)
        if group.open:
            self._node.broker.group_changed(group, self.facts)
        self._tell(group.id, self.facts(group))
        self._node.waiters.changed(group)
        self._look()

    def when_settled(self, group: Group, record: Record, then: Callable[[], None]) -> None:
        """Go on when a replica may be called, or will not be: it is down for good, forgotten, or taken away."""

        def settled() -> bool:
            return record in group.routable or record.gone or record not in group.records

        self._waiting.append((settled, then))
        self._look()

    def when_joined(self, group: Group, then: Callable[[], None]) -> None:
        """Go on when nobody who takes writes is still given what the others have: that would overtake what comes now."""
        self._waiting.append((lambda: group.serving == group.routable, then))
        self._look()

    def _look(self) -> None:
        for entry in [entry for entry in self._waiting if entry[0]()]:
            if entry in self._waiting:  # else what follows from another one has come here again
                self._waiting.remove(entry)
                entry[1]()

    def _changed(self, record: Record) -> None:
        if record.spec.replica is None:
            return
        group = self._node.registry.groups.of(record.spec)
        if group is not None:
            self.changed(group)
        else:  # forgotten with its last replica
            self.forgotten(record.spec.replica.of)
            self._look()

    def forgotten(self, id: str) -> None:
        """A group is no more: what has its id from now on is something else."""
        self._tell(id, self._numbered({"id": id, "members": None}))
        self._followers.pop(id, None)
        self._told.pop(id, None)
        self._latest.pop(id, None)

    def _let_in(self, group: Group, record: Record) -> None:
        incarnation = record.incarnation

        def joined() -> None:
            if record.incarnation == incarnation and group.by_number.get(number) is record:
                group.joined[record.id] = incarnation
                self.changed(group)

        assert record.spec.replica is not None
        number = record.spec.replica.number
        if group.shares and self._node.keeping.holds_table(record.id):
            self.sharing.join(group, record, joined)
        else:
            group.joined[record.id] = incarnation

    def _tell(self, id: str, facts: Facts) -> None:
        if self._told.get(id) == facts:
            return
        self._told[id] = facts
        followers = self._followers.get(id)
        if followers:
            followers &= self._node.sessions
            for session in followers:
                session.peer.send([EVENT, 0, {"type": "group", **facts}])

    # -- one thing after the other ------------------------------------------------------------------------------------

    def in_turn(self, group: Group, work: Work) -> None:
        """Do something to a group when all that was begun before is done."""
        turns = self._turns.setdefault(group.id, deque())
        turns.append(work)
        if len(turns) == 1:
            self._next(group.id)

    def _next(self, id: str) -> None:
        turns = self._turns[id]
        over = False

        def done() -> None:
            nonlocal over
            if over:
                return
            over = True
            self._rolling.pop(id, None)
            turns.popleft()
            if turns:
                self._node.loop.call_soon(lambda: self._next(id))
            else:
                del self._turns[id]

        turns[0](done)

    def roll(self, group: Group, swap: Rolling) -> None:
        """Begin a swap of a group, whose turn it is."""
        self._rolling[group.id] = swap
        swap.begin()

    def abort_swap(self, group: Group, why: str) -> bool:
        """Give up the swap of a group; False when there is none under way."""
        swap = self._rolling.get(group.id)
        if swap is not None:
            swap.give_up(why)
        return swap is not None

    # -- what callers read ------------------------------------------------------------------------------------------

    def info(self, group: Group) -> Facts:
        """Return what clients see of a group."""
        return group.info([self._node.info(record) for record in group.records])

    def board(self) -> int | None:
        """Return a descriptor by which the board can be read and not written; None before there is one."""
        board = self._node.board
        return None if board is None else os.open(f"/proc/self/fd/{board.fd}", os.O_RDONLY | os.O_CLOEXEC)
