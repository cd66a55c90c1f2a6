"""The parts of owners: sub-modules that are processes of their own, under a supervisor that lives as long as the owner's id does.

    the owner's process asks for them while it is built      those that it lacks are started, those that it has are kept
    the owner, or one of them, crashes                        the others go on
    the owner is down for good (stopped, failed, deleted)     they are stopped after it, and started with it again
    a new version of the owner is rehearsed                   what it lacks is started; the rest waits until it serves

A part may be an owner, too. Owns who is part of whom. Never decides about restarts: that is their supervisor's machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from dspex_runtime.core.child_spec import Dependency
from dspex_runtime.errors import DspexError, NoProcessError
from dspex_runtime.node.owned import Owned, Rehearsed, Steps
from dspex_runtime.node.part_specs import Wanted, wanted
from dspex_runtime.node.session import Responder
from dspex_runtime.types import State

if TYPE_CHECKING:
    from dspex_runtime.node.module_process import ModuleProcess
    from dspex_runtime.node.node import Node
    from dspex_runtime.node.registry import Record
    from dspex_runtime.node.supervision import Answer

__all__ = ["Parts"]


class Parts:
    """See the module docstring."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._owned: dict[str, Owned] = {}  #: by the owner's full id
        self._waiting: list[tuple[str, Callable[[], None]]] = []  #: for the parts of what is, or is under, a full id to be down
        node.registry.on_change.append(self.changed)

    def below(self, full_id: str) -> list[Record]:
        """Return the records of all parts of an owner, those of its parts behind each; empty for what has none."""
        owned = self._owned.get(full_id)
        found: list[Record] = []
        for name in owned.declared if owned is not None else ():
            record = self._node.registry.get(f"{full_id}/{name}")
            if record is not None:
                found += [record, *self.below(record.id)]
        return found

    def names(self, full_id: str) -> list[str]:
        """Return what an owner calls its own parts."""
        owned = self._owned.get(full_id)
        return [] if owned is None else list(owned.declared)

    # -- asked by the owner's process -------------------------------------------------------------------------------

    def attach(self, process: ModuleProcess, asked: dict[str, Any], responder: Responder) -> None:
        """Have the parts that an owner's process asks for while it is built; answered with their identities when they are ready.

        Raises:
            ConfigError: A part cannot be as it is declared.
            NoProcessError: The process is nobody's any more.
        """
        record = self._owner(process)
        assert self._node.spec is not None
        found = wanted(asked, self._node.spec, process.spec, process.launch)
        owned = self._owned.get(record.id)
        if owned is None:
            owned = self._owned[record.id] = self._new(record.id)
        steps = self._rehearsing if process.rehearsal else self._attaching
        owned.do(self._answered(steps(owned, process, found), owned, found, responder))

    def _new(self, id: str) -> Owned:
        assert self._node.supervision is not None
        return Owned(id, self._node.registry, self._node.supervision, lambda: self._closed(id))

    def _owner(self, process: ModuleProcess) -> Record:
        record = self._node.registry.get(process.id)
        if record is None or process.ended or (record.process is not process and not process.rehearsal):
            raise NoProcessError(f"incarnation {process.incarnation} of {process.id!r} has ended: it has no parts", id=process.id)
        return record

    def _answered(self, steps: Steps, owned: Owned, found: Wanted, responder: Responder) -> Steps:
        """Do it, and answer whoever asked."""
        keeping = self._node.keeping
        try:
            new = {name for name in owned.lacking(found) if not keeping.holds(f"{owned.id}/{name}")}
            yield from steps
            responder.reply([{**each, "new": each["name"] in new} for each in owned.identities(found.specs)])
        except DspexError as exc:
            responder.fail(exc)

    def _attaching(self, owned: Owned, process: ModuleProcess, found: Wanted) -> Steps:
        record = self._owner(process)  # it may have ended while others had their turn
        owned.process = process
        self._depends(owned.id, found.edges)
        yield from owned.becoming(found)
        if record.process is process and record.state is State.STARTING:
            assert self._node.supervision is not None
            # It is built with these: that they were not there when it began is no reason to restart it.
            self._node.supervision.dependencies.starting(record, record.incarnation)

    def _rehearsing(self, owned: Owned, process: ModuleProcess, found: Wanted) -> Steps:
        self._owner(process)
        lacking = owned.lacking(found)
        owned.rehearsed[process] = Rehearsed(found, tuple(lacking))
        for name in lacking:
            yield from owned.adding(name, found.specs[name])

    # -- the end of a rehearsal -------------------------------------------------------------------------------------

    def committed(self, process: ModuleProcess) -> None:
        """A new version of an owner serves: what it wants changed, or has not declared, is changed now."""
        owned = self._owned.get(process.id)
        if owned is None:
            return
        owned.process = process
        rehearsed = owned.rehearsed.pop(process, None)
        if rehearsed is None:
            owned.do(_reported(self._node, owned, self._disowning(owned)))
        else:
            self._depends(owned.id, rehearsed.wanted.edges)
            owned.do(_reported(self._node, owned, owned.becoming(rehearsed.wanted)))

    def abandoned(self, process: ModuleProcess) -> None:
        """Nothing came of a new version of an owner: what was started for it goes."""
        owned = self._owned.get(process.id)
        rehearsed = None if owned is None else owned.rehearsed.pop(process, None)
        if owned is not None and rehearsed is not None:
            owned.do(_reported(self._node, owned, self._removing(owned, rehearsed.started)))

    def _removing(self, owned: Owned, names: tuple[str, ...]) -> Steps:
        for name in names:
            yield from owned.removing(name)
        if not owned.declared:
            owned.stop()

    def _disowning(self, owned: Owned) -> Steps:
        yield from self._removing(owned, tuple(owned.declared))
        self._depends(owned.id, {})

    # -- as long as the owner ---------------------------------------------------------------------------------------

    def changed(self, record: Record) -> None:
        """The state of a child changed: parts go with an owner that is down for good."""
        owned = self._owned.get(record.id)
        if owned is None:
            return
        if record.gone or self._node.registry.get(record.id) is not record:
            self._depends(record.id, {})
            owned.stop()
            if owned.supervisor is None:
                self._closed(record.id)
        elif record.state is State.READY and record.process not in (None, owned.process, *owned.rehearsed):
            assert record.process is not None
            self.committed(record.process)  # its class has no parts any more, or it would have asked for them

    def after(self, full_id: str, answer: Answer) -> Answer:
        """Return an answer that waits until the parts of what is, or is under, a full id are down; errors do not wait."""

        def later(value: Any, error: DspexError | None) -> None:
            if error is not None:
                answer(value, error)
            else:
                self._waiting.append((full_id, lambda: answer(value, None)))
                self._tell()

        return later

    def _closed(self, id: str) -> None:
        """The parts of an owner are down: with an owner that is forgotten they are forgotten, too."""
        assert self._node.supervision is not None
        if self._node.registry.get(id) is None:
            self._owned.pop(id, None)
            self._node.supervision.states.forget(id)
        self._tell()

    def _tell(self) -> None:
        for each in list(self._waiting):
            full_id, done = each
            if each in self._waiting and not self._has_some(full_id):
                self._waiting.remove(each)
                done()

    def _has_some(self, full_id: str) -> bool:
        """Return whether there are parts, running or on their way out, of what is, or is under, a full id."""
        return any(_is_under(id, full_id) and owned.supervisor is not None for id, owned in self._owned.items())

    def _depends(self, id: str, edges: Mapping[str, Dependency]) -> None:
        """An owner depends on these of its parts from now on: on none while it is down, for they are started with it."""
        assert self._node.supervision is not None
        self._node.supervision.dependencies.owns(id, {f"{id}/{name}": edge for name, edge in edges.items()})


def _is_under(id: str, full_id: str) -> bool:
    return id == full_id or id.startswith(f"{full_id}/")


def _reported(node: Node, owned: Owned, steps: Steps) -> Steps:
    """Do it; nobody waits for it, so people are told what became of it."""
    try:
        yield from steps
    except DspexError as exc:
        node.reports.emit("parts_failed", owned.id, message=str(exc))
