"""A fake world for a supervisor machine, static or dynamic: plays instructions back as events and keeps a log of what was done.

Children become ready and obey unless told otherwise. After every event the machine is validated.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from typing import Any

from dspex_runtime.core import events as ev
from dspex_runtime.core import instructions as do
from dspex_runtime.core.child_spec import ChildSpec, Shutdown, SupervisorSpec
from dspex_runtime.core.machine import Machine
from dspex_runtime.core.machine_kinds import machine_for
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.types import AutoShutdown, ChildId, Incarnation, Kind, RestartType, State, Strategy

ERROR: ExitReason = ("error", "ValueError", "no", "Traceback ...")


def child(id: str, restart: str = "permanent", **fields: Any) -> ChildSpec:
    """Return a child spec with OTP's manners (no back-off) unless told otherwise."""
    fields.setdefault("kind", Kind.SERVER)
    fields.setdefault("backoff", None)
    return ChildSpec(id=ChildId(id), restart=RestartType(restart), **fields)


def children(ids: str, restart: str = "permanent", **fields: Any) -> list[ChildSpec]:
    """Return one spec for each letter."""
    return [child(id, restart, **fields) for id in ids]


class World:
    """Processes, timers and a clock around one machine.

    Attributes:
        log: "start a", "stop a", "kill a": what was done, for processes that were alive.
        script: How the next starts of a child come out: "ready" (default), "fail", "ignore", "hang".
        stubborn: Children that ignore StopChild.
        undying: Children whose death by KillChild is not delivered until `die`.
        exits: With what a child ends that was asked to.
    """

    def __init__(
        self,
        specs: Iterable[ChildSpec],
        strategy: str = "one_for_one",
        *,
        max_restarts: int = 3,
        max_seconds: float = 5.0,
        random: float = 0.5,
        auto_shutdown: str = "never",
        dynamic: bool = False,
        max_children: int | None = None,
    ) -> None:
        self.now = 0.0
        self.log: list[str] = []
        self.script: dict[str, deque[str]] = {}
        self.stubborn: set[str] = set()
        self.undying: set[str] = set()
        self.exits: dict[str, ExitReason] = {}
        self.alive: dict[ChildId, Incarnation] = {}
        self.pending: set[ChildId] = set()  # alive, neither ready nor failed yet
        self.timers: dict[ev.TimerId, float] = {}
        self.replies: dict[int, do.Ok | do.Err] = {}
        self.reports: list[tuple[str, str, Any]] = []
        self.states: dict[str, list[State]] = {}
        self.deleted: list[str] = []
        self.kills: list[tuple[str, ExitReason]] = []
        self.booted = False
        self.ending: do.Exited | do.BootFailed | None = None
        self.specs: dict[str, ChildSpec] = {}  # what the next start of a child is made from
        self._incarnations: Counter[str] = Counter()
        self._inbox: deque[ev.Event] = deque()
        self._requests = 0
        self._respecified: dict[int, ChildSpec] = {}  # asked for by request
        spec = SupervisorSpec(
            Strategy(strategy),
            max_restarts,
            max_seconds,
            tuple(specs),
            AutoShutdown(auto_shutdown),
            dynamic=dynamic,
            max_children=max_children,
        )
        self.machine: Machine = machine_for(spec, next_incarnation=self._next_incarnation, random=lambda: random)

    def _next_incarnation(self, child_id: ChildId) -> Incarnation:
        self._incarnations[child_id] += 1
        return Incarnation(self._incarnations[child_id])

    # what happens in the world

    def boot(self) -> World:
        self.deliver(ev.Boot())
        return self

    def crash(self, *ids: str, reason: ExitReason = "killed") -> None:
        """End running children by themselves, all before the machine hears of the first."""
        self.deliver(*[ev.ChildExited(ChildId(id), self.alive.pop(ChildId(id)), reason) for id in ids])

    def ready(self, id: str) -> None:
        self.pending.remove(ChildId(id))
        self.deliver(ev.ChildReady(ChildId(id), self.alive[ChildId(id)], 100))

    def fail(self, id: str, reason: ExitReason = ERROR, error: dict[str, Any] | None = None) -> None:
        self.pending.remove(ChildId(id))
        self.deliver(ev.StartFailed(ChildId(id), self.alive.pop(ChildId(id)), reason, error))

    def die(self, id: str, reason: ExitReason = "killed") -> None:
        """Let a child end that would not."""
        self.pending.discard(ChildId(id))
        self.deliver(ev.ChildExited(ChildId(id), self.alive.pop(ChildId(id)), reason))

    def swap(self, id: str, spec: ChildSpec, *, pid: int = 200) -> None:
        """Let a child go on as another process."""
        self.deliver(ev.ChildSwapped(ChildId(id), self.alive[ChildId(id)], spec, pid))

    def advance(self, seconds: float) -> None:
        """Let time pass, firing timers when they are due."""
        end = self.now + seconds
        while self.timers and min(self.timers.values()) <= end:
            timer = min(self.timers, key=self.timers.__getitem__)
            self.now = max(self.now, self.timers.pop(timer))
            self.deliver(ev.TimerFired(timer))
        self.now = end

    def number(self) -> int:
        """Return the number of the next request."""
        self._requests += 1
        return self._requests

    def ask(self, request: type[Any], *args: Any) -> int:
        """Send a request and return its number."""
        number = self.number()
        if request is ev.ChangeSpecAsked:
            (self._respecified[number],) = args
        self.deliver(request(number, *args))
        return number

    def answer(self, request: type[Any], *args: Any) -> Any:
        """Send a request and return its value, or the code of its error."""
        return self.outcome(self.ask(request, *args))

    def outcome(self, number: int) -> Any:
        """Return what a request came to: its value, the code of its error, or "waiting"."""
        match self.replies.get(number):
            case None:
                return "waiting"
            case do.Err(code):
                return code
            case do.Ok(value):
                return value

    def shutdown(self, reason: ExitReason = "shutdown") -> None:
        self.deliver(ev.ShutdownRequested(reason))

    # looking

    def did(self) -> list[str]:
        """Return the log since the last look."""
        log, self.log = self.log, []
        return log

    def state(self, id: str) -> str:
        view = self.machine.child(ChildId(id))
        return "gone" if view is None else view.state.value

    def phase(self) -> str:
        return self.machine.phase.value

    def shown(self) -> str:
        """Return all states in start order, e.g. "a:READY b:BACKOFF"."""
        return " ".join(f"{view.id}:{view.state}" for view in self.machine.children)

    def running(self) -> str:
        """Return the ids of all living processes, in start order."""
        return "".join(view.id for view in self.machine.children if view.id in self.alive)

    # the shell

    def deliver(self, *events: ev.Event) -> None:
        """Hand over events one after the other, and what comes of them after those."""
        self._inbox.extend(events)
        while self._inbox:
            event = self._inbox.popleft()
            for instruction in self.machine.handle(event, self.now):
                self._execute(instruction)
            self.machine.validate()

    def _execute(self, instruction: do.Instruction) -> None:
        assert self.ending is None or isinstance(instruction, do.Reply), f"{instruction} after {self.ending}"
        match instruction:
            case do.StartChild(spec, incarnation):
                assert spec.id not in self.alive, f"{spec.id} is started while it runs"
                assert self.specs.setdefault(spec.id, spec) == spec, f"{spec.id} is started from an old spec"
                self.log.append(f"start {spec.id}")
                self.alive[spec.id] = incarnation
                self._come_up(spec.id, incarnation)
            case do.StopChild(id, incarnation, Shutdown(), _):
                if self.alive.get(id) == incarnation:
                    self.log.append(f"stop {id}")
                    if id not in self.stubborn:
                        self._end(id, self.exits.get(id, "shutdown"))
            case do.KillChild(id, incarnation, reason):
                self.kills.append((id, reason))
                if self.alive.get(id) == incarnation:
                    self.log.append(f"kill {id}")
                    if id not in self.undying:
                        self._end(id, "killed" if reason == "killed" else reason)
            case do.SetTimer(timer, at):
                assert at > self.now
                self.timers[timer] = at
            case do.CancelTimer(timer):
                del self.timers[timer]
            case do.Reply(request, result):
                self._replied(request, result)
            case do.Report(kind, id, reason, _):
                self.reports.append((kind.value, id, reason))
            case do.ChildState():
                self._show(instruction)
            case do.ChildDeleted(id, _):
                self.deleted.append(id)
                self.specs.pop(id, None)
            case do.Booted():
                self.booted = True
            case do.BootFailed() | do.Exited():
                assert not self.alive, f"ended with {self.alive} alive"
                assert not self.timers, f"ended with timers {self.timers}"
                self.ending = instruction

    def _replied(self, request: int, result: do.Ok | do.Err) -> None:
        assert request not in self.replies, f"request {request} is answered twice"
        self.replies[request] = result
        if isinstance(result, do.Ok) and (spec := self._respecified.get(request)) is not None:
            self.specs[spec.id] = spec

    def _show(self, shown: do.ChildState) -> None:
        self.states.setdefault(shown.child_id, []).append(shown.state)
        if "swapped" in shown.detail:
            view = self.machine.child(shown.child_id)
            assert view is not None
            self.specs[view.id] = view.spec

    def _come_up(self, id: ChildId, incarnation: Incarnation) -> None:
        script = self.script.get(id)
        match script.popleft() if script else "ready":
            case "ready":
                self._inbox.append(ev.ChildReady(id, incarnation, 100))
            case "fail":
                self._inbox.append(ev.StartFailed(id, self.alive.pop(id), ERROR, {"class": "StartError"}))
            case "ignore":
                del self.alive[id]
                self._inbox.append(ev.ChildIgnored(id, incarnation))
            case "hang":
                self.pending.add(id)

    def _end(self, id: ChildId, reason: ExitReason) -> None:
        incarnation = self.alive.pop(id)
        if id in self.pending:
            self.pending.remove(id)
            self._inbox.append(ev.StartFailed(id, incarnation, reason))
        else:
            self._inbox.append(ev.ChildExited(id, incarnation, reason))


def dynamic(specs: Iterable[ChildSpec], **fields: Any) -> World:
    """Return a dynamic supervisor that runs, with these children started one after the other."""
    world = World([], dynamic=True, **fields).boot()
    for spec in specs:
        world.ask(ev.StartChildAsked, spec)
    return world


def scripted(world: World, **outcomes: str) -> World:
    """Set how the next starts come out: scripted(world, a="fail fail ready")."""
    for id, script in outcomes.items():
        world.script[id] = deque(script.split())
    return world
