"""Alarms with real processes: a module sets one, a client sees and clears it (otp-semantics §2.11)."""

from __future__ import annotations

from typing import Any

import pytest

import dspex_runtime as dx

pytestmark = pytest.mark.process


class Watcher(dx.GenServer):
    """Sets an alarm when told what is wrong."""

    def init(self) -> None:
        """An alarm may be set in init too."""
        dx.set_alarm(("watcher", "up"))

    def handle_call(self, request: Any, from_: Any, state: None) -> dx.Reply:
        if request == "fine":
            return dx.Reply(dx.clear_alarm("trouble"), state)
        dx.set_alarm("trouble", request)
        return dx.Reply(None, state)


def test_a_module_sets_and_clears_and_a_client_lists_and_clears() -> None:
    with dx.Runtime() as rt:
        watcher = rt.start(Watcher, id="watcher")
        watcher.call({"disk": 90})
        assert [(alarm.id, alarm.description, alarm.set_by) for alarm in rt.alarms()] == [
            ("trouble", {"disk": 90}, "watcher"),
            (("watcher", "up"), None, "watcher"),
        ]
        assert rt.clear_alarm(("watcher", "up"))
        assert watcher.call("fine") is True
        assert watcher.call("fine") is False
        rt.set_alarm("by hand")
        rt.kill("watcher")
        assert watcher.call("fine", timeout=30) is False  # the next incarnation answers
        assert {alarm.id for alarm in rt.alarms()} == {"by hand", ("watcher", "up")}
        types = [event["type"] for event in _until_now(rt) if event["type"].startswith("alarm_")]
        assert types == ["alarm_set", "alarm_set", "alarm_cleared", "alarm_cleared", "alarm_set", "alarm_set"]


class Odd:
    """Needs a pickle."""


def test_a_description_that_only_python_can_read_comes_back_as_it_was_and_is_not_in_the_events() -> None:
    with dx.Runtime() as rt:
        watcher = rt.start(Watcher, id="watcher")
        watcher.call(Odd())
        assert type(rt.alarms()[0].description).__name__ == "Odd"
        (event,) = [event for event in rt.events(since=0, follow=False) if event.get("alarm") == "trouble"]
        assert "description" not in event
        assert event["description_bytes"] > 0


def _until_now(rt: dx.Runtime) -> list[dict[str, Any]]:
    """Return the events up to one that we make happen last."""
    rt.set_alarm("last")
    events: list[dict[str, Any]] = []
    for event in rt.events(since=0):
        if event.get("alarm") == "last":
            break
        events.append(event)
    return events
