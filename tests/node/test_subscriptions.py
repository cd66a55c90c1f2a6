"""Subscriptions to parameters: who is asked to tell, who is told what, and that nobody is waited for."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.core.watching import Pattern
from dspex_runtime.errors import ConfigError, NoProcessError
from dspex_runtime.node import subscriptions as subscriptions_module
from dspex_runtime.node.peer import Peer
from dspex_runtime.wire.faults import from_fault
from dspex_runtime.wire.messages import BYE, CANCEL, EVENT, FAULT, SUBSCRIBE
from helpers.fake_node import Client, FakeNode, server
from helpers.fake_tree import FakeProcess
from helpers.peers import FakePeer


def change(version: int, name: str = "k", value: bytes | None = b"v") -> dict[str, Any]:
    return {"type": "changed", "name": name, "version": version, "when": 1.0, "who": "me", "value": value}


def told(client: Client) -> list[Any]:
    """What a client was told since the last look: ("id", "name", version), or the type of another payload."""
    return [_short(message[2]) for message in client.heard() if message[0] == EVENT]


def _short(payload: dict[str, Any]) -> Any:
    return (payload["id"], payload["name"], payload["version"]) if payload["type"] == "changed" else payload["type"]


def wanted(process: FakeProcess) -> list[Any]:
    """The names that a module was asked to tell, each time it was asked."""
    return [args["names"] for op, args, _, _ in process.requests if op == "watched"]


def answer(process: FakeProcess, versions: dict[str, Any]) -> None:
    """Let a module answer what it was asked."""
    asked = [request for request in process.requests if request[0] == "watched"]
    process.requests[:] = [request for request in process.requests if request[0] != "watched"]
    for request in asked:
        request[3](versions, None)


def subscribe(client: Client, number: int = 7, **args: Any) -> None:
    client.send([SUBSCRIBE, number, "params", args])


def test_a_subscription_begins_when_those_it_concerns_tell(runtime: FakeNode) -> None:
    runtime.boot(server("a"), server("b"))
    client = runtime.connect()
    subscribe(client, id="a", pattern="k")
    assert (wanted(runtime.process("a")), wanted(runtime.process("b"))) == ([["k"]], [])
    assert told(client) == []
    answer(runtime.process("a"), {"k": [3, 1.0, "yaml"], "other": [1, 1.0, "yaml"]})
    runtime.turn()
    versions, begun = [message[2] for message in client.heard()]
    assert versions == {"type": "versions", "id": "a", "versions": {"k": [3, 1.0, "yaml"]}}
    assert begun == {"type": "subscribed"}


def test_a_module_that_does_not_answer_holds_a_subscription_up_for_a_moment_only(runtime: FakeNode) -> None:
    runtime.boot(server("a"))
    client = runtime.connect()
    subscribe(client, pattern="*")
    ((_, _, timeout_s, answered),) = [r for r in runtime.process("a").requests if r[0] == "watched"]
    assert timeout_s == subscriptions_module.TOLD_WITHIN_S
    answered(None, {"class": "BusyError", "message": "it is busy"})
    runtime.turn()
    assert told(client) == ["subscribed"]


def test_changes_go_to_those_who_asked_for_them(runtime: FakeNode) -> None:
    runtime.boot(server("a"), server("b"))
    own, wide, other = runtime.connect(), runtime.connect(), runtime.connect()
    subscribe(own, id="a", pattern="k*")
    subscribe(wide, pattern="*.k")
    subscribe(other, id="b", pattern="*")
    for client in (own, wide, other):
        client.heard()
    runtime.node.subscriptions.changed("a", change(1))
    runtime.node.subscriptions.changed("a", change(1, "k2"))
    runtime.node.subscriptions.changed("b", change(1, "x"))
    runtime.turn()
    assert told(own) == [("a", "k", 1), ("a", "k2", 1)]
    assert told(wide) == [("a", "k", 1)]
    assert told(other) == [("b", "x", 1)]


def test_one_client_may_have_many_subscriptions(runtime: FakeNode) -> None:
    runtime.boot(server("a"))
    client = runtime.connect()
    subscribe(client, 7, id="a", pattern="k")
    subscribe(client, 8, pattern="*")
    client.heard()
    runtime.node.subscriptions.changed("a", change(1))
    assert [message[1] for message in client.heard()] == [7, 8]
    client.send([CANCEL, 7])
    runtime.node.subscriptions.changed("a", change(2))
    assert [message[1] for message in client.heard()] == [8]


def test_subscriptions_survive_restarts_of_the_module(runtime: FakeNode) -> None:
    runtime.boot(server("a"))
    client = runtime.connect()
    subscribe(client, id="a", pattern="k")
    answer(runtime.process("a"), {"k": [1, 1.0, "yaml"]})
    runtime.turn()
    client.heard()
    before = runtime.process("a")
    runtime.crash("a")
    after = runtime.process("a")
    assert after is not before
    assert wanted(after) == [["k"]]
    answer(after, {"k": [2, 2.0, "me"]})
    runtime.turn()
    (versions,) = [message[2] for message in client.heard()]
    assert versions == {"type": "versions", "id": "a", "versions": {"k": [2, 2.0, "me"]}}


def test_a_module_is_asked_again_when_somebody_else_wants_more_or_less(runtime: FakeNode) -> None:
    runtime.boot(server("a"))
    one, two = runtime.connect(), runtime.connect()
    subscribe(one, id="a", pattern="k")
    subscribe(two, id="a", pattern="x")
    two.send([CANCEL, 7])
    one.close()
    assert wanted(runtime.process("a")) == [["k"], ["k", "x"], ["k"], []]
    assert len(runtime.node.subscriptions) == 0


def test_a_module_that_nobody_watches_is_never_asked(runtime: FakeNode) -> None:
    runtime.boot(server("a"))
    runtime.crash("a")
    assert wanted(runtime.process("a")) == []


def test_what_a_deleted_module_had_is_forgotten(runtime: FakeNode) -> None:
    runtime.boot(server("a"))
    client = runtime.connect()
    subscribe(client, pattern="a.*")
    answer(runtime.process("a"), {})
    runtime.turn()
    client.heard()
    runtime.owner.begin("delete", id="a")
    runtime.turn()
    assert "forgotten" in told(client)


@pytest.mark.parametrize(
    ("args", "error"),
    [
        ({"pattern": ""}, ConfigError),
        ({"pattern": None}, ConfigError),
        ({"id": 5, "pattern": "k"}, ConfigError),
        ({}, ConfigError),
        ({"id": "nobody", "pattern": "k"}, NoProcessError),
    ],
)
def test_a_malformed_subscription_is_refused(runtime: FakeNode, args: dict[str, Any], error: type[Exception]) -> None:
    client = runtime.boot(server("a")).connect()
    subscribe(client, **args)
    ((kind, number, fault),) = client.heard()
    assert (kind, number, type(from_fault(fault))) == (FAULT, 7, error)
    assert len(runtime.node.subscriptions) == 0


def test_the_runtimes_own_parameters_need_no_module(runtime: FakeNode) -> None:
    client = runtime.boot().connect()
    subscribe(client, id="$shared", pattern="style")
    assert told(client) == ["subscribed"]
    runtime.keeper.send([0, "event", {**change(1, "style"), "id": "$shared"}])
    runtime.turn()
    assert told(client) == [("$shared", "style", 1)]


def test_followers_are_told_when_the_runtime_stops(runtime: FakeNode) -> None:
    runtime.boot(server("a"))
    client = runtime.connect()
    subscribe(client, pattern="*")
    answer(runtime.process("a"), {})
    runtime.turn()
    client.heard()
    runtime.owner.begin("shutdown")
    assert [message for message in client.heard() if message[0] == BYE] == [[BYE, 7, "stopped"]]


def test_what_is_no_change_is_dropped(runtime: FakeNode) -> None:
    client = runtime.boot(server("a")).connect()
    subscribe(client, pattern="*")
    client.heard()
    for broken in ({}, {"name": "k"}, change(1) | {"value": "text"}, change(1) | {"version": "soon"}):
        runtime.node.subscriptions.changed("a", broken)
    assert told(client) == []


# -- modules as subscribers


def test_a_module_is_told_on_its_own_pipe_until_it_ends(runtime: FakeNode) -> None:
    runtime.boot(server("a"), server("b"))
    watcher = runtime.process("b")
    watcher.ask("param_subscribe", pattern="a.k")
    answer(runtime.process("a"), {"k": [1, 1.0, "yaml"]})
    runtime.node.subscriptions.changed("a", change(2))
    assert [_short(message[2]) for message in watcher.peer.sent if message[0] == EVENT] == ["versions", ("a", "k", 2)]
    runtime.crash("b")
    assert len(runtime.node.subscriptions) == 0


# -- who is slow


class SlowPeer(FakePeer):
    """A peer whose socket takes nothing until the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.backlog_bytes = 0
        self.waiting: list[Any] = []

    def when_drained(self, done: Any) -> None:
        self.waiting.append(done)

    def read(self) -> None:
        self.backlog_bytes = 0
        waiting, self.waiting = self.waiting, []
        for done in waiting:
            done()


