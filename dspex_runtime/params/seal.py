"""Holding up every write of an owner, while what it owns is on its way to another process or has gone there.

A writer that is held up has written nothing yet: it goes on when the seal is broken, and fails when the parameters have gone, so
that nothing acknowledged is lost. All methods want the ledger's lock held.
"""

from __future__ import annotations

from threading import Condition
from typing import Any, Final

from dspex_runtime.errors import ParameterError

__all__ = ["MOVED", "Seal"]

MOVED: Final = "moved"  # code of the ParameterError of a write that came when the parameters had gone to another process


class Seal:
    """A seal on one ledger.

    Args:
        lock: The ledger's RLock; whoever waits here lets go of it, however often it has it.
        id: Full id of the module.
    """

    def __init__(self, lock: Any, id: str) -> None:
        self._changed = Condition(lock)
        self._id = id
        self.is_broken = False
        self.is_gone = False

    def enter(self) -> None:
        """Return when there may be written again.

        Raises:
            ParameterError: The parameters are another process's by now (`code` is "moved"); nothing was set.
        """
        while not (self.is_broken or self.is_gone):
            self._changed.wait()
        if self.is_gone:
            text = f"the parameters of {self._id!r} went to the process that takes the place of this one; nothing was set"
            error = ParameterError(text, id=self._id)
            error.code = MOVED
            raise error

    def wait(self) -> None:
        """Wait for `settled`, or for the seal to be broken."""
        self._changed.wait()

    def settled(self) -> None:
        """A write that was under way when the seal was made is published, or has failed."""
        self._changed.notify_all()

    def break_open(self) -> None:
        """Let everybody write again."""
        self.is_broken = True
        self._changed.notify_all()

    def leave(self) -> None:
        """Let nobody write any more."""
        self.is_gone = True
        self._changed.notify_all()
