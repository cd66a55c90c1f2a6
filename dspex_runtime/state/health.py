"""Whether what is kept is safe, as everybody is to see it: an alarm while it is not, cleared when it is again.

Never raises and never retries: that is the service's. One failure is told once for as long as it lasts. Safe from any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from dspex_runtime.state.protocol import ALARM_STORE

__all__ = ["Cause", "Health"]


class Cause(StrEnum):
    """What may be wrong; each lasts by itself."""

    STORE = "store"  # it cannot be read or written
    LOG = "log"  # it only grows
    PLACE = "place"  # the directory is not where it was


class Health:
    """The state of one store.

    Args:
        tell: Sends an event to the parent.
    """

    def __init__(self, tell: Callable[[dict[str, Any]], None]) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._troubles: dict[Cause, str] = {}

    @property
    def trouble(self) -> str | None:
        """What is wrong, or None."""
        return "; ".join(self._troubles[cause] for cause in Cause if cause in self._troubles) or None

    def failing(self, what: str, cause: Cause = Cause.STORE) -> None:
        """It failed: raise the alarm, or replace its text."""
        with self._lock:
            if self._troubles.get(cause) != what:
                self._troubles[cause] = what
                self._tell({"type": "alarm_set", "alarm": ALARM_STORE, "description": self.trouble})

    def well(self, cause: Cause = Cause.STORE) -> None:
        """This works."""
        with self._lock:
            if self._troubles.pop(cause, None) is None:
                return
            if self._troubles:
                self._tell({"type": "alarm_set", "alarm": ALARM_STORE, "description": self.trouble})
            else:
                self._tell({"type": "alarm_cleared", "alarm": ALARM_STORE})

    def report(self, text: str, id: str | None = None) -> None:
        """Tell what happened once."""
        self._tell({"type": "report", "text": text, "id": id})
