"""A supervision tree without operating system processes: real supervisors, registry and monitors, fake processes.

Processes become ready, obey and die unless told otherwise, each step in a turn of its own as real ones do. Time stands
still until a test moves it.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, cast

import pytest

from dspex_runtime.core.child_spec import ChildSpec, Dependency, LaunchSpec, Shutdown, SupervisorSpec
from dspex_runtime.errors import DspexError
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.node import executor, exits, naming
from dspex_runtime.node.control_pipe import FdAnswer
from dspex_runtime.node.control_requests import Answer
from dspex_runtime.node.ending import Ending
from dspex_runtime.node.event_loop import EventLoop
from dspex_runtime.node.launcher import Launcher
from dspex_runtime.node.linking import ProcessId
from dspex_runtime.node.module_process import Keeper, ModuleProcess
from dspex_runtime.node.naming import Naming
from dspex_runtime.node.registry import Record, Registry
from dspex_runtime.node.relations import Relations
from dspex_runtime.node.reports import Reports
from dspex_runtime.node.session import Session
from dspex_runtime.node.supervision import Supervision
from dspex_runtime.node.swapping import member, understudy
from dspex_runtime.node.swapping.holding_back import HoldingBack
from dspex_runtime.types import ChildId, Kind, OnDown, RestartType, Strategy
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.faults import to_fault
from dspex_runtime.wire.messages import CONTROL, EVENT, Message
from helpers.peers import FakePeer


class ManualLoop(EventLoop):
    """The real loop with a clock that only `advance` moves."""

    def __init__(self) -> None:
        self.time = 1000.0
        super().__init__()

    def now(self) -> float:
        return self.time

    def has_more(self) -> bool:
        """Return whether something waits for the end of a turn."""
        return bool(self._soon)

    def turn(self) -> None:
        """Handle everything that is ready now."""
        self.call_soon(self.stop)
        self.run()

    def advance(self, seconds: float) -> None:
        """Let time pass and run what is due then."""
        self.time += seconds
        self.turn()


def worker(id: str, restart: str = "permanent", **fields: Any) -> ChildSpec:
    """Return the spec of a server, with OTP's manners (no back-off) unless told otherwise."""
    fields.setdefault("backoff", None)
    fields.setdefault("launch", LaunchSpec(Kind.SERVER, target="pkg:X"))
    return ChildSpec(ChildId(id), Kind.SERVER, RestartType(restart), **fields)


def needing(child: ChildSpec, **on_down: str) -> ChildSpec:
    """Return a child that depends on these, by full id, and is started after those of them that are its siblings."""
    depends_on = {id: Dependency(OnDown(each)) for id, each in on_down.items()}
    return replace(child, depends_on=depends_on, after=frozenset(ChildId(id.partition("/")[0]) for id in on_down))


def group(id: str, *children: ChildSpec, restart: str = "permanent", **fields: Any) -> ChildSpec:
    """Return the spec of a nested supervisor."""
    own = {key: fields.pop(key) for key in ("max_restarts", "max_seconds") if key in fields}
    supervisor = SupervisorSpec(Strategy(fields.pop("strategy", "one_for_one")), children=children, **own)
    fields = {"backoff": None, "shutdown": Shutdown(timeout_s=None), "start_timeout_s": None, **fields}
    return ChildSpec(ChildId(id), Kind.SUPERVISOR, RestartType(restart), supervisor=supervisor, **fields)


