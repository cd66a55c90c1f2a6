"""Counts and latencies, of a bounded number of calls."""

from __future__ import annotations

import pytest

from dspex_runtime.host.metrics import RING, Metrics, percentile_ms

MS = 1_000_000


def test_nothing_was_called_yet() -> None:
    summary = Metrics().summary()
    assert summary["count"] == 0
    assert summary["success_rate"] is summary["avg_ms"] is summary["p99_ms"] is None


def test_counts_rates_and_latencies() -> None:
    metrics = Metrics()
    for n in range(1, 101):
        metrics.record("m", 0, n * MS, "ValueError: x" if n % 10 == 0 else None)
    summary = metrics.summary()
    assert (summary["count"], summary["failures"], summary["success_rate"]) == (100, 10, 0.9)
    assert (summary["avg_ms"], summary["p50_ms"], summary["p99_ms"]) == (50.5, 50.0, 99.0)
    assert summary["last_error"] == "ValueError: x"


@pytest.mark.parametrize(
    ("values", "share", "expected"), [([], 0.5, None), ([7], 0.99, 7.0), ([1, 2], 0.5, 1.0), ([1, 2, 3], 0.99, 3.0)]
)
def test_percentiles_are_nearest_rank(values: list[int], share: float, expected: float | None) -> None:
    assert percentile_ms([v * MS for v in values], share) == expected


def test_executions_come_newest_first_and_are_bounded() -> None:
    metrics = Metrics()
    for n in range(RING + 5):
        metrics.record(f"m{n}", n, 2 * MS, None)
    newest = metrics.executions(2)
    assert [e["method"] for e in newest] == [f"m{RING + 4}", f"m{RING + 3}"]
    assert newest[0]["duration_ms"] == 2.0
    assert len(metrics.executions(10 * RING)) == RING
    assert metrics.executions(0) == []


def test_a_result_that_could_not_be_sent_turns_the_last_call_into_a_failure() -> None:
    metrics = Metrics()
    metrics.record("m", 0, MS, None)
    metrics.amend("cannot be sent")
    assert metrics.summary()["failures"] == 1
    assert metrics.executions(1)[0]["ok"] is False


def test_sums_carry_on_from_the_incarnations_before() -> None:
    metrics = Metrics({"calls": 10, "failures": 4, "busy_ns": 10 * MS, "last_error": "old"})
    assert metrics.summary()["last_error"] == "old"
    metrics.record("m", 0, 5 * MS, None)
    metrics.record("m", 0, 5 * MS, "new")
    summary = metrics.summary()
    assert (summary["count"], summary["failures"], summary["last_error"]) == (12, 5, "new")
    assert summary["busy_s"] == 0.02
    assert metrics.count == 2
    assert metrics.totals() == {"calls": 12, "failures": 5, "busy_ns": 20 * MS, "last_error": "new"}


def test_each_call_is_new_once_and_what_the_ring_lost_is_gone() -> None:
    metrics = Metrics()
    for n in range(3):
        metrics.record(f"m{n}", n, MS, None)
    assert [metrics.shown(call)["method"] for call in metrics.take_new()] == ["m0", "m1", "m2"]
    assert metrics.take_new() == []
    for n in range(RING + 5):
        metrics.record(f"n{n}", n, MS, None)
    newest = metrics.take_new()
    assert (newest[0][0], newest[-1][0], len(newest)) == ("n5", f"n{RING + 4}", RING)


def test_another_process_goes_on_with_the_calls_of_this_one() -> None:
    metrics, other = Metrics(), Metrics({"calls": 99})
    for n in range(3):
        metrics.record(f"m{n}", n, MS, "E" if n == 2 else None)
        if n == 0:
            metrics.take_new()
    calls, new = metrics.kept()
    assert ([call[0] for call in calls], new) == (["m0", "m1", "m2"], 2)
    other.record("rehearsed", 0, MS, None)
    other.adopt(metrics.totals(), calls, new)
    assert other.has_new
    other.record("n", 3, MS, None)
    assert other.totals() == {"calls": 4, "failures": 1, "busy_ns": 4 * MS, "last_error": "E"}
    assert other.count == 1
    assert [call[0] for call in other.take_new()] == ["m1", "m2", "n"]
    assert not other.has_new
    assert [each["method"] for each in other.executions(10)] == ["n", "m2", "m1", "m0"]


def test_a_call_that_was_answered_degraded_says_so_also_when_it_failed_after_all() -> None:
    metrics = Metrics()
    metrics.record("m", 0, MS, None)
    metrics.record("m", 0, MS, None, degraded=True)
    metrics.amend("cannot be sent")
    last, first = metrics.executions()
    assert (last["degraded"], last["ok"], last["error"]) == (True, False, "cannot be sent")
    assert "degraded" not in first
