"""A fake runtime for the dependency machine: a tree of supervisor machines, processes, and the shell between them.

Nothing happens by itself: `pending` are the starts and stops that may come out next, in any order. After every event both
kinds of machines are validated.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dspex_runtime.core import dependency_events as de
from dspex_runtime.core import events as ev
from dspex_runtime.core import instructions as do
from dspex_runtime.core.child_spec import ChildSpec, SupervisorSpec
from dspex_runtime.core.dependencies import Dependencies
from dspex_runtime.core.dependency_order import walk
from dspex_runtime.core.machine import Machine
from dspex_runtime.core.machine_kinds import machine_for
from dspex_runtime.core.restart_policy import Verdict, verdict
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.types import ChildId, Incarnation, State

GONE = (State.STOPPED, State.EXITED, State.FAILED)


@dataclass
class Node:
    """One supervisor that lives."""

    path: str
    machine: Machine
    booted: Callable[[bool], None]
    exited: Callable[[ExitReason], None]
    up: bool = False

    def full_id(self, child: str) -> str:
        return f"{self.path}/{child}" if self.path else child


@dataclass
class Process:
    """One leaf's process; `state` is "starting", "up" or "stopping"."""

    node: Node
    child: ChildId
    incarnation: Incarnation
    state: str = "starting"


