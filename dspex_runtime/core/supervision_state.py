"""What every supervisor knows: its children, its restart budget, and who starts and stops one child.

Never decides who is restarted with whom, what waits for what, or how the supervisor ends: there the two kinds differ, see
`supervision` and `dynamic_supervision`.
"""

from __future__ import annotations

from collections.abc import Callable

from dspex_runtime.core import reports
from dspex_runtime.core.backoff import delay_s
from dspex_runtime.core.child_spec import ChildSpec, SupervisorSpec
from dspex_runtime.core.child_table import ChildTable, Life, Record
from dspex_runtime.core.events import TimerKind
from dspex_runtime.core.outbox import Outbox
from dspex_runtime.core.restart_policy import is_clean_stop
from dspex_runtime.core.starting import Starter
from dspex_runtime.core.termination import Terminator
from dspex_runtime.core.window import RestartWindow
from dspex_runtime.types import ChildId, Incarnation, State


class SupervisionState:
    """The part of a supervisor's state that does not depend on its kind.

    Attributes:
        held: Children whose restart has to wait, also some that it does not have (yet).
    """

    def __init__(
        self,
        spec: SupervisorSpec,
        *,
        next_incarnation: Callable[[ChildId], Incarnation],
        random: Callable[[], float],
        is_clean: Callable[..., bool] = is_clean_stop,
    ) -> None:
        self.spec = spec
        self.table = ChildTable()
        self.held: set[ChildId] = set()
        self.out = Outbox()
        self.starter = Starter(self.out, next_incarnation)
        self.terminator = Terminator(self.out, is_clean=is_clean)
        self._window = RestartWindow(spec.max_restarts, spec.max_seconds)
        self._random = random

    def respecify(self, record: Record, spec: ChildSpec) -> None:
        """Give a child another spec; whatever is decided about it from now on goes by it."""
        record.spec = spec

    def reconfigure(self, spec: SupervisorSpec) -> None:
        """Supervise by another spec; restarts that were counted count."""
        self.spec = spec
        self._window.resize(spec.max_restarts, spec.max_seconds)
        self.table.arrange(child.id for child in spec.children)

    def restarts_within(self, now: float) -> int:
        """Return how much of the restart budget is used."""
        return self._window.within(now)

    def count_restart(self, record: Record, now: float) -> float | None:
        """Count a restart; return the seconds that it is delayed by, None when it is one too many and the child has failed."""
        if self._window.record(now):
            record.attempts += 1
            return delay_s(record.spec.backoff, record.attempts, self._random)
        self.out.emit(reports.gave_up(record, self._window))
        record.life = Life.UNDEFINED
        self.out.mark(record, State.FAILED, reason=record.last_exit)
        return None

    def put_off(self, record: Record, not_before: float) -> None:
        """Let a restart that was decided wait until the child is released, and at least until then."""
        self.out.cancel_timer(TimerKind.BACKOFF, record)
        record.life = Life.RESTARTING
        record.not_before = not_before
        self.out.mark(record, State.PENDING, reason=record.last_exit)
