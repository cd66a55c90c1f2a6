"""The pure core under a scenario: a whole tree of supervisor machines in a fake world.

Owns the processes, the clock, the gates and the log. Decides nothing: what becomes of a start or a stop is in the scenario.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from typing import Any, Final

from dspex_runtime.core import events as ev
from dspex_runtime.core import instructions as do
from dspex_runtime.core.child_spec import BRUTAL_KILL, INFINITY, ChildSpec, Shutdown, SupervisorSpec
from dspex_runtime.core.machine import Machine
from dspex_runtime.core.machine_kinds import machine_for
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.types import AutoShutdown, ChildId, Incarnation, Kind, RestartType, Strategy

ROOT: Final = "r"
SWAPPED: Final = "swapped"  # the version of every spec that a swap gave
Child = dict[str, Any]  # of a scenario


def supervisor_spec(plan: dict[str, Any]) -> SupervisorSpec:
    """Return a supervisor of a scenario as the core's spec."""
    if plan.get("dynamic"):
        return SupervisorSpec(
            max_restarts=plan["intensity"],
            max_seconds=float(plan["period"]),
            dynamic=True,
            max_children=plan.get("max_children"),
        )
    return SupervisorSpec(
        Strategy(plan["strategy"]),
        plan["intensity"],
        float(plan["period"]),
        tuple(child_spec(child) for child in plan["children"]),
        AutoShutdown(plan.get("auto_shutdown", "never")),
    )


def child_spec(child: Child) -> ChildSpec:
    """Return a child of a scenario as the core's spec, without what OTP has not. Its script goes along as metadata."""
    plan = child.get("supervisor")
    limit = child["shutdown"]
    return ChildSpec(
        id=ChildId(child["id"]),
        kind=Kind.SERVER if plan is None else Kind.SUPERVISOR,
        restart=RestartType(child["restart"]),
        shutdown={"brutal_kill": BRUTAL_KILL, "infinity": INFINITY}.get(limit) or Shutdown(timeout_s=limit / 1000),
        significant=child.get("significant", False),
        start_timeout_s=None,
        backoff=None,
        supervisor=None if plan is None else supervisor_spec(plan),
        metadata=child,
    )


def reason_of(text: str) -> ExitReason:
    """Return the core's form of a reason in a scenario."""
    word, _, what = text.partition(":")
    if what:
        return (word, what)
    return word if word in ("normal", "shutdown", "killed") else ("error", word, "", "")


def reason_text(reason: ExitReason | None) -> str:
    """Return the form of a reason in scenarios and logs; the inverse of `reason_of`."""
    match reason:
        case ("shutdown", ("failed_to_start_child", id, why)):
            return f"shutdown:failed_to_start_child:{id}:{reason_text(why)}"
        case ("shutdown", what):
            return f"shutdown:{what}"
        case ("error", word, _, _):
            return str(word)
        case _:
            return str(reason)


@dataclass(slots=True, eq=False)
class Worker:
    """One incarnation of a worker."""

    path: str
    incarnation: int
    child: Child
    supervisor: Node
    gate: str | None = None  #: "start" or "stop" while it waits there

    @property
    def name(self) -> str:
        return f"{self.path}#{self.incarnation}"


@dataclass(slots=True, eq=False)
class Node:
    """One incarnation of a supervisor."""

    path: str
    incarnation: int
    machine: Machine
    parent: Node | None
    id: ChildId
    held: list[ev.Event] | None = None  #: events that wait while it is suspended
    below: dict[str, Worker | Node] = field(default_factory=dict)  #: children that are starting, up or stopping
    replies: dict[int, do.Ok | do.Err] = field(default_factory=dict)  #: to be shown
    ended: bool = False

    @property
    def name(self) -> str:
        return f"{self.path}#{self.incarnation}"


