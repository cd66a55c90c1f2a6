"""Alarms: conditions that last until they are cleared, by id. OTP's alarm_handler: data here, the telling is the caller's.

An alarm belongs to nobody: it outlives whoever set it, as it does in OTP. Setting one that is set replaces its description.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dspex_runtime.core.keys import TypedKey, typed

__all__ = ["Alarm", "AlarmTable"]


@dataclass(frozen=True, slots=True)
class Alarm:
    """One condition. `since` is in seconds since the epoch; replacing the description does not change it."""

    id: Any
    description: Any
    since: float
    set_by: str | None = None  # full id of the module that set it; None: a client


class AlarmTable:
    """The alarms that are set, the newest first. Ids are compared with their type, as keys of the registry are."""

    __slots__ = ("_alarms",)

    def __init__(self) -> None:
        self._alarms: dict[TypedKey, Alarm] = {}

    def set(self, id: Any, description: Any, *, now: float, by: str | None) -> Alarm:
        """Set an alarm, or replace its description.

        Raises:
            ConfigError: No such id can be.
        """
        key = typed(id)
        before = self._alarms.get(key)
        alarm = self._alarms[key] = Alarm(id, description, before.since if before else now, by)
        return alarm

    def clear(self, id: Any) -> Alarm | None:
        """Take an alarm away; None when it was not set."""
        return self._alarms.pop(typed(id), None)

    def all(self) -> list[Alarm]:
        """Return the alarms that are set, the newest first."""
        return list(reversed(self._alarms.values()))