@dataclass
class Tree:
    """A tree at work.

    Attributes:
        log: Starts of leaves, as (id, the dependencies that were down then).
        cascades: What the dependency machine asked for, as ("restart" | "stop", id, incarnation).
        failing: Leaves whose starts fail.
    """

    spec: SupervisorSpec
    dependencies: Dependencies = field(default_factory=Dependencies)
    nodes: dict[str, Node] = field(default_factory=dict)
    processes: dict[str, Process] = field(default_factory=dict)
    log: list[tuple[str, list[str]]] = field(default_factory=list)
    cascades: list[tuple[str, str, int]] = field(default_factory=list)
    told: dict[str, set[str]] = field(default_factory=dict)
    failing: set[str] = field(default_factory=set)
    shown: dict[str, State] = field(default_factory=dict)
    ended: bool = False
    timers: dict[tuple[str, ev.TimerId], float] = field(default_factory=dict)
    now: float = 0.0

    def __post_init__(self) -> None:
        self._numbers: Counter[str] = Counter()
        self._inbox: deque[tuple[Node, ev.Event]] = deque()
        self._delivering = False
        self._requests = 0

    # the shell

    def boot(self) -> Tree:
        self._feed(*(de.Declared(id, child.depends_on) for id, child in walk(self.spec)))

        def ended(_: Any) -> None:
            self.ended = True

        self._open("", self.spec, lambda up: None if up else ended(up), ended)
        return self

    def _open(self, path: str, spec: SupervisorSpec, booted: Callable[[bool], None], exited: Callable[[ExitReason], None]) -> Node:
        def number(child: ChildId) -> Incarnation:
            self._numbers[node.full_id(child)] += 1
            return Incarnation(self._numbers[node.full_id(child)])

        node = Node(path, machine_for(spec, next_incarnation=number, random=lambda: 0.5), booted, exited)
        self.nodes[path] = node
        for child in spec.children:
            if self.dependencies.is_held(node.full_id(child.id)):
                self.deliver(node, ev.ChildHeld(child.id, held=True))
        self.deliver(node, ev.Boot())
        return node

    def deliver(self, node: Node, event: ev.Event) -> None:
        self._inbox.append((node, event))
        if self._delivering:
            return
        self._delivering = True
        while self._inbox:
            target, event = self._inbox.popleft()
            if self.nodes.get(target.path) is target:
                for instruction in target.machine.handle(event, self.now):
                    self._execute(target, instruction)
                target.machine.validate()
        self._delivering = False

    def _execute(self, node: Node, instruction: do.Instruction) -> None:
        match instruction:
            case do.StartChild(spec, incarnation):
                self._start(node, spec, incarnation)
            case do.StopChild(child, _, _, reason):
                self._stop(node, child, reason)
            case do.KillChild():
                raise AssertionError("nothing here is killed")
            case do.SetTimer(timer, at):
                self.timers[node.path, timer] = at
            case do.CancelTimer(timer):
                del self.timers[node.path, timer]
            case do.ChildState(child, state):
                self._show(node.full_id(child), state)
            case do.ChildDeleted(child):
                self._feed(de.Forgotten(node.full_id(child)))
            case do.Booted():
                node.up = True
                node.booted(True)
            case do.BootFailed(_, reason):
                self._close(node, lambda: node.booted(False))
            case do.Exited(reason):
                self._close(node, lambda: node.exited(reason) if node.up else node.booted(False))

    def _close(self, node: Node, tell: Callable[[], None]) -> None:
        del self.nodes[node.path]
        self.timers = {key: at for key, at in self.timers.items() if key[0] != node.path}
        tell()

    def _show(self, id: str, state: State) -> None:
        before = self.shown.get(id)
        self.shown[id] = state
        if id not in self.processes and before is not None and (state in GONE) != (before in GONE):
            self._feed(de.WentDown(id, "noproc", state not in GONE))

    def _start(self, node: Node, spec: ChildSpec, incarnation: Incarnation) -> None:
        id = node.full_id(spec.id)
        self._feed(de.Starting(id, incarnation))
        if spec.supervisor is not None:

            def booted(up: bool) -> None:
                self._settled(node, spec.id, incarnation, up=up)

            def exited(reason: ExitReason) -> None:
                self._feed(de.WentDown(id, reason, coming=True))
                self.deliver(node, ev.ChildExited(spec.id, incarnation, reason))

            self._open(id, spec.supervisor, booted, exited)
            return
        assert id not in self.processes, f"{id} is started while it runs"
        self.processes[id] = Process(node, spec.id, incarnation)
        self.told[id] = set(self.dependencies.down(id))
        self.log.append((id, sorted(self.dependencies.obstacles(id))))

    def _settled(self, node: Node, child: ChildId, incarnation: Incarnation, *, up: bool) -> None:
        id = node.full_id(child)
        if up:
            self._feed(de.Up(id, incarnation))
            self.deliver(node, ev.ChildReady(child, incarnation))
        else:
            self._feed(de.WentDown(id, "killed", coming=True))
            self.deliver(node, ev.StartFailed(child, incarnation, "killed"))

    def _stop(self, node: Node, child: ChildId, reason: ExitReason) -> None:
        below = self.nodes.get(node.full_id(child))
        if below is not None:
            self.deliver(below, ev.ShutdownRequested(reason))
        elif (process := self.processes.get(node.full_id(child))) is not None:
            process.state = "stopping"

    def _feed(self, *facts: de.Fact) -> None:
        consequences = self.dependencies.handle(*facts)
        self.dependencies.validate()
        for consequence in consequences:
            match consequence:
                case de.TellDown(id, dep):
                    self.told[id].add(dep)
                case de.TellUp(id, dep):
                    self.told[id].discard(dep)
                case de.Hold(id):
                    self._tell(id, lambda child: ev.ChildHeld(child, held=True))
                case de.Release(id):
                    self._tell(id, lambda child: ev.ChildHeld(child, held=False))
                case de.CascadeRestart(id, incarnation):
                    self.cascades.append(("restart", id, incarnation))
                    self._tell(id, lambda child, at=incarnation: ev.RestartAsked(child, at))  # type: ignore[misc]
                case de.CascadeStop(id, incarnation):
                    self.cascades.append(("stop", id, incarnation))
                    self._tell(id, lambda child, at=incarnation: ev.StopAsked(child, at))  # type: ignore[misc]
                case de.Refused():
                    raise AssertionError(consequence)

    def _tell(self, id: str, event: Callable[[ChildId], ev.Event]) -> None:
        node = self.nodes.get(id.rpartition("/")[0])
        if node is not None:
            self.deliver(node, event(ChildId(id.rpartition("/")[2])))

    # what happens in the world

    @property
    def pending(self) -> list[str]:
        """Return the leaves whose start or stop may come out now."""
        return [id for id, process in self.processes.items() if process.state != "up"]

    @property
    def up(self) -> list[str]:
        return [id for id, process in self.processes.items() if process.state == "up"]

    def come_out(self, id: str) -> None:
        """Let a start or a stop come out."""
        process = self.processes[id]
        if process.state == "stopping":
            self.die(id, reason="shutdown")
        elif id in self.failing:
            del self.processes[id]
            self._settled(process.node, process.child, process.incarnation, up=False)
        else:
            process.state = "up"
            self._settled(process.node, process.child, process.incarnation, up=True)

    def die(self, *ids: str, reason: ExitReason = "killed") -> None:
        """End processes: all of one batch."""
        gone = [(id, self.processes.pop(id)) for id in ids]
        facts = [de.WentDown(id, reason, coming=self._is_coming(id, process, reason)) for id, process in gone]
        self._feed(*facts)
        for _, process in gone:
            event = ev.StartFailed if process.state == "starting" else ev.ChildExited
            self.deliver(process.node, event(process.child, process.incarnation, reason))

    def _is_coming(self, id: str, process: Process, reason: ExitReason) -> bool:
        view = process.node.machine.child(process.child)
        assert view is not None
        if self.shown[id] is State.STOPPING:
            return process.node.machine.starts_again(process.child)
        return verdict(view.spec.restart, reason) is Verdict.RESTART

    def run(self, pick: Callable[[list[str]], str]) -> None:
        """Let everything come out, in the order that `pick` chooses, and time pass where nothing else is to come."""
        while (pending := self.pending) or self._tick():
            if pending:
                self.come_out(pick(pending))

    def _tick(self) -> bool:
        due = {key: at for key, at in self.timers.items() if key[1].kind is ev.TimerKind.BACKOFF}
        if not due:
            return False
        path, timer = min(due, key=due.__getitem__)
        self.now = max(self.now, self.timers.pop((path, timer)))
        self.deliver(self.nodes[path], ev.TimerFired(timer))
        return True

    def ask(self, id: str, kind: type[Any]) -> None:
        """Ask a leaf's supervisor for something, on behalf of a user."""
        node = self.nodes.get(id.rpartition("/")[0])
        if node is not None:
            self._requests += 1
            self.deliver(node, kind(self._requests, ChildId(id.rpartition("/")[2])))
