"""Alarms, for clients: conditions that last until they are cleared (OTP alarm_handler). Handlers are followers of the events."""

from __future__ import annotations

from typing import Any

from dspex_runtime.client.asking import QUICK_S, Client, ask
from dspex_runtime.client.steps import Steps
from dspex_runtime.client.values import as_received, as_sent
from dspex_runtime.core.alarms import Alarm
from dspex_runtime.core.keys import typed

__all__ = ["alarms", "clear_alarm", "set_alarm"]


def set_alarm(self: Client, alarm: Any, description: Any = None) -> Steps[None]:
    """Set an alarm by its id, or replace the description of one that is set; `rt.events()` tells "alarm_set".

    Args:
        self: The runtime.
        alarm: Its id: a value that could be a registry key, compared with its type.
        description: Anything; `alarms` returns it.
    """
    typed(alarm)
    yield from ask(self.session, "set_alarm", {"alarm": alarm, "description": as_sent(self.session.codec, description)}, QUICK_S)


def clear_alarm(self: Client, alarm: Any) -> Steps[bool]:
    """Clear an alarm, whoever set it; returns whether it was set. `rt.events()` tells "alarm_cleared"."""
    typed(alarm)
    return bool((yield from ask(self.session, "clear_alarm", {"alarm": alarm}, QUICK_S)))


def alarms(self: Client) -> Steps[list[Alarm]]:
    """Return the alarms that are set, the newest first."""
    found = yield from ask(self.session, "alarms", {}, QUICK_S)
    return [Alarm(**facts) for facts in as_received(self.session.codec, found)]
