"""Which significant children are left, and whether the end of one ends its supervisor (OTP auto_shutdown).

Asked only about a child that ended by itself and stays down: what a request or a sweep stopped never ends a supervisor.

Source: supervisor.erl do_auto_shutdown.
"""

from __future__ import annotations

from typing import assert_never

from dspex_runtime.core.child_table import ChildTable, Life, Record
from dspex_runtime.types import AutoShutdown, ChildId


class Significance:
    """Knows the significant children that were ever started and not yet seen gone.

    Present is, in OTP's words, who has a pid or is restarting.
    """

    __slots__ = ("_candidates", "_mode", "_table")

    def __init__(self, mode: AutoShutdown, table: ChildTable) -> None:
        self._mode = mode
        self._table = table
        self._candidates: dict[ChildId, None] = {}

    def change(self, mode: AutoShutdown) -> None:
        """Go by another auto_shutdown from now on."""
        self._mode = mode
        for record in self._table:
            if record.life is not Life.UNDEFINED:
                self.running(record)

    def running(self, record: Record) -> None:
        """Note that a child is started, only so can it come back, or was given another spec while it runs."""
        if record.spec.significant and self._mode is AutoShutdown.ALL_SIGNIFICANT:
            self._candidates[record.id] = None

    def ends_supervisor(self, record: Record) -> bool:
        """Return whether the supervisor is through, now that this child ended by itself and will not be restarted.

        Cost: amortised constant; each start pays for one look at a child that is gone.
        """
        match self._mode:
            case AutoShutdown.NEVER:
                return False
            case AutoShutdown.ANY_SIGNIFICANT:
                return record.spec.significant
            case AutoShutdown.ALL_SIGNIFICANT:
                return record.spec.significant and not self._any_left()
            case _:
                assert_never(self._mode)

    def _any_left(self) -> bool:
        while self._candidates:
            child_id, _ = self._candidates.popitem()
            record = self._table.get(child_id)  # another child by now, if it was deleted and its id used again
            if record is not None and record.spec.significant and record.life is not Life.UNDEFINED:
                self._candidates[child_id] = None
                return True
        return False
