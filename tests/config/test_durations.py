from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.config.durations import duration_hint, parse_duration, show_duration


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("100ms", 0.1),
        ("5s", 5.0),
        ("1m", 60.0),
        ("2h", 7200.0),
        ("1d", 86400.0),
        ("1.5s", 1.5),
        ("1m30s", 90.0),
        (" 5s ", 5.0),
        (0, 0.0),
        (5, 5.0),
        (0.25, 0.25),
        ("0s", 0.0),
    ],
)
def test_durations_are_seconds(value: Any, seconds: float) -> None:
    assert parse_duration(value) == seconds


@pytest.mark.parametrize(
    "value",
    [
        "",
        "5",
        "s",
        "5 s",
        "5min",
        "-5s",
        "1e3s",
        "5s1",
        "٥s",
        True,
        False,
        None,
        -1,
        float("inf"),
        float("nan"),
        10**400,
        1e300,
        "9" * 50 + "s",
        [],
        b"5s",
    ],
    ids=repr,
)
def test_everything_else_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"not a duration|out of range"):
        parse_duration(value)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("5", "write 5s"),
        ("5min", "write 5m"),
        ("5 sec", "write 5s"),
        ("2hours", "write 2h"),
        ("5 s", "write 5s"),
        ("soon", ""),
        (5, ""),
    ],
)
def test_a_wrong_unit_is_corrected(value: Any, hint: str) -> None:
    assert duration_hint(value) == hint


@pytest.mark.parametrize(("seconds", "text"), [(0.1, "100ms"), (0, "0s"), (5.0, "5s"), (90, "90s"), (1.5, "1.5s")])
def test_durations_are_shown_as_written(seconds: float, text: str) -> None:
    assert show_duration(seconds) == text