class FakeProcess:
    """Stands for a ModuleProcess: what becomes of it is decided by the FakeLauncher and the test."""

    launcher: FakeLauncher
    zombies: ClassVar[set[int]] = set()  #: pids that have died without the runtime having heard of it

    def __init__(
        self,
        loop: EventLoop,
        *,
        id: str,
        incarnation: int,
        spec: ChildSpec,
        on_ready: Callable[[ModuleProcess], None],
        on_end: Callable[[ModuleProcess, Ending], None],
        on_event: Callable[[ModuleProcess, dict[str, Any]], None],
        on_request: Callable[[ModuleProcess, Message], None],
    ) -> None:
        self.id = id
        self.incarnation = incarnation
        self.spec = spec
        self.pid: int | None = None
        self.slot: int | None = None
        self.version: str | None = None
        self.boot_s: float | None = None
        self.kind = spec.kind
        self.idempotent: list[str] = []
        self.takes: list[str] | None = None
        self.awaited = False
        self.serving = False
        self.ended = False
        self.signals: list[int] = []
        self.requests: list[tuple[str, dict[str, Any], float | None, Answer]] = []
        self.channels = 0
        self.mail: list[Any] = []  #: messages for its mailbox
        self.depends_on: dict[str, Any] = {}  #: how it was told that things are that it depends on
        self.peer = FakePeer()  #: what it is sent
        self.keeper: Keeper | None = None
        self.saved = False
        self.facts: dict[str, Any] = {}  #: of its assignment
        self.kept: list[tuple[dict[str, Any], int]] = []  #: what of earlier incarnations it was given: info, descriptors
        self.fd_requests: list[tuple[str, dict[str, Any], FdAnswer]] = []
        self.fd_timeouts: list[float | None] = []
        self.brought: list[bytes] = []  #: what was in the descriptors that came with those
        self.on_progress: Callable[[dict[str, Any]], None] | None = None
        self.illegal_messages: list[Message] = []
        self.on_changed: Callable[[str, dict[str, Any]], None] | None = None
        self.files: list[list[Any]] = []
        self.main: str | None = None
        self._rehearses = False
        self.held_back: HoldingBack | None = None
        self.left: list[ExitReason] = []  #: why it was told to leave
        self._awaited: tuple[Collection[str], Callable[[], None]] | None = None
        self._requests_made = 0
        self._was_ready = False
        self._on_ready = on_ready
        self._on_end = on_end
        self._on_event = on_event
        self._on_request = on_request

    @property
    def launch(self) -> LaunchSpec:
        assert self.spec.launch is not None
        return self.spec.launch

    @property
    def rehearsal(self) -> bool:
        return self._rehearses

    @rehearsal.setter
    def rehearsal(self, rehearses: bool) -> None:
        if self._rehearses and not rehearses:  # it takes the place of the one that served
            self.launcher.processes[self.id] = self
        self._rehearses = rehearses

    def become_ready(self) -> None:
        self.serving = self._was_ready = True
        if self.keeper is not None:
            self.keeper.ready(cast(ModuleProcess, self))
        self._on_ready(cast(ModuleProcess, self))

    def end(self, reason: ExitReason = "killed", *, fault: dict[str, Any] | None = None, ignored: bool = False) -> None:
        if not self.ended:
            self.ended, self.serving = True, False
            ending = Ending(reason, self._was_ready, ignored, fault)
            if self.keeper is not None:
                self.keeper.ended(cast(ModuleProcess, self), ending)
            self._on_end(cast(ModuleProcess, self), ending)

    def tell(self, **facts: Any) -> None:
        self._on_event(cast(ModuleProcess, self), facts)

    def ask(self, op: str, /, **args: Any) -> list[Any]:
        """Ask the runtime something, as a module; return what it is sent because of it."""
        before = len(self.peer.sent)
        self._requests_made -= 1
        self.send([CONTROL, self._requests_made, op, args])
        return self.peer.sent[before:]

    def send(self, message: Message) -> None:
        """Send the runtime something that is numbered as a request of a module."""
        self._on_request(cast(ModuleProcess, self), message)

    def illegal(self, message: Message) -> None:
        self.illegal_messages.append(message)

    def message(self, message: Any) -> None:
        if self.held_back is not None and self.held_back.everything:
            self.held_back.put(lambda to: to.message(message))
            return
        Codec().pack([EVENT, 0, {"type": "message", "message": message}])  # what the real one sends, and raises for
        self.mail.append(message)

    def stop(self, shutdown: Shutdown, reason: ExitReason) -> None:
        self.serving = False
        self.launcher.stopped(self, reason)

    def kill(self, reason: ExitReason) -> None:
        self.serving = False
        self.launcher.killed(self, reason)

    def signal(self, signo: int, *, group: bool = False) -> None:
        self.signals.append(signo)

    def request(self, op: str, args: dict[str, Any], timeout_s: float | None, answer: Answer, fds: Sequence[int] = ()) -> None:
        if self.held_back is not None and self.held_back.keeps(op):
            late = lambda: answer(None, {"message": "too late"})  # noqa: E731
            self.held_back.put_question(lambda to, left_s: to.request(op, args, left_s, answer, fds), timeout_s, late, fds)
            return
        self.request_now(op, args, timeout_s, answer, fds)

    def request_now(self, op: str, args: dict[str, Any], timeout_s: float | None, answer: Answer, fds: Sequence[int] = ()) -> None:
        for fd in fds:
            os.close(fd)
        if op == "signal":  # taken at once
            self.mail.append(args["message"])
            answer(None, None)
            return
        self.requests.append((op, args, timeout_s, answer))

    def request_fd(self, op: str, args: dict[str, Any], timeout_s: float | None, answer: FdAnswer, fds: Sequence[int] = ()) -> None:
        if self.held_back is not None and self.held_back.keeps(op):
            late = lambda: answer(None, {"message": "too late"}, None)  # noqa: E731
            self.held_back.put_question(lambda to, left_s: to.request_fd(op, args, left_s, answer, fds), timeout_s, late, fds)
            return
        self.request_fd_now(op, args, timeout_s, answer, fds)

    def request_fd_now(
        self, op: str, args: dict[str, Any], timeout_s: float | None, answer: FdAnswer, fds: Sequence[int] = ()
    ) -> None:
        self.brought += [os.pread(fd, 100, 0) for fd in fds]
        for fd in fds:
            os.close(fd)
        self.fd_requests.append((op, args, answer))
        self.fd_timeouts.append(timeout_s)

    @property
    def asked(self) -> list[str]:
        return [request[0] for request in (*self.requests, *self.fd_requests)]

    def when_answered(self, but: Collection[str], done: Callable[[], None]) -> None:
        self._awaited = (but, done)
        self.settled()

    def settled(self) -> None:
        """Look whether what is waited for was answered; the real one does that by itself."""
        if self._awaited is not None and all(op in self._awaited[0] for op in self.asked):
            (_, done), self._awaited = self._awaited, None
            done()

    def answered(self, op: str, value: Any = None, fault: dict[str, Any] | None = None) -> dict[str, Any]:
        """Answer the oldest open question of this kind; return what was asked."""
        (found,) = [request for request in self.requests if request[0] == op][:1]
        self.requests.remove(found)
        found[3](value, fault)
        self.settled()
        return found[1]

    def replaced(self, on_end: Callable[[ModuleProcess, Ending], None]) -> None:
        self.serving, self.keeper, self.on_changed, self._on_end = False, None, None, on_end

    def leave(self, shutdown: Shutdown, reason: ExitReason) -> None:
        self.left.append(reason)
        self.launcher.stopped(self, reason)

    def give_kept(self, info: dict[str, Any], fds: list[int]) -> None:
        for fd in fds:
            os.close(fd)
        self.kept.append((info, len(fds)))

    def depend(self, table: dict[str, Any], done: Callable[[], None]) -> None:
        self.depends_on = table
        done()

    def send_channel(self, info: dict[str, Any], fd: int) -> None:
        if self.held_back is not None and self.held_back.everything:
            self.held_back.put(lambda to: to.send_channel(info, fd), (fd,))
            return
        self.channels += 1
        os.close(fd)


