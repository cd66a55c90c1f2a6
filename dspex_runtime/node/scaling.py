"""Groups made larger and smaller, and a child that is alone made a group. One of these at a time for each group.

larger     the next numbers, one after the other as their supervisor starts them; callers are sent to each when it has what
           the others have
smaller    the highest numbers: callers are sent elsewhere, what runs there is drained, then process, spec and state are gone
split      a child that is alone becomes a group (`splitting`)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dspex_runtime.config.replicas import numbered
from dspex_runtime.core import events
from dspex_runtime.core.child_spec import ChildSpec
from dspex_runtime.core.names import full_id
from dspex_runtime.errors import DspexError, SupervisorError
from dspex_runtime.node.groups import Group
from dspex_runtime.node.operations.answers import Answer, erasing
from dspex_runtime.node.registry import Record
from dspex_runtime.node.splitting import Splitting, refuse

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node
    from dspex_runtime.node.supervision import Supervision

__all__ = ["Scaling"]


class Scaling:
    """See the module docstring."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def scale(self, group: Group, n: int, answer: Answer) -> None:
        """Have a group be `n` replicas; answers when it is, or with what prevented it: what was done until then stays."""

        def work(done: Callable[[], None]) -> None:
            before = group.ids

            def scaled(error: DspexError | None) -> None:
                self._settle(group)
                if group.ids != before:
                    self._node.reports.emit("scaled", group.id, replicas=group.ids)
                done()
                answer(None if error is not None else {"id": group.id, "replicas": group.ids}, error)

            group.kept = True
            self._step(group, n, scaled)

        self._node.replicas.in_turn(group, work)

    def start(
        self, child: ChildSpec, path: str | None, n: int, *, shares: bool, done: Callable[[Group, DspexError | None], None]
    ) -> None:
        """Start a group that is new, all of it or none; `path` is that of its supervisor, None for one of its own."""
        registry = self._node.registry
        group = registry.groups.begin(full_id(path or "", child.id), child, shares=shares)
        group.alone = path is None
        registry.open_group(group)

        def started(error: DspexError | None) -> None:
            if error is None:
                self._settle(group)
                done(group, None)
            else:
                self._step(group, 0, lambda _: gone(error))

        def gone(error: DspexError) -> None:
            registry.forget_group(group.id)
            self._node.replicas.forgotten(group.id)
            done(group, error)

        self._step(group, n, started)

    def _step(self, group: Group, n: int, done: Callable[[DspexError | None], None]) -> None:
        """Do what is next to be done, one replica more or less; then the rest."""
        there = len(group.by_number)

        def stepped(error: DspexError | None) -> None:
            if error is not None:
                done(error)
            else:
                self._step(group, n, done)

        if there < n:
            self._add(group, stepped)
        elif there > n:
            self._take_away(group, group.records[-1], stepped)
        else:
            done(None)

    def _add(self, group: Group, done: Callable[[DspexError | None], None]) -> None:
        spec = numbered(group.spec, group.next_number, group.shares, group.path)

        def started(full_id: Any, error: DspexError | None) -> None:
            record = None if full_id is None else self._node.registry.get(full_id)
            if error is None and record is not None:
                self._node.replicas.when_settled(group, record, lambda: done(None))
            else:
                done(error or SupervisorError("ignored", f"a replica of {group.id!r} has ignored its start", id=group.id))

        def first_started(_id: Any, error: DspexError | None) -> None:
            started(group.records[-1].id if error is None else None, error)

        tree = self._tree
        key = self._supervisor(group)
        if key is None:
            tree.start_replicas_alone(group.id, (spec,), first_started)
        else:
            tree.ask(key, lambda request: events.StartChildAsked(request, spec), started)

    def _take_away(self, group: Group, record: Record, done: Callable[[DspexError | None], None]) -> None:
        group.leaving.add(record.id)
        self._node.replicas.changed(group)

        def deleted(_value: Any, error: DspexError | None) -> None:
            group.leaving.discard(record.id)
            done(error)

        self._tree.delete(record, self._node.parts.after(record.id, erasing(self._node, record.id, deleted)))

    def _settle(self, group: Group) -> None:
        """Have the supervisor begin with what there is now, should it be started again."""
        group.kept = not group.by_number
        node = self._tree.node_of(self._supervisor(group) or "")
        if node is not None:
            self._tree.recounted(node, group.id, [record.spec for record in group.records])

    def _supervisor(self, group: Group) -> str | None:
        """Return the key of the supervisor that the replicas are under; None for one of their own that is not there now."""
        if group.path:
            return group.path
        if self._tree.node_of("@" + group.id) is not None:
            return "@" + group.id
        return None if group.alone else ""

    @property
    def _tree(self) -> Supervision:
        assert self._node.supervision is not None
        return self._node.supervision

    # -- a child that is alone --------------------------------------------------------------------------------------

    def split(self, record: Record, n: int, answer: Answer) -> None:
        """Have a child that is alone be `n` replicas, with its parameters and its state; see `splitting`.

        Raises:
            SupervisorError: It cannot be.
        """
        node, tree = self._node, self._tree
        refuse(node, record, n)
        owner = tree.owner(record.id)
        group = node.registry.groups.begin(record.id, record.spec, shares=True)
        group.alone = owner is not None and owner.key == node.registry.alone_key(record.id)

        def work(done: Callable[[], None]) -> None:
            def split(error: DspexError | None) -> None:
                if error is not None:
                    self._step(group, 0, lambda _: undone(error))
                    return
                self._settle(group)
                done()
                answer({"id": group.id, "replicas": group.ids}, None)

            def undone(error: DspexError) -> None:
                node.registry.groups.forget(group.id)
                done()
                answer(None, error)

            def started(error: DspexError | None) -> None:
                if error is None:
                    Splitting(node, record, group, split).begin()
                else:
                    split(error)

            self._step(group, n, started)

        node.replicas.in_turn(group, work)
