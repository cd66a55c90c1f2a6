"""Ends that no supervisor's machine has asked for: exit signals, and a supervisor killed with everything below it.

A supervisor that is killed says no goodbye and keeps no order; its end is told when all that was below it is dead. Owns what is
killed how. Never decides who restarts: what ends here is, to its supervisor, a child that ended with that reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dspex_runtime.core import events as ev
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.node.event_loop import EventLoop
from dspex_runtime.node.launcher import Launcher
from dspex_runtime.node.outcomes import Outcomes
from dspex_runtime.node.registry import Record
from dspex_runtime.node.reports import Reports
from dspex_runtime.node.supervisor_node import SupervisorNode
from dspex_runtime.types import Incarnation

if TYPE_CHECKING:
    from dspex_runtime.node.supervision import Supervision


class Killing:
    """Ends processes and supervisors from outside their tree."""

    def __init__(self, supervision: Supervision, loop: EventLoop, launcher: Launcher, reports: Reports, outcomes: Outcomes) -> None:
        self._supervision = supervision
        self._loop = loop
        self._launcher = launcher
        self._reports = reports
        self._outcomes = outcomes

    def end(self, record: Record, reason: ExitReason, sender: str) -> None:
        """End a process in order because of a signal; to its supervisor it is a process that ended with that reason."""
        process = record.process
        assert process is not None
        shutdown = process.spec.shutdown
        if shutdown.brutal:
            self.kill(record, reason, sender)
            return
        self._reports.emit("exit_signal", record.id, incarnation=record.incarnation, reason=reason, sender=sender)
        process.stop(shutdown, reason)
        self._launcher.abandon(process)
        if shutdown.timeout_s is not None:
            self._loop.call_later(shutdown.timeout_s, lambda: process.kill("killed"))

    def kill(self, record: Record, reason: ExitReason, sender: str) -> None:
        """End a process, or a supervisor with all that is below it, at once because of a signal."""
        self._reports.emit("exit_signal", record.id, incarnation=record.incarnation, reason=reason, sender=sender)
        below = self._supervision.node_of(record.id)
        if below is not None:
            if below.killed_because is None:
                self.kill_supervisor(below, reason)
        elif record.process is not None:
            record.process.kill(reason)
            self._launcher.abandon(record.process)

    def kill_supervisor(self, node: SupervisorNode, reason: ExitReason) -> None:
        """Kill a supervisor and all that is below it; its end is told with this reason."""
        node.killed_because = reason
        for timer in node.timers.values():
            timer.cancel()
        for below in list(node.below):
            self.kill_supervisor(below, reason)
        for process in list(node.processes):
            process.kill("killed")
            self._launcher.abandon(process)
        self.lost_one(node)

    def lost_one(self, node: SupervisorNode) -> None:
        """Something below a killed supervisor is gone: when it was the last, so is the supervisor. Cost: constant till then."""
        reason = node.killed_because
        if node.closed or reason is None or node.processes or node.below:
            return
        self._outcomes.killed(node, reason)
        parent = node.parent
        assert parent is not None  # only a child is ever killed
        if parent.killed_because is not None:
            self.lost_one(parent)
        else:
            self._supervision.deliver(parent, ev.ChildExited(node.child_id, Incarnation(node.incarnation), reason))