def test_one_that_does_not_read_gets_the_latest_of_each_when_it_does() -> None:
    peer = SlowPeer()
    subscription = subscriptions_module.Subscription(peer, 7)  # type: ignore[arg-type]
    news = subscriptions_module.News.from_wire
    subscription.tell(news(change(1), "a"))
    peer.backlog_bytes = subscriptions_module.MAX_BACKLOG_BYTES + 1
    for version in (2, 3, 4):
        subscription.tell(news(change(version), "a"))
        subscription.tell(news(change(version, "x"), "a"))
    assert len(peer.sent) == 1
    peer.read()
    subscription.tell(news(change(5), "a"))
    versions = [(m[2]["name"], m[2]["version"], m[2]["skipped"]) for m in peer.sent]
    assert versions == [("k", 1, 0), ("k", 4, 2), ("x", 4, 2), ("k", 5, 0)]


def test_a_client_that_never_reads_costs_one_change_for_each_parameter(runtime: FakeNode) -> None:
    runtime.boot(server("a"))
    slow, quick = runtime.connect(), runtime.connect()
    for client in (slow, quick):
        subscribe(client, id="a", pattern="*")
    answer(runtime.process("a"), {})
    runtime.turn()
    for version in range(1, 2000):
        runtime.node.subscriptions.changed("a", change(version, value=b"x" * 1000))
        runtime.loop.turn()
        quick.heard()
    (peer,) = [session.peer for session in runtime.node.sessions if session.peer.backlog_bytes]
    assert isinstance(peer, Peer)
    assert peer.backlog_bytes < 2 * subscriptions_module.MAX_BACKLOG_BYTES
    seen: list[tuple[int, int]] = []
    while not seen or seen[-1][0] < 1999:
        seen += [(m[2]["version"], m[2]["skipped"]) for m in slow.heard() if m[0] == EVENT and m[2]["type"] == "changed"]
        runtime.loop.turn()
    assert [version for version, _ in seen] == sorted({version for version, _ in seen})
    assert sum(skipped + 1 for _, skipped in seen) == 1999


def test_patterns_of_users_are_checked() -> None:
    assert subscriptions_module.pattern_of("qa") == Pattern("qa.*")
    with pytest.raises(ConfigError, match="subscribe to a parameter"):
        subscriptions_module.pattern_of("")
