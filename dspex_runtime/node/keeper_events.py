"""What the keeper tells, as everybody is to see it: alarms, events, changes of parameters. Decides nothing."""

from __future__ import annotations

import logging
import time
from typing import Any

from dspex_runtime.core.alarms import AlarmTable
from dspex_runtime.node.reports import Reports
from dspex_runtime.node.subscriptions import Subscriptions

__all__ = ["KeeperEvents"]

log = logging.getLogger(__name__)


class KeeperEvents:
    """Where they go."""

    def __init__(self, alarms: AlarmTable, reports: Reports, subscriptions: Subscriptions) -> None:
        self._alarms = alarms
        self._reports = reports
        self._subscriptions = subscriptions

    def told(self, facts: dict[str, Any]) -> None:
        """Pass on one event of `state.protocol`."""
        match facts:
            case {"type": "alarm_set", "alarm": str(alarm), "description": str(text)}:
                self._alarms.set(alarm, text, now=time.time(), by=None)
                self._reports.emit("alarm_set", None, alarm=alarm, description=text)
            case {"type": "alarm_cleared", "alarm": str(alarm)}:
                if self._alarms.clear(alarm) is not None:
                    self._reports.emit("alarm_cleared", None, alarm=alarm)
            case {"type": "report", "text": str(text)}:
                log.warning("keeper: %s", text)
                self._reports.emit("state_report", facts.get("id"), message=text)
            case {"type": "changed", "id": str(id)}:
                self._subscriptions.changed(id, facts)
            case _:
                log.error("illegal event of the keeper: %.200r", facts)
