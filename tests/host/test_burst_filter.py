"""A flood of our own log lines (otp-semantics §2.11)."""

from __future__ import annotations

import logging

import pytest

from dspex_runtime.host.burst_filter import BurstFilter


def test_of_a_flood_of_our_own_lines_500_a_second_are_written_and_the_number_of_the_others_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr("dspex_runtime.host.burst_filter.monotonic", lambda: now)
    said: list[str] = []
    burst = BurstFilter(lambda record: said.append(record.getMessage()))
    record = logging.LogRecord("dspex_runtime.host", logging.WARNING, "", 0, "the mailbox is full", None, None)
    assert [burst.filter(record) for _ in range(600)] == [True] * 500 + [False] * 100
    assert said == []
    now = 101.5
    assert burst.filter(record)
    assert said == ["100 lines were dropped: more than 500 in 1 s"]
