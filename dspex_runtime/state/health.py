"""Whether the store can be written, as everybody is to see it: an alarm while it cannot, cleared when it can again.

Never raises and never retries: that is the service's. One failure is told once for as long as it lasts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dspex_runtime.state.protocol import ALARM_STORE

__all__ = ["Health"]


class Health:
    """The state of one store.

    Args:
        tell: Sends an event to the parent.
    """

    def __init__(self, tell: Callable[[dict[str, Any]], None]) -> None:
        self._tell = tell
        self.trouble: str | None = None

    def failing(self, what: str) -> None:
        """It failed: raise the alarm, or replace its text."""
        if what != self.trouble:
            self.trouble = what
            self._tell({"type": "alarm_set", "alarm": ALARM_STORE, "description": what})

    def well(self) -> None:
        """It works."""
        if self.trouble is not None:
            self.trouble = None
            self._tell({"type": "alarm_cleared", "alarm": ALARM_STORE})

    def report(self, text: str, id: str | None = None) -> None:
        """Tell what happened once."""
        self._tell({"type": "report", "text": text, "id": id})
