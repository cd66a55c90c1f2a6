"""A client's connection: greeted first, answered always, and whatever it held goes with it."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.errors import CallTimeoutError, ConfigError, DspexError, NoProcessError
from dspex_runtime.wire.faults import from_fault
from dspex_runtime.wire.messages import (
    BEGUN,
    BYE,
    CANCEL,
    CHANNEL,
    CONTROL,
    DOWN,
    EVENT,
    FAULT,
    HELLO,
    PROTOCOL,
    REFUSED,
    REPLY,
    SUBSCRIBE,
    Message,
)
from helpers.fake_node import Client, FakeNode, server

NOW: Any = {"protocol": list(PROTOCOL)}


def faults(client: Client) -> list[tuple[int, BaseException]]:
    return [(message[1], from_fault(message[2])) for message in client.heard() if message[0] == FAULT]


class TestHello:
    """Nothing is served before both sides know that they speak the same protocol."""

    def test_is_answered_with_who_is_there(self, runtime: FakeNode) -> None:
        client = runtime.boot().connect()
        assert client.server["protocol"] == list(PROTOCOL)
        assert client.server["name"] == "t"

    @pytest.mark.parametrize("protocol", [[PROTOCOL[1] + 1, PROTOCOL[1] + 3], [0, 0], None, "1"])
    def test_with_another_protocol_is_refused_with_both_ranges(self, runtime: FakeNode, protocol: Any) -> None:
        client = runtime.boot().connect_silent()
        client.send([HELLO, 0, {"protocol": protocol}])
        ((kind, _, why),) = client.heard()
        assert (kind, why["protocol"], client.ended) == (REFUSED, list(PROTOCOL), True)
        assert f"speaks protocol {PROTOCOL[0]} to {PROTOCOL[1]}" in why["message"]
        assert f"the client speaks {protocol}" in why["message"]

    @pytest.mark.parametrize("first", [[CONTROL, 1, "status", {}], [HELLO, 1, NOW], [HELLO, 0, "protocol 1"], []])
    def test_must_come_first(self, runtime: FakeNode, first: Message) -> None:
        client = runtime.boot().connect_silent()
        client.send(first)
        assert (client.heard(), client.ended) == ([], True)


class TestRequests:
    """Each is answered, however wrong it is; what is no message of the protocol ends the connection."""

    def test_an_unknown_operation_is_refused_with_those_there_are(self, runtime: FakeNode) -> None:
        with pytest.raises(DspexError, match=r"unknown operation 'explode'; there are .*info.*wait"):
            runtime.boot().owner.ask("explode")

    @pytest.mark.parametrize(
        ("op", "args"),
        [
            ("info", {}),
            ("info", {"id": 5}),
            ("info", {"id": ["a"]}),
            ("start", {"spec": "a"}),
            ("modules", {"metadata": 5}),
            ("wait", {"ids": 5}),
            ("wait", {"ids": ["a"], "state": "failed", "timeout": "soon"}),
            ("exit_of", {"id": "a", "incarnation": "first"}),
            ("demonitor", {"ref": None}),
        ],
    )
    def test_malformed_arguments_are_the_clients_mistake(self, runtime: FakeNode, op: str, args: dict[str, Any]) -> None:
        client = runtime.boot(server("a")).connect()
        with pytest.raises(DspexError, match=f"malformed request '{op}'"):
            client.ask(op, **args)
        assert client.ask("status")["name"] == "t"

    @pytest.mark.parametrize(
        "message",
        [
            [CONTROL, "1", "info", {}],
            [BYE, 0, "soon"],
            ["what"],
            [HELLO, 0, NOW],
        ],
    )
    def test_an_illegal_message_closes(self, runtime: FakeNode, message: Message) -> None:
        client = runtime.boot(server("a")).connect()
        client.send(message)
        assert (client.heard(), client.ended) == ([], True)
        assert runtime.node.state == "running"

    @pytest.mark.parametrize(
        "message",
        [
            [CONTROL, 1, "info"],
            [CONTROL, 1, "info", None],
            [CHANNEL, 1, "a", 0, "soon"],
            [CHANNEL, 1, 17, 0, None],
            *([SUBSCRIBE, 1, "events", {"since": since}] for since in ("x", 1.5, [1], {}, b"b", float("nan"), True)),
            [SUBSCRIBE, 1, "events", {"follow": "no"}],
        ],
    )
    def test_a_wrong_argument_is_answered_and_ends_no_connection(self, runtime: FakeNode, message: Message) -> None:
        client = runtime.boot(server("a")).connect()
        client.send(message)
        ((request, error),) = faults(client)
        assert (request, type(error), client.ended) == (1, ConfigError, False)
        assert client.ask("status")["state"] == "running"

    def test_events_that_are_not_to_be_followed_end_after_what_is_kept(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a")).connect()
        client.send([SUBSCRIBE, 1, "events", {"since": 0, "follow": False}])
        *events, end = client.heard()
        assert [message[2]["type"] for message in events][:2] == ["snapshot", "state"]
        assert end[:2] == [BYE, 1]
        runtime.crash("a")
        assert client.heard() == []

    def test_a_pipe_to_nobody_is_refused(self, runtime: FakeNode) -> None:
        client = runtime.boot({"id": "g", "supervisor": {"children": []}}).connect()
        client.send([CHANNEL, 1, "nobody", 0, None], [CHANNEL, 2, "g", 0, None])
        (_, unknown), (_, supervisor) = faults(client)
        assert isinstance(unknown, NoProcessError)
        assert isinstance(supervisor, NoProcessError)
        assert "'g' is a supervisor: it takes no calls" in str(supervisor)

    def test_a_pipe_to_a_ready_module_comes_with_its_descriptor(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a")).connect()
        client.send([CHANNEL, 1, "a", 0, None])
        ((kind, number, info),) = client.heard()
        assert (kind, number, info["id"], info["incarnation"], client.descriptors) == (CHANNEL, 1, "a", 1, 1)

    def test_an_unknown_topic_is_refused(self, runtime: FakeNode) -> None:
        client = runtime.boot().connect()
        client.send([SUBSCRIBE, 7, "weather", {}])
        ((number, error),) = faults(client)
        assert (number, str(error)) == (7, "unknown topic 'weather'; there are 'events' and 'params'")

    def test_an_answer_in_time_stops_the_clock(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a")).connect()
        runtime.launcher.stubborn.add("a")
        number = client.begin("stop", id="a", timeout=5.0)
        runtime.process("a").end("shutdown")
        runtime.advance(10.0)
        assert client.heard() == [[REPLY, number, None]]

    def test_an_answer_that_is_late_is_dropped(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a")).connect()
        runtime.launcher.stubborn.add("a")
        number = client.begin("stop", id="a", timeout=2.0)
        runtime.advance(2.0)
        runtime.process("a").end("shutdown")
        runtime.turn()
        ((answered, error),) = faults(client)
        assert (answered, str(error)) == (number, "'a' is still stopping after 2.0 s")
        assert isinstance(error, CallTimeoutError)


class TestCancel:
    """A client that gives something up hears no more of it."""

    def test_of_a_request(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a")).connect()
        number = client.begin("wait", ids=["a"], state="failed", timeout=5.0)
        client.send([CANCEL, number], [CANCEL, 99])
        runtime.advance(10.0)
        assert client.heard() == []

    def test_of_a_parked_pipe(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a")).connect()
        client.send([CHANNEL, 1, "a", 1, None], [CANCEL, 1])
        assert client.heard() == [[BEGUN, 1, False]]
        runtime.crash("a")
        assert client.heard() == []

    def test_of_a_subscription(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a")).connect()
        client.send([SUBSCRIBE, 1, "events", {}])
        assert [message[2]["type"] for message in client.heard()] == ["snapshot"]
        client.send([CANCEL, 1])
        runtime.crash("a")
        assert client.heard() == []


class TestEnd:
    """What a client held is released however it ends."""

    def test_a_closed_client_is_no_more_answered_watched_for_or_told(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a"), server("b")).connect()
        client.begin("wait", ids=["b"], state="failed", timeout=5.0)
        client.ask("monitor", id="a")
        client.send([SUBSCRIBE, 50, "events", {}], [CHANNEL, 51, "a", 1, None])
        (session,) = runtime.node.sessions - {next(s for s in runtime.node.sessions if s.owner)}
        client.close()
        assert session not in runtime.node.sessions
        assert session.open_requests == {}
        assert runtime.node.reports.followers == {}
        sent: list[Message] = []
        session.peer.send = lambda message, fds=(): sent.append(message)  # type: ignore[method-assign]
        runtime.crash("a")
        runtime.advance(10.0)
        assert (sent, runtime.process("a").channels) == ([], 0)

    def test_others_are_not_disturbed(self, runtime: FakeNode) -> None:
        leaving, staying = runtime.boot(server("a")).connect(), runtime.connect()
        for client in (leaving, staying):
            client.ask("monitor", id="a")
        leaving.close()
        runtime.crash("a")
        ((kind, ref, id, incarnation, reason),) = staying.heard()
        assert (kind, id, incarnation, reason) == (DOWN, "a", 1, "killed")
        assert ref == 2

    def test_followers_get_each_event_once(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a")).connect()
        client.send([SUBSCRIBE, 1, "events", {"since": None}])
        runtime.crash("a")
        heard = client.heard()
        assert {message[0] for message in heard} == {EVENT}
        assert [child["id"] for child in heard[0][2]["children"]] == ["a"]
        seqs = [message[2]["seq"] for message in heard]
        assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
