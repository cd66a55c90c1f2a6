"""The alarm of the store: set once, replaced when it is another trouble, cleared when it works."""

from __future__ import annotations

from typing import Any

from dspex_runtime.state.health import Cause, Health
from dspex_runtime.state.protocol import ALARM_STORE


def test_an_alarm_lasts_until_it_works_again_and_is_told_once() -> None:
    told: list[dict[str, Any]] = []
    health = Health(told.append)
    health.well()
    health.failing("disk full")
    health.failing("disk full")
    health.failing("read-only")
    health.well()
    health.well()
    assert [(facts["type"], facts["alarm"], facts.get("description")) for facts in told] == [
        ("alarm_set", ALARM_STORE, "disk full"),
        ("alarm_set", ALARM_STORE, "read-only"),
        ("alarm_cleared", ALARM_STORE, None),
    ]


def test_each_cause_lasts_by_itself() -> None:
    told: list[dict[str, Any]] = []
    health = Health(told.append)
    health.failing("the log grows", Cause.LOG)
    health.failing("disk full")
    health.well()
    assert health.trouble == "the log grows"
    health.well(Cause.LOG)
    assert [facts.get("description") for facts in told] == ["the log grows", "disk full; the log grows", "the log grows", None]


def test_a_report_is_told_each_time() -> None:
    told: list[dict[str, Any]] = []
    health = Health(told.append)
    health.report("a checkpoint is corrupt", "a")
    health.report("a checkpoint is corrupt", "a")
    assert told == [{"type": "report", "text": "a checkpoint is corrupt", "id": "a"}] * 2
    assert health.trouble is None
