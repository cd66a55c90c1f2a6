"""Alarms as clients and modules ask for them (otp-semantics §2.11)."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.errors import ConfigError
from helpers.fake_node import FakeNode, server


def told(runtime: FakeNode) -> list[dict[str, Any]]:
    events = [event for event in runtime.node.reports.events if event["type"].startswith("alarm_")]
    return [{name: value for name, value in event.items() if name not in ("seq", "time")} for event in events]


def test_each_set_and_each_clear_is_an_event_with_who_set_it(runtime: FakeNode) -> None:
    client = runtime.boot(server("a")).owner
    runtime.process("a").ask("set_alarm", alarm="disk", description="90 % full")
    client.ask("set_alarm", alarm=("gpu", 0))
    assert [(alarm["id"], alarm["description"], alarm["set_by"]) for alarm in client.ask("alarms")] == [
        (("gpu", 0), None, None),
        ("disk", "90 % full", "a"),
    ]
    assert client.ask("clear_alarm", alarm="disk") is True
    assert told(runtime) == [
        {"type": "alarm_set", "id": "a", "alarm": "disk", "description": "90 % full"},
        {"type": "alarm_set", "id": None, "alarm": ("gpu", 0), "description": None},
        {"type": "alarm_cleared", "id": "a", "alarm": "disk"},
    ]


def test_clearing_what_is_not_set_is_false_and_no_event(runtime: FakeNode) -> None:
    client = runtime.boot().owner
    assert client.ask("clear_alarm", alarm="disk") is False
    assert told(runtime) == []


def test_an_alarm_outlives_whoever_set_it(runtime: FakeNode) -> None:
    client = runtime.boot(server("a")).owner
    runtime.process("a").ask("set_alarm", alarm="disk")
    client.begin("stop", id="a")
    client.heard()
    assert [alarm["id"] for alarm in client.ask("alarms")] == ["disk"]


def test_what_cannot_be_an_id_is_refused(runtime: FakeNode) -> None:
    with pytest.raises(ConfigError, match="a key is a"):
        runtime.boot().owner.ask("set_alarm", alarm={"disk": 1})


def test_a_large_description_is_not_shown_in_events(runtime: FakeNode) -> None:
    client = runtime.boot().owner
    client.ask("set_alarm", alarm="disk", description="x" * 2000)
    (shown,) = told(runtime)
    assert "description" not in shown
    assert shown["description_bytes"] > 2000
    assert client.ask("alarms")[0]["description"] == "x" * 2000