class FakeLauncher:
    """Notes what is started, stopped and killed; `settle` lets what follows from it happen.

    Attributes:
        log: "start a", "stop a", "kill a".
        script: How the next starts of a full id come out: "ready" (default), "fail", "ignore", "hang"; of those beside the one
            that serves under "id beside".
        stubborn: Full ids that do not end when they are asked to.
        undying: Full ids whose end does not come, not even after a kill.
    """

    def __init__(self) -> None:
        self.log: list[str] = []
        self.script: dict[str, list[str]] = {}
        self.stubborn: set[str] = set()
        self.undying: set[str] = set()
        self.processes: dict[str, FakeProcess] = {}
        self.understudies: dict[str, FakeProcess] = {}  #: the latest that was started beside the one that serves
        self.abandoned: list[str] = []
        self.announced: list[int] = []
        self.zygote_pids: dict[str, int | None] = {}
        self.closed = False
        self.spares: int | None = None  #: how many it was told to keep
        self.facts: Callable[[ModuleProcess], dict[str, Any]] | None = None  #: what the node says in assignments
        self._todo: deque[Callable[[], None]] = deque()
        self._pids = 100

    def expect(self, starts: int) -> None:
        self.announced.append(starts)

    def open(self) -> None:
        self.zygote_pids = {"servers": 42, "modules": 43}

    def close(self) -> None:
        self.closed = True

    def start(self, process: ModuleProcess) -> None:
        fake = cast(FakeProcess, process)
        if fake.rehearsal:
            self.understudies[fake.id] = fake
        else:
            assert fake.id not in self.processes or self.processes[fake.id].ended, f"{fake.id} is started while it runs"
            self.processes[fake.id] = fake
        self._pids += 1
        fake.pid, fake.launcher = self._pids, self
        if self.facts is not None:
            fake.facts = self.facts(process)
        self.log.append(f"start {fake.id}")
        script = self.script.get(f"{fake.id} beside" if fake.rehearsal else fake.id)
        match script.pop(0) if script else "ready":
            case "ready":
                self._todo.append(lambda: None if fake.ended else fake.become_ready())
            case "fail":
                self._todo.append(lambda: fake.end(("error", "ValueError", "no", "Traceback ..."), fault=fault_of(fake)))
            case "ignore":
                self._todo.append(lambda: fake.end("normal", ignored=True))

    def keep_spares(self, n: int) -> None:
        self.spares = n

    def calm(self, who: object, *, is_calm: bool) -> None:
        pass

    def abandon(self, process: ModuleProcess) -> None:
        self.abandoned.append(process.id)

    def stopped(self, process: FakeProcess, reason: ExitReason) -> None:
        self.log.append(f"stop {process.id}")
        if process.id not in self.stubborn | self.undying:
            self._todo.append(lambda: process.end(reason))

    def killed(self, process: FakeProcess, reason: ExitReason) -> None:
        self.log.append(f"kill {process.id}")
        if process.id not in self.undying:
            self._todo.append(lambda: process.end(reason))

    def settle(self) -> None:
        """Let happen what is under way, and what follows from it."""
        while self._todo:
            self._todo.popleft()()

    def did(self) -> list[str]:
        """Return the log since the last look."""
        log, self.log = self.log, []
        return log


