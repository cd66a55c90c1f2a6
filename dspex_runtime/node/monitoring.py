"""Who watches whom, and the delivery of the notices to clients. The table itself is `core.monitors`."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from dspex_runtime.core.monitors import MonitorTable, Notice
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.node.registry import Record
from dspex_runtime.types import FullId, Incarnation

if TYPE_CHECKING:
    from dspex_runtime.node.session import Session


class Monitoring:
    """Monitors of clients on children. Each ends with one notice, or with its client."""

    def __init__(self) -> None:
        self._table: MonitorTable[Session] = MonitorTable()
        self._refs = itertools.count(1)

    def monitor(self, record: Record, session: Session) -> int:
        """Watch the newest incarnation of a child; returns the monitor's number."""
        ref = next(self._refs)
        self._table.monitor(ref, FullId(record.id), Incarnation(record.incarnation), session)
        return ref

    def demonitor(self, ref: int, session: Session) -> bool:
        """Stop watching; returns whether the monitor was still active."""
        return self._table.demonitor(ref, session)

    def down(self, id: str, incarnation: int, reason: ExitReason) -> None:
        """An incarnation ended, its name and resources are free: tell whoever watches."""
        for notice in self._table.down(FullId(id), Incarnation(incarnation), reason):
            self._deliver(notice)

    def no_process(self, record: Record, ref: int, session: Session) -> None:
        """There is nothing to watch: say so at once, as OTP does."""
        if self._table.demonitor(ref, session):
            session.down(ref, record.id, record.incarnation, "noproc")

    def owner_gone(self, session: Session) -> None:
        """A client is gone, and so are its monitors."""
        self._table.owner_gone(session)

    def _deliver(self, notice: Notice[Session]) -> None:
        notice.owner.down(notice.ref, notice.id, notice.incarnation, notice.reason)
