"""Supervisors at work: feeds every supervisor machine its events and carries its instructions out.

Serial within a supervisor, concurrent across supervisors: each machine queues its own requests; this shell only delivers
events, one at a time and in order, and never enters a machine while another is being handled. Owns the table of living
supervisors and who waits for which answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from dspex_runtime.core import events as ev
from dspex_runtime.core.child_spec import ChildSpec, SupervisorSpec
from dspex_runtime.errors import DspexError, NoProcessError, StartError
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.node.analysis import Timeline
from dspex_runtime.node.dependent_starts import DependentStarts
from dspex_runtime.node.ending import Ending
from dspex_runtime.node.event_loop import EventLoop
from dspex_runtime.node.executor import Executor
from dspex_runtime.node.launcher import Launcher
from dspex_runtime.node.module_process import ModuleProcess
from dspex_runtime.node.naming import Naming
from dspex_runtime.node.registry import Record, Registry
from dspex_runtime.node.relations import Relations
from dspex_runtime.node.reports import Reports
from dspex_runtime.node.reviving import Reviving
from dspex_runtime.node.supervisor_node import SupervisorNode, parts_key
from dspex_runtime.node.tree_view import TreeView
from dspex_runtime.types import Incarnation, State

Answer = Callable[[Any, DspexError | None], None]  # (value, error)
#: what a process tells of itself, and its end
ProcessEvents = tuple[Callable[[ModuleProcess, dict[str, Any]], None], Callable[[ModuleProcess, Ending], None]]


class Supervision:
    """The tree of the YAML (or an empty root), and beside it one small supervisor for each child started alone."""

    def __init__(
        self,
        loop: EventLoop,
        registry: Registry,
        launcher: Launcher,
        reports: Reports,
        relations: Relations,
        naming: Naming,
    ) -> None:
        self._loop = loop
        self._registry = registry
        self._launcher = launcher
        self._queue: deque[tuple[SupervisorNode, ev.Event]] = deque()
        self._delivering = False
        self._nodes: dict[str, SupervisorNode] = {}  #: by key: "" the root, "sup/sub", "@id" for a child started alone
        self._next_request = 0
        self._answers: dict[int, tuple[SupervisorNode, Answer]] = {}  #: by request, with who is to answer it
        self._executor = Executor(self, loop, registry, launcher, reports, relations, naming)
        self.reviving = Reviving(self, registry, self._executor.outcomes, self._executor.states)
        self.states = self._executor.states
        self.dependencies = self._executor.dependencies
        self.starts = DependentStarts(loop, self.dependencies)
        self.timeline = Timeline(loop.now)
        self.view = TreeView(self, registry, self._executor.outcomes, loop.now)
        self._stopping: Callable[[], None] | None = None

    # -- delivering -------------------------------------------------------------------------------------------------

    def deliver(self, node: SupervisorNode, event: ev.Event) -> None:
        """Queue one event for a supervisor; handled now, or after the one that is being handled."""
        self._queue.append((node, event))
        if self._delivering:
            return
        self._delivering = True
        try:
            while self._queue:
                target, event = self._queue.popleft()
                if not target.closed and target.killed_because is None:  # what is killed starts and answers nothing more
                    self._executor.execute(target, target.machine.handle(event, self._loop.now()))
        finally:
            self._delivering = False

    def answer(self, request: int, value: Any, error: DspexError | None) -> None:
        """Hand a machine's reply to whoever asked."""
        _, answer = self._answers.pop(request, (None, None))
        if answer is not None:
            answer(value, error)

    def _request(self, node: SupervisorNode, event: Callable[[int], ev.Event], answer: Answer) -> None:
        self._next_request += 1
        self._answers[self._next_request] = (node, answer)
        self.deliver(node, event(self._next_request))

    def open_node(self, node: SupervisorNode) -> None:
        """Enter a supervisor into the table and boot it."""
        self._nodes[node.key] = node
        if node.parent is not None:
            node.parent.below[node] = None
        processes = sum(child.launch is not None for child in node.spec.children)
        self.announce(node, processes if processes > 1 else 0)
        self.dependencies.declare(node.path, node.spec)
        if node.parent is not None or not node.key:
            self.timeline.begin(node.path, node.spec)
        for child in node.spec.children if self.dependencies.used else ():
            if self.dependencies.holds(node.full_id(child.id)):
                self.deliver(node, ev.ChildHeld(child.id, held=True))
        self.deliver(node, ev.Boot())

    def announce(self, node: SupervisorNode, starts: int) -> None:
        """Say how many starts are still to come of a supervisor's boot."""
        self._launcher.expect(starts - node.announced)
        node.announced = starts

    def close_node(self, node: SupervisorNode) -> None:
        """Forget a supervisor's machine; a late event for it is dropped."""
        node.close()
        self.announce(node, 0)
        if node.parent is not None:
            node.parent.below.pop(node, None)
        if self._nodes.get(node.key) is node:
            del self._nodes[node.key]
        # A machine answers all it was asked before it ends, unless it was killed or had not come to it.
        for request in [number for number, (asked, _) in self._answers.items() if asked is node]:
            self.answer(request, None, _not_running(node.path))
        if self._stopping is not None:
            self._stop_parts()
        if self._stopping is not None and not any(n.parent is None for n in self._nodes.values()):
            done, self._stopping = self._stopping, None
            done()

    def node_of(self, path: str) -> SupervisorNode | None:
        """Return the living supervisor with this full id."""
        return self._nodes.get(path)

    # -- roots ------------------------------------------------------------------------------------------------------

    def boot(self, spec: SupervisorSpec, booted: Callable[[StartError | None], None], exited: Callable[[bool], None]) -> None:
        """Boot the root supervisor. `booted` gets what prevented it, if anything; `exited` whether it gave up."""
        self.open_node(SupervisorNode(self._registry, spec, key="", path="", booted=booted, exited=exited, incarnation=1))

    def start_alone(self, child: ChildSpec, answer: Answer) -> None:
        """Start a child under a supervisor of its own: its restart budget is its own and its failure escalates nowhere."""
        spec = SupervisorSpec(children=(child,))

        def booted(error: StartError | None) -> None:
            if error is not None:
                self._registry.remove(child.id)
                answer(None, error)
                return
            record = self._registry.get(child.id)
            answer(child.id if record is not None and record.state is State.READY else None, None)

        self.open_node(SupervisorNode(self._registry, spec, key="@" + child.id, path="", booted=booted, exited=lambda _: None))

    def start_replicas_alone(self, id: str, replicas: tuple[ChildSpec, ...], answer: Answer) -> None:
        """Start the replicas of a group under a supervisor of their own, all or none; see `start_alone`."""

        def booted(error: StartError | None) -> None:
            if error is not None:
                for replica in replicas:
                    self._registry.remove(replica.id)
            answer(None if error is not None else id, error)

        spec = SupervisorSpec(children=replicas)
        self.open_node(SupervisorNode(self._registry, spec, key="@" + id, path="", booted=booted, exited=lambda _: None))

    def shutdown(self, done: Callable[[], None]) -> None:
        """Stop all trees, each in its own order, all at once; `done` is called when nothing is left."""
        roots = [node for node in self._nodes.values() if node.parent is None]
        if not roots:
            done()
            return
        self._stopping = done
        self.starts.give_up(None, "the runtime is stopping")
        for node in roots:
            if not node.is_of_parts:  # parts go after their owner
                self.deliver(node, ev.ShutdownRequested("shutdown"))
        self._stop_parts()

    def _stop_parts(self) -> None:
        """Stop the parts of owners of which no supervisor is left that would end them."""
        roots = [node for node in self._nodes.values() if node.parent is None]
        if all(node.is_of_parts for node in roots):
            for node in roots:
                self.deliver(node, ev.ShutdownRequested("shutdown"))

    # -- asking -----------------------------------------------------------------------------------------------------

    def owner(self, full_id: str) -> SupervisorNode | None:
        """Return the living supervisor of a child."""
        path, _, _ = full_id.rpartition("/")
        alone = self._registry.alone_key(full_id)
        if path or alone in self._executor.outcomes.ended:  # the root is no heir of a supervisor that gave up
            return self._nodes.get(path or alone) or self._nodes.get(parts_key(path))
        return self._nodes.get(alone) or self._nodes.get("")

    def ask(self, path: str, event: Callable[[int], ev.Event], answer: Answer) -> None:
        """Send a request to the supervisor at `path` ("" is the root), or that of an owner's parts; `answer` gets its reply."""
        node = self._nodes.get(path) or self._nodes.get(parts_key(path))
        if node is None:
            answer(None, _not_running(path))
            return
        self._request(node, event, answer)

    def ask_owner(self, record: Record, event: Callable[[int], ev.Event], answer: Answer) -> None:
        """Send a request to a child's supervisor."""
        node = self.owner(record.id)
        if node is None:
            answer(None, NoProcessError(f"the supervisor of {record.id!r} is not running", id=record.id))
            return
        self._request(node, event, answer)

    def terminate(self, record: Record, answer: Answer) -> None:
        """Stop a child; one whose supervisor gave up is stopped already."""
        self.starts.give_up(record.id, "it was stopped")
        if self.owner(record.id) is None:
            answer(None, None)
            return
        self.ask_owner(record, lambda request: ev.TerminateChildAsked(request, record.spec.id), answer)

    def cycle(self, record: Record, answer: Answer) -> None:
        """Stop and start a child, in one request: nothing comes between. While it would wait for a dependency it is not stopped."""

        def cycle() -> None:
            self.ask_owner(record, lambda request: ev.CycleChildAsked(request, record.spec.id), answer)

        self.starts.when_possible(record.id, record.spec, cycle, lambda error: answer(None, error))

    def delete(self, record: Record, answer: Answer) -> None:
        """Stop a child and forget it."""
        if self.owner(record.id) is None:
            self._forget(record)
            answer(None, None)
            return

        def terminated(_value: Any, error: DspexError | None) -> None:
            gone = self._registry.get(record.id) is not record  # a temporary child's spec went with it
            if error is not None or gone:
                answer(None, error)
                return
            self.ask_owner(record, lambda request: ev.DeleteChildAsked(request, record.spec.id), deleted)

        def deleted(_value: Any, error: DspexError | None) -> None:
            answer(None, error)

        self.terminate(record, terminated)

    def _forget(self, record: Record) -> None:
        self._executor.outcomes.ended.pop(self._registry.alone_key(record.id), None)
        self._executor.states.forget(record.id, itself=True)

    # -- swaps (node.swapping) ----------------------------------------------------------------------------------------

    def replaced(self, record: Record, process: ModuleProcess) -> ProcessEvents:
        """Another process is a child's from now on; returns whom to tell what it tells, and how it ends."""
        node, old = self.owner(record.id), record.process
        assert node is not None
        node.processes = {process if each is old else each: None for each in node.processes}
        record.process = process
        if self.dependencies.machine.edges(record.id):
            self.dependencies.refresh(record)
        ended: Callable[[ModuleProcess, Ending], None] = lambda process, ending: self._executor.ended(node, process, ending)  # noqa: E731
        return self._executor.told, ended

    def swapped(self, record: Record, spec: ChildSpec) -> None:
        """A child goes on as another process, from another spec: from that it is started again, also with its supervisor."""
        node = self.owner(record.id)
        assert node is not None
        assert record.process is not None
        self.deliver(node, ev.ChildSwapped(spec.id, Incarnation(record.incarnation), spec, record.process.pid))
        self._respecify(node, spec)

    def _respecify(self, node: SupervisorNode, spec: ChildSpec) -> None:
        """Have a supervisor that is started again, and those above it, begin with this spec of a child that it began with."""
        if not any(child.id == spec.id for child in node.spec.children):
            return  # added while it ran: lost when it is started again, as OTP's
        self._begin_with(node, tuple(spec if child.id == spec.id else child for child in node.spec.children))

    def recounted(self, node: SupervisorNode, group: str, replicas: Sequence[ChildSpec]) -> None:
        """Have a supervisor that is started again begin with as many replicas of a group as there are now; unless it is dynamic.

        They are where the first of them was, or the child itself whose place they have taken.
        """
        if node.spec.dynamic:
            return
        found = [at for at, child in enumerate(node.spec.children) if _is_of(node, child, group)]
        others = [child for child in node.spec.children if not _is_of(node, child, group)]
        at = found[0] if found else len(others)
        self._begin_with(node, (*others[:at], *replicas, *others[at:]))

    def _begin_with(self, node: SupervisorNode, children: tuple[ChildSpec, ...]) -> None:
        node.spec = replace(node.spec, children=children)
        above = node.parent
        own = None if above is None else above.machine.child(node.child_id)
        if above is not None and own is not None:
            itself = replace(own.spec, supervisor=node.spec)
            # A request, not a fact: it counts also while that child of `above`, which is no process, is still booting.
            self._request(above, lambda number: ev.ChangeSpecAsked(number, itself), lambda _value, _error: None)
            self._respecify(above, itself)

    # -- exit signals (node.linking) ---------------------------------------------------------------------------------

    def alive(self, record: Record) -> bool:
        """Return whether a child's newest incarnation lives, starting and stopping included."""
        return record.process is not None or record.id in self._nodes

    def root(self) -> int:
        """Return which incarnation of the root supervisor lives, 0 when none does."""
        node = self._nodes.get("")
        return 0 if node is None else node.incarnation

    def end(self, record: Record, reason: ExitReason, sender: str) -> None:
        """End a process in order with this reason."""
        self._executor.killing.end(record, reason, sender)

    def kill(self, record: Record, reason: ExitReason, sender: str) -> None:
        """End a process or a supervisor at once."""
        self._executor.killing.kill(record, reason, sender)


def _is_of(node: SupervisorNode, child: ChildSpec, group: str) -> bool:
    return (child.replica.of if child.replica is not None else node.full_id(child.id)) == group


def _not_running(path: str) -> NoProcessError:
    return NoProcessError(f"supervisor {path or 'root'!r} is not running", id=path or "root")