def fault_of(process: FakeProcess) -> dict[str, Any]:
    """Return a start's fault as a module sends it."""
    try:
        raise ValueError("no")
    except ValueError as exc:
        return to_fault(exc, id=process.id, incarnation=process.incarnation, codec=Codec())


@dataclass(eq=False)
class FakeSession:
    """A client that only watches; `notices` are (id, incarnation, reason)."""

    notices: list[tuple[str, int, Any]] = field(default_factory=list)

    def down(self, ref: int, id: str, incarnation: int, reason: Any) -> None:
        self.notices.append((id, incarnation, reason))


@dataclass(eq=False)
class Outcome:
    """What an answer brought; `came` counts how often."""

    value: Any = None
    error: DspexError | None = None
    came: int = 0

    def __call__(self, value: Any, error: DspexError | None) -> None:
        self.value, self.error, self.came = value, error, self.came + 1


class FakeTree:
    """A real Supervision over fake processes."""

    def __init__(self) -> None:
        self.loop = ManualLoop()
        self.registry = Registry()
        self.reports = Reports()
        self.naming = Naming(self.registry, self.reports, lambda record: self.supervision.alive(record))
        self.relations = Relations(self.registry, lambda: self.supervision, lambda process: pytest.fail("nobody asks here"))
        self.relations.on_process_end.append(self.naming.ended)
        self.launcher = FakeLauncher()
        self.supervision = Supervision(
            self.loop, self.registry, cast(Launcher, self.launcher), self.reports, self.relations, self.naming
        )
        self.boots: list[Any] = []
        self.exits: list[bool] = []
        self.session = FakeSession()

    def boot(self, *children: ChildSpec, **fields: Any) -> FakeTree:
        """Boot a root with these children, and let it come up."""
        strategy = Strategy(fields.pop("strategy", "one_for_one"))
        spec = SupervisorSpec(strategy, children=children, **fields)
        self.supervision.boot(spec, self.boots.append, self.exits.append)
        self.settle()
        return self

    def settle(self) -> None:
        """Let happen what follows."""
        self.launcher.settle()
        while self.loop.has_more():
            self.loop.turn()
            self.launcher.settle()

    def record(self, id: str) -> Record:
        record = self.registry.get(id)
        assert record is not None, f"no record of {id}"
        return record

    def process(self, id: str) -> FakeProcess:
        return self.launcher.processes[id]

    def shown(self) -> dict[str, str]:
        """Return the state of every record."""
        return {record.id: record.state.value for record in self.registry}

    def crash(self, *ids: str, reason: ExitReason = "killed") -> None:
        """End running processes by themselves, then let happen what follows."""
        for id in ids:
            self.process(id).end(reason)
        self.settle()

    def ask(self, ask: Callable[..., None], *args: Any) -> Outcome:
        """Call something of the supervision that answers; let happen what follows."""
        outcome = Outcome()
        ask(*args, outcome)
        self.settle()
        return outcome

    def advance(self, seconds: float) -> None:
        self.loop.advance(seconds)
        self.settle()

    def watch(self, *ids: str) -> FakeSession:
        """Monitor the newest incarnations."""
        for id in ids:
            self.relations.monitoring.monitor(ProcessId(id, self.record(id).incarnation), cast(Session, self.session))
        return self.session

    def close(self) -> None:
        self.loop.close()


def use_fake_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have supervisors make fake processes."""
    monkeypatch.setattr(executor, "ModuleProcess", FakeProcess)
    monkeypatch.setattr(understudy, "ModuleProcess", FakeProcess)
    for module in (understudy, member):
        monkeypatch.setattr(module, "has_exited", lambda pid: pid in FakeProcess.zombies)
    monkeypatch.setattr(naming, "has_exited", lambda pid: pid in FakeProcess.zombies)
    monkeypatch.setattr(exits, "is_dying", lambda pid: pid in FakeProcess.zombies)
    FakeProcess.zombies.clear()