class World:
    """Machines, processes, timers and one log.

    Attributes:
        places: What is up, by path: the latest that came up and has not ended.
        gates: Workers that wait in their start or stop, first come first.
        opened: The names of all supervisors there ever were.
        swapped: How many workers were started from the spec that a swap gave them.
    """

    def __init__(self, plan: dict[str, Any], *, validate: bool = False, swaps: bool = False) -> None:
        self.now = 0.0
        self.lines: list[str] = []
        self.places: dict[str, Worker | Node] = {}
        self.gates: deque[Worker] = deque()
        self.opened: set[str] = set()
        self._plan = supervisor_spec(plan)
        self.swapped = 0
        self._validate = validate
        self._swaps = swaps
        self._counts: Counter[str] = Counter()
        self._dead: list[tuple[str, str]] = []  # names and reasons that the log does not have yet
        self._inbox: deque[tuple[Node, ev.Event]] = deque()
        self._timers: list[tuple[float, int, Node, ev.TimerId]] = []
        self._cancelled: set[tuple[Node, ev.TimerId]] = set()
        self._armed = 0

    # -- the log

    def line(self, text: str) -> None:
        """Append a line, after the ends of all that died since the last one, by name."""
        self.bury()
        self.lines.append(text)

    def bury(self) -> None:
        """Log the ends of all that died since the last line."""
        if self._dead:
            self.lines.extend(f"end {name} {reason}" for name, reason in sorted(self._dead))
            self._dead.clear()

    # -- what happens

    def boot(self) -> None:
        """Start the root."""
        self._open(None, ChildId(ROOT), ROOT, self._plan, self._count(ROOT))

    def stop(self) -> None:
        """Shut the root down, as its parent would."""
        if isinstance(root := self.places.get(ROOT), Node):
            self.tell(root, ev.ShutdownRequested("shutdown"))

    def tell(self, node: Node, event: ev.Event) -> None:
        """Put an event into a supervisor's mailbox."""
        if node.held is not None:
            node.held.append(event)
        else:
            self._inbox.append((node, event))

    def finish(self, worker: Worker, reason: ExitReason) -> None:
        """End a worker: by itself, because it was told to, or by a kill."""
        del worker.supervisor.below[worker.child["id"]]
        if worker.gate is not None:
            self.gates.remove(worker)
        id, incarnation = ChildId(worker.child["id"]), Incarnation(worker.incarnation)
        if worker.gate == "start":
            self.tell(worker.supervisor, ev.StartFailed(id, incarnation, reason))
        else:
            self._gone(worker, reason)
            self.tell(worker.supervisor, ev.ChildExited(id, incarnation, reason))

    def release(self, worker: Worker) -> None:
        """Let a worker go on that waits at a gate."""
        gate = worker.gate
        if gate == "start":
            self.gates.remove(worker)
            worker.gate = None
            self._come_up(worker, self._outcome(worker).removeprefix("slow "))
        elif gate == "stop":
            self.finish(worker, "shutdown")

    def run(self) -> None:
        """Let everything happen that happens by itself, up to the next gate; time passes only when nothing else does."""
        while True:
            while self._inbox:
                node, event = self._inbox.popleft()
                self._handle(node, event)
            if self.gates or not self._fire():
                return

    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    # -- instructions

    def _handle(self, node: Node, event: ev.Event) -> None:
        for instruction in node.machine.handle(event, self.now):
            self._execute(node, instruction)
        if self._validate:
            node.machine.validate()

    def _execute(self, node: Node, instruction: do.Instruction) -> None:
        match instruction:
            case do.StartChild(spec, incarnation):
                self._start(node, spec, incarnation)
            case do.StopChild(id, incarnation, _, reason):
                if (found := self._below(node, id, incarnation)) is not None:
                    self._stop(found, reason)
            case do.KillChild(id, incarnation, reason):
                if (found := self._below(node, id, incarnation)) is not None:
                    assert isinstance(found, Worker), "a scenario kills no supervisor"
                    self.finish(found, reason)
            case do.SetTimer(timer, at):
                self._armed += 1
                heapq.heappush(self._timers, (at, self._armed, node, timer))
            case do.CancelTimer(timer):
                self._cancelled.add((node, timer))
            case do.Reply(request, result):
                node.replies[request] = result
            case do.Report():
                self._report(node, instruction)
            case do.Booted():
                self.places[node.path] = node
                if node.parent is not None:
                    self.tell(node.parent, ev.ChildReady(node.id, Incarnation(node.incarnation)))
            case do.BootFailed(id, reason):
                self._boot_failed(node, ("shutdown", ("failed_to_start_child", id, reason)))
            case do.Exited(reason):
                self._exited(node, reason)
            case do.ChildState() | do.ChildDeleted():
                pass  # what people are shown; OTP has nothing to compare it with

    def _report(self, node: Node, report: do.Report) -> None:
        path = f"{node.path}/{report.child_id}"
        if report.kind is not do.ReportKind.PROGRESS:
            self.line(f"report {report.kind} {path} {reason_text(report.reason)}")
        elif not node.machine.spec.dynamic:  # Elixir's makes no progress reports
            self.line(f"up {path}")

    def _start(self, node: Node, spec: ChildSpec, incarnation: Incarnation) -> None:
        path = f"{node.path}/{spec.id}"
        assert spec.id not in node.below, f"{path} is started while it runs"
        if spec.supervisor is not None:
            self._open(node, spec.id, path, spec.supervisor, incarnation)
            return
        self.swapped += spec.version == SWAPPED
        self.line(f"start {path}#{incarnation}")
        worker = node.below[spec.id] = Worker(path, incarnation, dict(spec.metadata), node)
        outcome = self._outcome(worker)
        if outcome.startswith("slow "):
            self._wait(worker, "start")
        else:
            self._come_up(worker, outcome)

    def _open(self, parent: Node | None, id: ChildId, path: str, spec: SupervisorSpec, incarnation: int) -> None:
        self.line(f"start {path}#{incarnation}")
        machine = machine_for(spec, next_incarnation=lambda child: Incarnation(self._count(f"{path}/{child}")), random=lambda: 0.5)
        node = Node(path, incarnation, machine, parent, id)
        self.opened.add(node.name)
        if parent is not None:
            parent.below[id] = node
        self.tell(node, ev.Boot())

    def _come_up(self, worker: Worker, outcome: str) -> None:
        id, incarnation = ChildId(worker.child["id"]), Incarnation(worker.incarnation)
        word, _, reason = outcome.partition(" ")
        match word:
            case "ok":
                self.places[worker.path] = worker
                self.tell(worker.supervisor, ev.ChildReady(id, incarnation, 1))
                if self._swaps:
                    self._swap(worker, id, incarnation)
            case "ignore":
                del worker.supervisor.below[id]
                self.tell(worker.supervisor, ev.ChildIgnored(id, incarnation))
            case "fail":
                del worker.supervisor.below[id]
                self.tell(worker.supervisor, ev.StartFailed(id, incarnation, reason_of(reason)))
            case _:
                raise ValueError(f"unknown outcome {outcome!r} of a start of {worker.path}")

    def _swap(self, worker: Worker, id: ChildId, incarnation: Incarnation) -> None:
        """Let a worker go on as another process, from a spec that differs in nothing OTP knows."""
        view = worker.supervisor.machine.child(id)
        assert view is not None
        self.tell(worker.supervisor, ev.ChildSwapped(id, incarnation, replace(view.spec, version=SWAPPED), 2))

    def _stop(self, found: Worker | Node, reason: ExitReason) -> None:
        if isinstance(found, Node):
            self.tell(found, ev.ShutdownRequested(reason))
            return
        assert found.gate is None, "a scenario stops nobody who is starting"
        manner = found.child.get("stop", "obey")
        if manner == "notrap":
            self.finish(found, reason)
            return
        if found.child["shutdown"] == 0:
            return  # the kill overtakes it: it never gets to see what it was asked
        self.line(f"stop {found.name} {reason_text(reason)}")
        word, _, own = manner.partition(" ")
        match word:
            case "obey":
                self.finish(found, reason)
            case "exit":
                self.finish(found, reason_of(own))
            case "slow":
                self._wait(found, "stop")
            case "stubborn":
                pass
            case _:
                raise ValueError(f"unknown manner {manner!r} of stopping {found.path}")

    def _wait(self, worker: Worker, gate: str) -> None:
        worker.gate = gate
        self.gates.append(worker)

    def _boot_failed(self, node: Node, reason: ExitReason) -> None:
        node.ended = True
        if node.parent is None:
            self.line(f"boot failed {reason_text(reason)}")
            return
        del node.parent.below[node.id]
        self.tell(node.parent, ev.StartFailed(node.id, Incarnation(node.incarnation), reason))

    def _exited(self, node: Node, reason: ExitReason) -> None:
        node.ended = True
        self._gone(node, reason)
        if node.parent is not None:
            del node.parent.below[node.id]
            self.tell(node.parent, ev.ChildExited(node.id, Incarnation(node.incarnation), reason))

    # -- small things

    def _gone(self, process: Worker | Node, reason: ExitReason) -> None:
        self._dead.append((process.name, reason_text(reason)))
        del self.places[process.path]

    def _fire(self) -> bool:
        """Let time pass until the next timer that is still armed; False when there is none."""
        while self._timers:
            at, _, node, timer = heapq.heappop(self._timers)
            if (node, timer) in self._cancelled:
                self._cancelled.discard((node, timer))
                continue
            self.now = max(self.now, at)
            self.tell(node, ev.TimerFired(timer))
            return True
        return False

    def _below(self, node: Node, id: ChildId, incarnation: Incarnation) -> Worker | Node | None:
        found = node.below.get(id)
        return found if found is not None and found.incarnation == incarnation else None

    def _outcome(self, worker: Worker) -> str:
        return str(worker.child.get("starts", {}).get(str(worker.incarnation), "ok"))

    def _count(self, path: str) -> int:
        self._counts[path] += 1
        return self._counts[path]
