"""What a supervisor machine decided, done: processes started and ended, timers set, states shown, answers given."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, assert_never

from dspex_runtime.core import events as ev
from dspex_runtime.core import instructions as do
from dspex_runtime.core.child_spec import ChildSpec
from dspex_runtime.errors import DspexError, StartError, SupervisorError
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.node.event_loop import EventLoop
from dspex_runtime.node.launcher import Launcher
from dspex_runtime.node.module_process import Ending, ModuleProcess
from dspex_runtime.node.monitoring import Monitoring
from dspex_runtime.node.registry import Registry
from dspex_runtime.node.reports import Reports
from dspex_runtime.node.supervisor_node import SupervisorNode, start_error
from dspex_runtime.types import ChildId, Incarnation, State

if TYPE_CHECKING:
    from dspex_runtime.node.supervision import Supervision


class Executor:
    """Carries out instructions and turns what comes of them into events."""

    def __init__(
        self,
        supervision: Supervision,
        loop: EventLoop,
        registry: Registry,
        launcher: Launcher,
        reports: Reports,
        monitoring: Monitoring,
    ) -> None:
        self._supervision = supervision
        self._loop = loop
        self._registry = registry
        self._launcher = launcher
        self._reports = reports
        self._monitoring = monitoring
        self.given_up: dict[str, SupervisorNode] = {}  #: roots that reached their restart limit, by key

    def execute(self, node: SupervisorNode, instructions: Sequence[do.Instruction]) -> None:
        """Carry out what `node`'s machine answered to one event, in order."""
        for instruction in instructions:
            match instruction:
                case do.StartChild(spec, incarnation):
                    self._start(node, spec, incarnation)
                case do.StopChild():
                    self._stop(node, instruction)
                case do.KillChild(child, _, reason):
                    self._kill(node, child, reason)
                case do.SetTimer(timer, at):
                    node.timers[timer] = self._loop.call_at(at, lambda timer=timer: self._timer_fired(node, timer))  # type: ignore[misc]
                case do.CancelTimer(timer):
                    node.timers.pop(timer).cancel()
                case do.Reply(request, result):
                    self._reply(node, request, result)
                case do.Report():
                    self._report(node, instruction)
                case do.ChildState():
                    self._show(node, instruction)
                case do.ChildDeleted(child):
                    self._registry.prune(node.full_id(child), frozenset())
                    self._registry.remove(node.full_id(child))
                    if node.key.startswith("@"):  # it was there for this child alone
                        self._supervision.deliver(node, ev.ShutdownRequested("normal"))
                case do.Booted():
                    self._booted(node)
                case do.BootFailed(child, reason, error):
                    self._boot_failed(node, child, reason, error)
                case do.Exited(reason, gave_up):
                    self._exited(node, reason, gave_up)
                case _:
                    assert_never(instruction)

    def _timer_fired(self, node: SupervisorNode, timer: ev.TimerId) -> None:
        del node.timers[timer]
        self._supervision.deliver(node, ev.TimerFired(timer))

    # -- children ---------------------------------------------------------------------------------------------------

    def _start(self, node: SupervisorNode, spec: ChildSpec, incarnation: Incarnation) -> None:
        full_id = node.full_id(spec.id)
        record = self._registry.ensure(full_id, spec)
        record.incarnation = incarnation
        if spec.supervisor is not None:
            self._start_supervisor(node, spec, incarnation)
            return
        if node.announced:
            self._supervision.announce(node, node.announced - 1)

        def ready(process: ModuleProcess) -> None:
            record.started_at = time.time()
            record.version = process.version or spec.version
            record.kind = process.kind
            self._supervision.deliver(node, ev.ChildReady(spec.id, incarnation, process.pid))

        def ended(process: ModuleProcess, ending: Ending) -> None:
            self._ended(node, process, ending)

        def event(process: ModuleProcess, facts: dict[str, Any]) -> None:
            self._reports.emit(str(facts.pop("type", "module")), process.id, incarnation=incarnation, **_plain(facts))

        record.process = ModuleProcess(
            self._loop, id=full_id, incarnation=incarnation, spec=spec, on_ready=ready, on_end=ended, on_event=event
        )
        self._launcher.start(record.process)

    def _ended(self, node: SupervisorNode, process: ModuleProcess, ending: Ending) -> None:
        """Free the name, tell the monitors, then let the supervisor decide: in this order (otp-semantics §2.7)."""
        record = self._registry.get(process.id)
        if record is not None and record.process is process:
            record.process = None
            record.exited(process.incarnation, ending.reason)
        self._monitoring.down(process.id, process.incarnation, ending.reason)
        if node.killed_because is not None:
            self._killed_one(node)
            return
        child, incarnation = process.spec.id, Incarnation(process.incarnation)
        if ending.ignored:
            self._supervision.deliver(node, ev.ChildIgnored(child, incarnation))
        elif ending.ready:
            self._supervision.deliver(node, ev.ChildExited(child, incarnation, ending.reason))
        else:
            self._supervision.deliver(node, ev.StartFailed(child, incarnation, ending.reason, ending.fault))

    def _start_supervisor(self, node: SupervisorNode, spec: ChildSpec, incarnation: Incarnation) -> None:
        assert spec.supervisor is not None
        path = node.full_id(spec.id)
        self._registry.prune(path, frozenset(child.id for child in spec.supervisor.children))
        self._registry.ensure(path, spec).gave_up = False

        def booted(error: StartError | None) -> None:
            if error is None:
                self._supervision.deliver(node, ev.ChildReady(spec.id, incarnation, None))
            else:
                reason: ExitReason = ("shutdown", ("failed_to_start_child", error.id, error.reason))
                self._supervision.deliver(node, ev.StartFailed(spec.id, incarnation, reason, error.to_wire()))

        child_node = SupervisorNode(
            self._registry,
            spec.supervisor,
            key=path,
            path=path,
            booted=booted,
            exited=lambda _: None,
            parent=node,
            child_id=spec.id,
            incarnation=incarnation,
        )
        self._supervision.open_node(child_node)

    def _stop(self, node: SupervisorNode, stop: do.StopChild) -> None:
        below = self._supervision.node_of(node.full_id(stop.child_id))
        if below is not None:
            self._supervision.deliver(below, ev.ShutdownRequested(stop.reason))
            return
        process = self._process(node, stop.child_id)
        if process is None:
            return  # its exit is under way to the machine
        process.stop(stop.shutdown, stop.reason)
        self._launcher.abandon(process)

    def _kill(self, node: SupervisorNode, child: ChildId, reason: ExitReason) -> None:
        below = self._supervision.node_of(node.full_id(child))
        if below is not None:
            self._kill_supervisor(below, reason)
            return
        process = self._process(node, child)
        if process is not None:
            process.kill(reason)
            self._launcher.abandon(process)

    def _process(self, node: SupervisorNode, child: ChildId) -> ModuleProcess | None:
        record = self._registry.get(node.full_id(child))
        return record.process if record is not None else None

    # -- killing a supervisor: no order, no goodbye, and its end is told when everything below is dead ----------------

    def _kill_supervisor(self, node: SupervisorNode, reason: ExitReason) -> None:
        node.killed_because = reason
        for timer in node.timers.values():
            timer.cancel()
        for below in self._supervision.below(node):
            self._kill_supervisor(below, reason)
        for process in self._processes_of(node):
            process.kill("killed")
            self._launcher.abandon(process)
        self._killed_one(node)

    def _processes_of(self, node: SupervisorNode) -> list[ModuleProcess]:
        return [r.process for r in self._registry if r.process is not None and r.id.rpartition("/")[0] == node.path]

    def _killed_one(self, node: SupervisorNode) -> None:
        """Something under a killed supervisor is gone: when it was the last, so is the supervisor."""
        if node.closed or node.killed_because is None or self._processes_of(node) or self._supervision.below(node):
            return
        self._supervision.close_node(node)
        for record in [r for r in self._registry if r.id.rpartition("/")[0] == node.path and not r.gone]:
            record.state = State.STOPPED  # its machine will not say it
            self._reports.emit("state", record.id, state=record.state.value, incarnation=record.incarnation)
            self._registry.changed(record)
        self._down(node, node.killed_because)
        parent = node.parent
        assert parent is not None  # only a child is ever killed
        if parent.killed_because is not None:
            self._killed_one(parent)
        else:
            self._supervision.deliver(parent, ev.ChildExited(node.child_id, Incarnation(node.incarnation), node.killed_because))

    # -- the supervisor itself --------------------------------------------------------------------------------------

    def _booted(self, node: SupervisorNode) -> None:
        self.given_up.pop(node.key, None)
        self._supervision.announce(node, 0)
        booted, node.booted = node.booted, None
        if booted is not None:
            booted(None)

    def _boot_failed(self, node: SupervisorNode, child: ChildId, reason: ExitReason, error: dict[str, Any] | None) -> None:
        booted, node.booted = node.booted, None
        self._supervision.close_node(node)
        self._down(node, reason)
        if booted is not None:
            booted(_start_error(node.full_id(child), reason, error))

    def _exited(self, node: SupervisorNode, reason: ExitReason, gave_up: bool) -> None:
        booted, node.booted = node.booted, None
        self._supervision.close_node(node)
        if gave_up:
            self._failed(node)
        self._down(node, reason, gave_up=gave_up)
        parent = node.parent
        if parent is None:
            if gave_up:
                self.given_up[node.key] = node
            node.exited(gave_up)
        else:
            child, incarnation = node.child_id, Incarnation(node.incarnation)
            if booted is not None:  # stopped before it was up
                self._supervision.deliver(parent, ev.StartFailed(child, incarnation, reason, None))
            else:
                self._supervision.deliver(parent, ev.ChildExited(child, incarnation, reason))

    def _down(self, node: SupervisorNode, reason: ExitReason, *, gave_up: bool = False) -> None:
        record = self._registry.get(node.path)
        if record is not None:
            record.exited(node.incarnation, reason)
            record.gave_up = gave_up
            self._monitoring.down(record.id, node.incarnation, reason)

    def _failed(self, node: SupervisorNode) -> None:
        """Show what a supervisor that gave up has stopped; its parent may start it all again in the next moment."""
        prefix = node.path + "/" if node.path else ""
        for record in list(self._registry):
            alone = "@" + record.id == node.key
            if alone or (
                not node.key.startswith("@") and record.id.startswith(prefix) and self._supervision.owner(record.id) is None
            ):
                record.state = State.FAILED
                self._registry.changed(record)
        self._reports.emit("gave_up", node.path or node.key.removeprefix("@") or "root", max_restarts=node.spec.max_restarts)

    # -- telling ----------------------------------------------------------------------------------------------------

    def _show(self, node: SupervisorNode, shown: do.ChildState) -> None:
        view = node.machine.child(shown.child_id)
        if view is None:
            return
        record = self._registry.ensure(node.full_id(shown.child_id), view.spec)
        # OTP's parent sees a supervisor that gave up exit with "shutdown"; people must see that it failed.
        state = State.FAILED if record.gave_up and shown.state is State.EXITED else shown.state
        if record.state is not state or record.incarnation != shown.incarnation:
            detail = {key: value for key, value in shown.detail.items() if key != "error"}
            self._reports.emit("state", record.id, state=state.value, incarnation=shown.incarnation, **_plain(detail))
        record.state = state
        record.restarts = view.restarts
        if shown.state is State.READY and record.spec.supervisor is not None:
            record.started_at = time.time()
        self._registry.changed(record)

    def _report(self, node: SupervisorNode, report: do.Report) -> None:
        if report.kind is do.ReportKind.PROGRESS:
            return  # the state event says it
        supervisor = node.path or "root"
        self._reports.emit(
            report.kind.value,
            node.full_id(report.child_id),
            supervisor=supervisor,
            reason=report.reason,
            **_plain(dict(report.detail)),
        )

    def _reply(self, node: SupervisorNode, request: int, result: do.Ok | do.Err) -> None:
        match result:
            case do.Ok(do.Started(child, _, _)):
                self._supervision.answer(request, node.full_id(child), None)
            case do.Ok("undefined"):
                self._supervision.answer(request, None, None)
            case do.Ok(value):
                self._supervision.answer(request, value, None)
            case do.Err():
                self._supervision.answer(request, None, _error(node, result))


def _error(node: SupervisorNode, err: do.Err) -> DspexError:
    if err.code == "start_failed":
        return _start_error(node.full_id(err.child_id or ChildId("")), err.reason or "noproc", err.error)
    return SupervisorError(err.code, err.message, id=node.path or None)


def _start_error(full_id: str, reason: ExitReason, error: dict[str, Any] | None) -> StartError:
    if error is not None and error.get("class") == "StartError":  # of a child further down: it says more than we could
        inner = DspexError.from_wire(error)
        assert isinstance(inner, StartError)
        return inner
    return start_error(full_id, reason, error)


def _plain(facts: dict[str, Any]) -> dict[str, Any]:
    return {f"{key}_" if key in ("id", "type", "seq", "time") else key: value for key, value in facts.items()}
