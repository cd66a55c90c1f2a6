"""The new version of a member, from its start until it is the member: a process beside the one that serves, which nobody knows of.

It has the id and the incarnation that it is to be, and nothing of what belongs to them: no record, no names, no place under a
supervisor, nothing that is kept. When it takes the place it is told whom to tell from then on; when not it is killed, and leaves
nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dspex_runtime.core.child_spec import ChildSpec
from dspex_runtime.node.ending import Ending
from dspex_runtime.node.error_reports import CRASH_REPORT
from dspex_runtime.node.event_loop import Timer
from dspex_runtime.node.module_process import ModuleProcess
from dspex_runtime.node.module_session import ModuleSession
from dspex_runtime.node.swapping.asking import InRehearsal
from dspex_runtime.osproc.liveness import has_exited
from dspex_runtime.wire.messages import Message

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node
    from dspex_runtime.node.registry import Record
    from dspex_runtime.node.supervision import ProcessEvents

__all__ = ["Understudy"]


class Understudy:
    """See the module docstring.

    Args:
        node: The runtime.
        record: Of the member.
        spec: What its process gets: with the extra arguments of its supervisor.
        on_ready: Called when it is built.
        on_end: Called with how it ended, before it took the place.
        on_gone: Called when there is nothing left of it, before it took the place.
    """

    def __init__(
        self,
        node: Node,
        record: Record,
        spec: ChildSpec,
        *,
        on_ready: Callable[[], None],
        on_end: Callable[[Ending], None],
        on_gone: Callable[[], None],
    ) -> None:
        self._node = node
        self._on_ready = on_ready
        self._on_end = on_end
        self._on_gone = on_gone
        self._events: ProcessEvents | None = None  #: whom it tells once it has taken the place
        self._timer: Timer | None = None
        self._crash: dict[str, Any] = {}  #: what it said of its own end
        self._old = record.process
        self.process = ModuleProcess(
            node.loop,
            id=record.id,
            incarnation=record.incarnation,
            spec=spec,
            on_ready=self._ready,
            on_end=self._ended,
            on_event=self._told,
            on_request=self._asked,
        )
        self.process.rehearsal = True
        self.session = ModuleSession(node, self.process)
        self._asks = InRehearsal(node, self.session, self._old_session)
        self.session.instead = self._asks

    @property
    def lives(self) -> bool:
        """Whether it is ready and its process there, also as far as the kernel knows."""
        process = self.process
        return process.serving and process.pid is not None and not has_exited(process.pid)

    def start(self) -> None:
        """Have it made; it has the child's own time to be ready."""
        assert self._node.launcher is not None
        limit_s = self.process.spec.start_timeout_s
        if limit_s is not None:
            self._timer = self._node.loop.call_later(limit_s, lambda: self.kill(("limit", "start_timeout", limit_s)))
        self._node.launcher.start(self.process)

    def kill(self, reason: Any = "killed") -> None:
        """End it at once, or its start. Idempotent."""
        if self._events is None and not self.process.ended:
            self.process.kill(reason)
            assert self._node.launcher is not None
            self._node.launcher.abandon(self.process)

    def takes_place(self, events: ProcessEvents) -> None:
        """From here on it is the member: `events` hear what it tells and how it ends."""
        self._events = events
        self.process.rehearsal = False

    def does_what_it_asked(self) -> None:
        """Do what it has asked for in the rehearsal."""
        self._asks.done()

    # -- the process ------------------------------------------------------------------------------------------------

    def _ready(self, _process: ModuleProcess) -> None:
        self._stop_timer()
        self._on_ready()

    def _ended(self, process: ModuleProcess, ending: Ending) -> None:
        self._stop_timer()
        if self._events is not None:
            self._events[1](process, ending)
            return
        self.session.closed()
        self._node.parts.abandoned(process)
        fault = ending.fault or self._fault_of_crash()
        self._on_end(Ending(ending.reason, ending.ready, ending.ignored, fault))
        self._on_gone()

    def _told(self, process: ModuleProcess, facts: dict[str, Any]) -> None:
        if self._events is not None:
            self._events[0](process, facts)
        elif facts.get("type") == CRASH_REPORT:
            self._crash = facts  # no crash of the child: it is in the error of the swap

    def _asked(self, process: ModuleProcess, message: Message) -> None:
        if self._events is not None:
            self._node.relations.asked(process, message)
        else:
            self.session.message(message)

    def _fault_of_crash(self) -> dict[str, Any] | None:
        match self._crash.get("reason"):
            case ("error", _, str(message), str(traceback)):
                return {"message": message, "traceback": traceback}
            case _:
                return None

    def _old_session(self) -> ModuleSession | None:
        return None if self._old is None else self._node.relations.session_of(self._old)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
