"""Who watches whom, and the delivery of the notices. The table itself is `core.monitors`."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from dspex_runtime.core.monitors import MonitorTable, Notice
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.node.linking import ProcessId
from dspex_runtime.types import FullId, Incarnation

if TYPE_CHECKING:
    from dspex_runtime.node.session import Asker


class Monitoring:
    """Monitors of clients and modules on children. Each ends with one notice, or with whoever watches."""

    def __init__(self) -> None:
        self._table: MonitorTable[Asker] = MonitorTable()
        self._refs = itertools.count(1)

    def new_ref(self) -> int:
        """Return a number that no monitor and no client's link has had."""
        return next(self._refs)

    def monitor(self, process: ProcessId, session: Asker, ref: int | None = None) -> int:
        """Watch one incarnation of a child; returns the monitor's number. Each is its own, also on the same incarnation.

        `ref` is a number of `new_ref` that it is to have.
        """
        ref = self.new_ref() if ref is None else ref
        self._table.monitor(ref, FullId(process.id), Incarnation(process.incarnation), session)
        return ref

    def demonitor(self, ref: int, session: Asker) -> bool:
        """Stop watching; returns whether the monitor was still active."""
        return self._table.demonitor(ref, session)

    def refs(self, process: ProcessId, session: Asker) -> list[int]:
        """Return the numbers of the monitors that a session has on an incarnation, the first made first."""
        return self._table.refs(FullId(process.id), Incarnation(process.incarnation), session)

    def moved(self, old: Asker, new: Asker) -> None:
        """The monitors of one are another's from now on."""
        self._table.moved(old, new)

    def down(self, id: str, incarnation: int, reason: ExitReason) -> None:
        """An incarnation ended, its name and resources are free: tell whoever watches."""
        for notice in self._table.down(FullId(id), Incarnation(incarnation), reason):
            self._deliver(notice)

    def no_process(self, process: ProcessId, ref: int, session: Asker) -> None:
        """There is nothing to watch: say so at once, as OTP does."""
        if self._table.demonitor(ref, session):
            session.down(ref, process.id, process.incarnation, "noproc")

    def owner_gone(self, session: Asker) -> None:
        """A client or a module is gone, and so are its monitors."""
        self._table.owner_gone(session)

    def _deliver(self, notice: Notice[Asker]) -> None:
        notice.owner.down(notice.ref, notice.id, notice.incarnation, notice.reason)
