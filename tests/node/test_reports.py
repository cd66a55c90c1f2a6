"""Events: numbered, kept in a ring, pushed; a follower that does not read is never waited for."""

from __future__ import annotations

from typing import Any, cast

import pytest

from dspex_runtime.node.peer import Peer
from dspex_runtime.node.reports import MAX_FOLLOWER_BACKLOG_BYTES, Reports, shown
from dspex_runtime.wire.ext import Opaque
from dspex_runtime.wire.messages import BYE, EVENT
from helpers.peers import FakePeer


def follow(reports: Reports, since: int | None = None) -> FakePeer:
    peer = FakePeer()
    reports.follow(cast(Peer, peer), 7, since, lambda: [{"id": "qa"}])
    return peer


def payloads(peer: FakePeer) -> list[dict[str, Any]]:
    return [message[2] for message in peer.sent]


def test_a_follower_gets_what_is_now_then_what_comes() -> None:
    reports = Reports()
    reports.emit("state", "qa", state="STARTING")
    peer = follow(reports)
    reports.emit("state", "qa", state="READY")
    assert [(p["type"], p["seq"]) for p in payloads(peer)] == [("snapshot", 1), ("state", 2)]
    assert payloads(peer)[0]["children"] == [{"id": "qa"}]


def test_since_brings_the_kept_events_after_it() -> None:
    reports = Reports()
    for _ in range(5):
        reports.emit("state", "qa")
    peer = follow(reports, since=3)
    assert [p["seq"] for p in payloads(peer)] == [5, 4, 5]


def test_a_follower_that_is_behind_loses_events_and_learns_how_many() -> None:
    reports = Reports()
    peer = follow(reports)
    peer.backlog_bytes = MAX_FOLLOWER_BACKLOG_BYTES + 1
    for _ in range(3):
        reports.emit("state", "qa")
    peer.backlog_bytes = 0
    reports.emit("state", "qa")
    assert [p["type"] for p in payloads(peer)] == ["snapshot", "skipped", "state"]
    assert payloads(peer)[1]["count"] == 3


def test_one_that_does_not_follow_gets_what_is_kept_and_the_end() -> None:
    reports = Reports()
    reports.emit("state", "qa")
    peer = FakePeer()
    reports.follow(cast(Peer, peer), 7, 0, list, on=False)
    reports.emit("state", "qa")
    assert [message[0] for message in peer.sent] == [EVENT, EVENT, BYE]


@pytest.mark.parametrize(
    ("value", "size", "fact"),
    [
        ({"disk": 90}, 7, {"v": {"disk": 90}}),
        ("x" * 2000, 2000, {"v_bytes": 2000}),
        (Opaque(b"pickle"), 7, {"v_bytes": 7}),
        ({"a": [(1, Opaque(b"pickle"))]}, 7, {"v_bytes": 7}),
    ],
    ids=["plain", "large", "pickled", "pickled inside"],
)
def test_a_users_value_is_shown_where_it_is_small_and_plain(value: Any, size: int, fact: dict[str, Any]) -> None:
    assert shown("v", value, size) == fact


def test_one_subscription_ends_alone_or_all_with_their_client() -> None:
    reports = Reports()
    one, other = follow(reports), follow(reports)
    reports.unfollow(cast(Peer, one), 7)
    reports.emit("state", "qa")
    reports.unfollow(cast(Peer, other))
    reports.emit("state", "qa")
    assert (len(one.sent), len(other.sent)) == (1, 2)


def test_of_a_flood_of_reports_500_a_second_are_kept_and_the_number_of_the_others_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("dspex_runtime.node.reports.time.monotonic", lambda: now)
    reports = Reports()
    for _ in range(700):
        reports.report("crash_report", "qa")
    reports.emit("state", "qa")  # never dropped
    assert [e["type"] for e in reports.events] == ["crash_report"] * 500 + ["state"]
    now = 101.0
    reports.emit("state", "qa")
    assert [(e["type"], e.get("count")) for e in list(reports.events)[-2:]] == [("reports_dropped", 200), ("state", None)]
    assert [e["seq"] for e in reports.events] == list(range(1, 504))
