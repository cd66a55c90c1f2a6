"""What a supervisor machine decided, done: processes started and ended, timers set, states shown, answers given.

Owns nothing that outlives an instruction but the parts that it hands them to. Never decides anything, and never ends what no
machine has asked it to: that is `killing`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, assert_never

from dspex_runtime.core import events as ev
from dspex_runtime.core import instructions as do
from dspex_runtime.core.child_spec import ChildSpec
from dspex_runtime.errors import DspexError, StartError, SupervisorError
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.node.dependencies import Dependencies
from dspex_runtime.node.ending import Ending
from dspex_runtime.node.error_reports import ErrorReports
from dspex_runtime.node.event_loop import EventLoop
from dspex_runtime.node.exits import End, Exits
from dspex_runtime.node.handing_on import is_tellable
from dspex_runtime.node.killing import Killing
from dspex_runtime.node.launcher import Launcher
from dspex_runtime.node.module_process import ModuleProcess
from dspex_runtime.node.naming import Naming
from dspex_runtime.node.outcomes import Outcomes
from dspex_runtime.node.registry import Registry
from dspex_runtime.node.relations import Relations
from dspex_runtime.node.reports import Reports
from dspex_runtime.node.states import States
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
        relations: Relations,
        naming: Naming,
    ) -> None:
        self._supervision = supervision
        self._loop = loop
        self._registry = registry
        self._launcher = launcher
        self._reports = reports
        self._relations = relations
        self._naming = naming
        self.states = States(supervision, registry, reports)
        self._errors = ErrorReports(reports)
        self.outcomes = Outcomes(supervision, registry, reports, relations, self.states)
        self.dependencies = Dependencies(supervision, registry, reports)
        self.exits = Exits(loop, self.dependencies, self._decide)
        self.killing = Killing(supervision, loop, launcher, reports, self.outcomes)

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
                    self.states.show(node, instruction)
                case do.ChildDeleted(child):
                    self.states.forget(node.full_id(child), itself=True)
                    if node.key.startswith("@") and not node.machine.children:  # it was there for this child, or these replicas
                        self._supervision.deliver(node, ev.ShutdownRequested("normal"))
                case do.Booted():
                    self.outcomes.booted(node)
                case do.BootFailed(child, reason, error):
                    self.outcomes.boot_failed(node, child, reason, error)
                case do.Exited():
                    self.outcomes.exited(node, instruction)
                case _:
                    assert_never(instruction)

    def _timer_fired(self, node: SupervisorNode, timer: ev.TimerId) -> None:
        del node.timers[timer]
        self._supervision.deliver(node, ev.TimerFired(timer))

    # -- children ---------------------------------------------------------------------------------------------------

    def _start(self, node: SupervisorNode, spec: ChildSpec, incarnation: Incarnation) -> None:
        full_id = node.full_id(spec.id)
        record = self._registry.ensure(full_id, spec)
        self.states.starting(record, incarnation)
        dependencies = self._supervision.dependencies
        dependencies.starting(record, incarnation)
        self._supervision.timeline.starting(full_id)
        if node.announced and spec.supervisor is None:
            self._supervision.announce(node, node.announced - 1)
        taken = self._naming.start(record)
        if taken is not None:
            dependencies.down((record, taken.reason or "noproc", True))
            self._supervision.deliver(node, ev.StartFailed(spec.id, incarnation, taken.reason or "noproc", taken.to_wire()))
            return
        if spec.supervisor is not None:
            self._start_supervisor(node, spec, incarnation)
            return

        def ready(process: ModuleProcess) -> None:
            record.started_at = time.time()
            record.version = spec.version or process.version
            record.kind = process.kind
            if record.process is process and record.state is State.STARTING:  # else it is on its way out
                dependencies.up(record, incarnation)
                self._supervision.timeline.ready(full_id)
            self._supervision.deliver(node, ev.ChildReady(spec.id, incarnation, process.pid))
            dependencies.settle(record)

        def ended(process: ModuleProcess, ending: Ending) -> None:
            self.ended(node, process, ending)

        launched = node.launched(spec)
        record.process = process = ModuleProcess(
            self._loop,
            id=full_id,
            incarnation=incarnation,
            spec=launched,
            on_ready=ready,
            on_end=ended,
            on_event=self.told,
            on_request=self._relations.asked,
        )
        node.processes[process] = None
        self._launcher.start(process)

    def told(self, process: ModuleProcess, facts: dict[str, Any]) -> None:
        """A child's process tells something of itself."""
        self._errors.event(process, facts)

    def ended(self, node: SupervisorNode, process: ModuleProcess, ending: Ending) -> None:
        """Free what it held, tell who watches and who is linked, then let the supervisor decide: in this order (§2.7)."""
        node.processes.pop(process, None)
        record = self._registry.get(process.id)
        stopping = node.killed_because is not None or (record is not None and record.state is State.STOPPING)
        self._errors.ended(process, ending, expected=stopping)
        if record is not None and record.process is process:
            record.process = None
            record.exited(process.incarnation, ending.reason)
        try:
            self._relations.process_ended(process, ending.reason)
        finally:  # a bug in telling one of the others must not leave a child that nobody restarts
            self.exits.add((node, process, ending))

    def _decide(self, ends: Sequence[End]) -> None:
        """Have those that depend on what ended know of it before any of its supervisors does something about it."""
        self._supervision.dependencies.down(*(
            (record, ending.reason, not ending.ignored and node.brings_back(record, ending.reason))
            for node, process, ending in ends
            if (record := self._registry.get(process.id)) is not None and record.process is None
        ))  # fmt: skip
        for end in ends:
            self._tell_supervisor(*end)

    def _tell_supervisor(self, node: SupervisorNode, process: ModuleProcess, ending: Ending) -> None:
        if node.killed_because is not None:
            self.killing.lost_one(node)
            return
        child, incarnation = process.spec.id, Incarnation(process.incarnation)
        if ending.ignored:
            self._supervision.deliver(node, ev.ChildIgnored(child, incarnation))
        elif ending.ready:
            self._supervision.deliver(node, ev.ChildExited(child, incarnation, ending.reason))
        else:
            # What `dx.Fail` told to whoever started it is not why the process ended: that is "normal".
            said = (ending.fault or {}).get("start_reason")
            reason = said if is_tellable(said) else ending.reason
            self._supervision.deliver(node, ev.StartFailed(child, incarnation, reason, ending.fault))

    def _start_supervisor(self, node: SupervisorNode, spec: ChildSpec, incarnation: Incarnation) -> None:
        assert spec.supervisor is not None
        path = node.full_id(spec.id)
        self.states.forget(path, frozenset(child.id for child in spec.supervisor.children))
        self._registry.ensure(path, spec).gave_up = False

        def booted(error: StartError | None) -> None:
            if error is None:
                self._supervision.dependencies.up(self._registry.ensure(path, spec), incarnation)
                self._supervision.timeline.ready(path)
                self._supervision.deliver(node, ev.ChildReady(spec.id, incarnation, os.getpid()))  # it is in this process
                self._supervision.dependencies.settle(self._registry.ensure(path, spec))
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
            self.killing.kill_supervisor(below, reason)
            return
        process = self._process(node, child)
        if process is not None:
            process.kill(reason)
            self._launcher.abandon(process)

    def _process(self, node: SupervisorNode, child: ChildId) -> ModuleProcess | None:
        record = self._registry.get(node.full_id(child))
        return record.process if record is not None else None

    # -- telling ----------------------------------------------------------------------------------------------------

    def _report(self, node: SupervisorNode, report: do.Report) -> None:
        if report.kind is do.ReportKind.PROGRESS:
            return  # the state event says it
        supervisor, full_id = node.path or "root", node.full_id(report.child_id)
        record = self._registry.get(full_id)
        incarnation = int(report.detail.get("incarnation", record.incarnation if record is not None else 0))
        self._reports.report(
            report.kind.value,
            full_id,
            supervisor=supervisor,
            error_context=report.kind.value,
            reason=report.reason,
            offender=self._errors.offender(full_id, record.spec if record is not None else None, incarnation),
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
        return start_error(node.full_id(err.child_id or ChildId("")), err.reason or "noproc", err.error)
    return SupervisorError(err.code, err.message, id=node.path or None)


def _plain(facts: dict[str, Any]) -> dict[str, Any]:
    return {f"{key}_" if key in ("id", "type", "seq", "time") else key: value for key, value in facts.items()}
