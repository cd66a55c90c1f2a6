"""Events: numbered, kept in a ring, pushed; a follower that does not read is never waited for."""

from __future__ import annotations

from typing import Any, cast

from dspex_runtime.node.peer import Peer
from dspex_runtime.node.reports import MAX_FOLLOWER_BACKLOG_BYTES, Reports
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


def test_one_subscription_ends_alone_or_all_with_their_client() -> None:
    reports = Reports()
    one, other = follow(reports), follow(reports)
    reports.unfollow(cast(Peer, one), 7)
    reports.emit("state", "qa")
    reports.unfollow(cast(Peer, other))
    reports.emit("state", "qa")
    assert (len(one.sent), len(other.sent)) == (1, 2)
