"""Alarms (otp-semantics §2.11, alarm_handler): set and cleared by id, listed."""

from __future__ import annotations

import pytest

from dspex_runtime.core.alarms import Alarm, AlarmTable
from dspex_runtime.errors import ConfigError


def test_alarms_are_listed_the_newest_first_until_they_are_cleared() -> None:
    table = AlarmTable()
    table.set("disk", "90 % full", now=1.0, by="a")
    table.set("gpu", None, now=2.0, by=None)
    assert table.all() == [Alarm("gpu", None, 2.0, None), Alarm("disk", "90 % full", 1.0, "a")]
    assert table.clear("disk") == Alarm("disk", "90 % full", 1.0, "a")
    assert table.clear("disk") is None
    assert [alarm.id for alarm in table.all()] == ["gpu"]


def test_setting_one_that_is_set_replaces_its_description_and_keeps_since_when() -> None:
    table = AlarmTable()
    table.set("disk", "90 % full", now=1.0, by="a")
    table.set("disk", "99 % full", now=5.0, by="b")
    assert table.all() == [Alarm("disk", "99 % full", 1.0, "b")]


def test_ids_are_compared_with_their_type() -> None:
    table = AlarmTable()
    for id in (1, 1.0, True, "1"):
        table.set(id, None, now=0.0, by=None)
    assert len(table.all()) == 4


def test_what_cannot_be_an_id_is_refused() -> None:
    with pytest.raises(ConfigError, match="found \\[\\], a list"):
        AlarmTable().set([], None, now=0.0, by=None)
