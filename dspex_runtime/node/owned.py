"""The parts of one owner: their supervisor, from its boot to its end, and one change of them after the other.

The supervisor's key is the owner's full id and "/", its path the owner's: so a part is called OWNER/NAME, and there is still no
supervisor under the owner's own id. It outlives the owner's processes, not the owner's being there: who says so is `parts`. Never
decides about restarts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from dspex_runtime.core import events as ev
from dspex_runtime.core.child_spec import ChildSpec, SupervisorSpec
from dspex_runtime.errors import DspexError, NoProcessError, StartError
from dspex_runtime.node.part_specs import Wanted
from dspex_runtime.node.supervisor_node import SupervisorNode, parts_key
from dspex_runtime.types import ChildId

if TYPE_CHECKING:
    from dspex_runtime.node.module_process import ModuleProcess
    from dspex_runtime.node.registry import Registry
    from dspex_runtime.node.supervision import Answer, Supervision

__all__ = ["Owned", "Rehearsed"]

Begin: TypeAlias = "Callable[[Answer], None]"  #: does one thing, and answers
Steps: TypeAlias = Generator[Begin, Any, None]


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What the new version of an owner is to have once it serves, and what was started for it before."""

    wanted: Wanted
    started: tuple[str, ...]


class Owned:
    """See the module docstring.

    Args:
        id: Full id of the owner.
        registry: With the records of the parts.
        tree: The supervision of the runtime.
        closed: Called when the supervisor has ended, however.
    """

    def __init__(self, id: str, registry: Registry, tree: Supervision, closed: Callable[[], None]) -> None:
        self.id = id
        self.declared: dict[str, ChildSpec] = {}  #: as the owner's class has them; a part that was swapped runs from another spec
        self.supervision = SupervisorSpec()
        self.process: ModuleProcess | None = None  #: of the owner, that attached last
        self.rehearsed: dict[ModuleProcess, Rehearsed] = {}
        self._registry = registry
        self._tree = tree
        self._closed = closed
        self._is_stopping = False
        self._turns: deque[Steps] = deque()
        self._has_turn = False
        self._booting: Answer | None = None
        self._waiting: list[Answer] = []  #: for the end of the supervisor

    @property
    def supervisor(self) -> SupervisorNode | None:
        """The supervisor of the parts, while it runs."""
        return self._tree.node_of(parts_key(self.id))

    # -- one after the other ----------------------------------------------------------------------------------------

    def do(self, steps: Steps) -> None:
        """Carry out a change when those before it are through."""
        self._turns.append(steps)
        self._next()

    def _next(self) -> None:
        if not self._has_turn and self._turns:
            self._has_turn = True
            self._go_on(self._turns.popleft(), None, None)

    def _go_on(self, steps: Steps, value: Any, error: DspexError | None) -> None:
        try:
            begin = steps.send(value) if error is None else steps.throw(error)
        except StopIteration:
            self._has_turn = False
            self._next()
        except Exception:  # a bug of ours, which is logged: others must not wait for ever because of it
            self._has_turn = False
            raise
        else:
            begin(lambda value, error: self._go_on(steps, value, error))

    # -- changes ----------------------------------------------------------------------------------------------------

    def becoming(self, wanted: Wanted) -> Steps:
        """Have these parts and no others: what is as it was is kept, in whatever state it is.

        Raises:
            DspexError: One did not start.
        """
        yield self._closing
        before, node = self.declared, self.supervisor
        self.supervision = wanted.supervision
        if node is None:
            specs = {name: self._newest(name, spec) for name, spec in wanted.specs.items()}
            self.declared = dict(wanted.specs)
            for name in before.keys() - wanted.specs.keys():
                self._tree.states.forget(f"{self.id}/{name}", itself=True)
            if specs:
                yield self._boot(specs)
            return
        for name in [name for name in before if name not in wanted.specs]:
            yield from self.removing(name)
        for name, spec in wanted.specs.items():
            is_there = node.machine.child(ChildId(name)) is not None
            if is_there and before.get(name) == spec:
                continue
            yield from self.changing(name, spec) if is_there else self.adding(name, spec)
        self.declared = {name: self.declared[name] for name in wanted.specs}
        yield self._supervise()

    def lacking(self, wanted: Wanted) -> list[str]:
        """Return the names of the parts that are not there at all."""
        node = self.supervisor
        return [name for name in wanted.specs if node is None or node.machine.child(ChildId(name)) is None]

    def adding(self, name: str, spec: ChildSpec) -> Steps:
        """Start one that is not there."""
        node = self.supervisor
        self.declared[name] = spec
        if node is None:
            yield self._boot({name: spec})
            return
        try:
            yield self._ask(lambda request: ev.StartChildAsked(request, spec))
        except DspexError:
            self.declared.pop(name, None)
            raise
        node.spec = replace(node.spec, children=(*node.spec.children, spec))

    def changing(self, name: str, spec: ChildSpec) -> Steps:
        """Have one run from another spec; who calls it waits meanwhile, and what is kept of it stays."""
        node = self.supervisor
        assert node is not None
        self.declared[name] = spec
        yield self._ask(lambda request: ev.ChangeSpecAsked(request, spec))
        node.spec = replace(node.spec, children=tuple(spec if child.id == name else child for child in node.spec.children))
        record = self._registry.get(f"{self.id}/{name}")
        again = ev.RestartChildAsked if record is not None and record.gone else ev.CycleChildAsked
        yield self._ask(lambda request: again(request, ChildId(name)))

    def removing(self, name: str) -> Steps:
        """Stop one and forget it; what is kept of it stays."""
        node = self.supervisor
        self.declared.pop(name, None)
        if node is None or node.machine.child(ChildId(name)) is None:
            return
        yield self._ask(lambda request: ev.TerminateChildAsked(request, ChildId(name)))
        if node.machine.child(ChildId(name)) is not None:  # else it was a temporary one
            yield self._ask(lambda request: ev.DeleteChildAsked(request, ChildId(name)))
        node.spec = replace(node.spec, children=tuple(child for child in node.spec.children if child.id != name))

    def _supervise(self) -> Begin:
        node = self.supervisor
        if node is None:
            return lambda answer: answer(None, None)
        children = {child.id: child for child in node.spec.children}
        spec = replace(self.supervision, children=tuple(children[ChildId(name)] for name in self.declared if name in children))
        node.spec = spec
        return self._ask(lambda request: ev.ChangeSupervisorAsked(request, spec))

    def _newest(self, name: str, spec: ChildSpec) -> ChildSpec:
        """Return the spec that a part is to be started from: where it was swapped since, that which it was swapped to."""
        record = self._registry.get(f"{self.id}/{name}")
        return record.spec if record is not None and self.declared.get(name) == spec else spec

    # -- the supervisor ---------------------------------------------------------------------------------------------

    def _ask(self, event: Callable[[int], ev.Event]) -> Begin:
        return lambda answer: self._tree.ask(parts_key(self.id), event, answer)

    def _boot(self, specs: Mapping[str, ChildSpec]) -> Begin:
        def begin(answer: Answer) -> None:
            self._booting = answer
            spec = replace(self.supervision, children=tuple(specs.values()))
            key = parts_key(self.id)
            self._tree.open_node(
                SupervisorNode(self._registry, spec, key=key, path=self.id, booted=self._booted, exited=self._exited, incarnation=1)
            )

        return begin

    def _booted(self, error: StartError | None) -> None:
        booting, self._booting = self._booting, None
        if error is not None:
            self._has_closed()
        if booting is not None:
            booting(None, error)

    def _exited(self, _gave_up: bool) -> None:
        booting, self._booting = self._booting, None
        self._has_closed()
        if booting is not None:
            booting(None, StartError(f"the parts of {self.id!r} were stopped while they were starting", id=self.id))

    def _has_closed(self) -> None:
        self._is_stopping = False
        waiting, self._waiting = self._waiting, []
        for answer in waiting:
            answer(None, None)
        self._closed()

    def _closing(self, answer: Answer) -> None:
        if self._is_stopping and self.supervisor is not None:
            self._waiting.append(answer)
        else:
            answer(None, None)

    def stop(self) -> None:
        """Stop the parts, the last one first, and their supervisor. Idempotent."""
        node = self.supervisor
        if node is not None and not self._is_stopping:
            self._is_stopping = True
            self._tree.deliver(node, ev.ShutdownRequested("shutdown"))

    # -- answers ----------------------------------------------------------------------------------------------------

    def identities(self, names: Iterable[str]) -> list[dict[str, Any]]:
        """Return what the owner's process needs of its parts to have references to them.

        Raises:
            NoProcessError: One is gone already.
        """
        found = []
        for name in names:
            record = self._registry.get(f"{self.id}/{name}")
            if record is None:
                raise NoProcessError(f"the part {name!r} of {self.id!r} is gone", id=f"{self.id}/{name}")
            found.append({"name": name, "id": record.id, "kind": (record.kind or record.spec.kind).value})
        return found
