"""What becomes of a client's frames, one by one: queued, refused, answered from the record, or the end of that client."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import msgpack
import pytest

from dspex_runtime.errors import DependencyDownError
from dspex_runtime.host.channels import DataChannels
from dspex_runtime.host.deferred import Deferred
from dspex_runtime.host.dependencies import Dependencies
from dspex_runtime.host.idempotency import Answers
from dspex_runtime.host.intake import Intake
from dspex_runtime.host.mailbox import Mailbox, Request
from dspex_runtime.host.peer import Peer
from dspex_runtime.osproc.channel import Channel, pair
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.codec import Codec

LIMIT = 3
HELLO = [m.HELLO, 0, {"protocol": list(m.PROTOCOL), "mux": False, "client": "test"}]


class Client:
    """A client's end, and the intake that reads the other one."""

    def __init__(self, desk: Desk) -> None:
        ours, theirs = pair()
        self.channel, self.peer = Channel(ours, Codec()), Peer(Channel(theirs, Codec(pickle=True)))
        self._desk = desk
        desk.channels.add(self.peer)

    def send(self, *messages: list[Any]) -> None:
        """Send frames and have them read."""
        self.channel.send_many(messages)
        self._desk.intake.read([self.peer])

    def call(self, id: int, *, method: str = "work", key: str | None = None) -> None:
        self.send(call(id, method=method, key=key))

    def heard(self) -> list[list[Any]]:
        """Return what was sent to the client, without waiting: everything here runs on one thread."""
        try:
            return self.channel.recv_ready()
        except EOFError:
            return [["the end"]]


class Desk:
    """What the intake needs of its loop, with the real mailbox, record and channels."""

    def __init__(self, epoll: select.epoll) -> None:
        self.mailbox = Mailbox(LIMIT)
        self.answers = Answers(Codec(), ["once"])
        self.channels = DataChannels(epoll)
        self.deferred = Deferred()
        self.calls = SimpleNamespace(fault=lambda exc: {"type": type(exc).__name__}, parameters=lambda: self.service)
        self.dependencies: Any = SimpleNamespace(error=None)
        self.service: Any = None
        self.refusing = False
        self.in_flight_async = 0
        self.id, self.concurrency = "a", 1
        self.running: list[Request] = []
        self.intake = Intake(self)  # type: ignore[arg-type]

    def begin(self) -> Request:
        """Take the next request, as a call thread that runs it."""
        request = self.mailbox.take(0.0)
        assert request is not None
        assert request.peer is not None
        request.peer.running[request.id] = request
        return request

    def holders(self) -> list[Request]:
        return self.running

    def queued(self) -> list[int]:
        return [request.id for request in self.mailbox._items]


@pytest.fixture
def desk() -> Iterator[Desk]:
    with select.epoll() as epoll:
        desk = Desk(epoll)
        yield desk
        desk.channels.close()


@pytest.fixture
def connect(desk: Desk) -> Iterator[Callable[..., Client]]:
    made: list[Client] = []

    def make(*, hello: bool = True, mux: bool = False) -> Client:
        made.append(Client(desk))
        if hello:
            made[-1].send([m.HELLO, 0, {**HELLO[2], "mux": mux}])
        return made[-1]

    yield make
    for each in made:
        each.channel.close()


def call(id: int, *, method: str = "work", key: str | None = None) -> list[Any]:
    return [m.CALL, id, method, [], {}, None, key, 0, None]


def test_hello_comes_first_and_is_not_answered(desk: Desk, connect: Callable[..., Client]) -> None:
    client = connect()
    assert (client.peer.greeted, client.peer.client, client.peer.mux) == (True, "test", False)
    assert client.heard() == []
    client.call(1)
    assert desk.queued() == [1]


@pytest.mark.parametrize("first", [call(1), [m.CAST, 0, "work", [], {}], [m.CANCEL, 1], [m.CREDIT, 1, 5]])
def test_whatever_comes_before_hello_ends_the_client(desk: Desk, connect: Callable[..., Client], first: list[Any]) -> None:
    client = connect(hello=False)
    client.send(first)
    assert client.heard() == [["the end"]]
    assert desk.queued() == []
    assert desk.channels.peers == {}


def coming_back(id: int, token: int, *, key: str | None = None) -> list[Any]:
    return [m.CALL, id, "work", [], {}, None, key, 0, [["a", token], ["b", 1]]]


class TestDeadlock:
    """Every call thread serves a call that waits for one that is queued here."""

    def test_such_a_call_is_answered_at_once(self, desk: Desk, connect: Callable[..., Client]) -> None:
        one, other = connect(), connect()
        one.call(1)
        desk.running = [desk.begin()]
        desk.running[0].onward = [["a", 7]]
        other.call(2)
        other.heard()
        other.send(coming_back(3, 7))
        assert other.heard() == [[m.FAULT, 3, {"type": "DeadlockError"}]]
        assert desk.queued() == [2]
        desk.intake.announce(None)
        assert other.heard() == [[m.BEGUN, 2, False]]  # and no word more of the one that was refused

    def test_one_of_a_call_that_has_ended_waits(self, desk: Desk, connect: Callable[..., Client]) -> None:
        client = connect()
        client.call(1)
        desk.running = [desk.begin()]
        desk.running[0].onward = [["a", 7]]
        client.send(coming_back(3, 6))
        assert desk.queued() == [3]

    def test_what_waits_for_the_same_key_is_the_next_to_try(self, desk: Desk, connect: Callable[..., Client]) -> None:
        client = connect()
        client.call(1)
        desk.running = [desk.begin()]
        desk.running[0].onward = [["a", 7]]
        late = [m.CALL, 3, "once", [], {}, None, "k", 0, [["a", 7]]]
        client.send(late)
        assert client.heard() == [[m.FAULT, 3, {"type": "DeadlockError"}]]
        assert [request.id for request in desk.mailbox.lost] == [3]


@pytest.mark.parametrize("protocol", [[7, 9], [0, 0], None, "1", [1]])
def test_a_client_of_another_version_is_told_ours_and_dropped(desk: Desk, connect: Callable[..., Client], protocol: Any) -> None:
    client = connect(hello=False)
    client.send([m.HELLO, 0, {"protocol": protocol}], call(1))
    ((kind, _, refusal), *_) = client.heard()
    assert (kind, refusal["protocol"]) == (m.REFUSED, list(m.PROTOCOL))
    assert "speaks protocol" in refusal["message"]
    assert desk.queued() == []


def test_a_newer_client_that_speaks_ours_too_is_welcome(connect: Callable[..., Client]) -> None:
    client = connect(hello=False)
    client.send([m.HELLO, 0, {"protocol": [1, 9], "mux": True}])
    assert (client.peer.greeted, client.peer.mux) == (True, True)


BAD = {
    "a second hello": HELLO,
    "a kind that clients do not send": [m.READY, 0, {}],
    "a call without its deadline": [m.CALL, 1, "work", [], {}],
    "a credit that is no number": [m.CREDIT, 1, "much"],
    "a method that is no name": [m.CALL, 1, ["work"], [], {}, None, None, 0, None],
    "arguments that are no list": [m.CALL, 1, "work", 5, {}, None, None, 0, None],
    "a chain that is no list": [m.CALL, 1, "work", [], {}, None, None, 0, "a"],
    "a call of the protocol before": [m.CALL, 1, "work", [], {}, None, None, 0],
    "keywords that are no map": [m.CAST, 0, "work", [], []],
}


@pytest.mark.parametrize("message", BAD.values(), ids=BAD.keys())
def test_a_bad_frame_ends_only_the_client_that_sent_it(desk: Desk, connect: Callable[..., Client], message: list[Any]) -> None:
    good, bad = connect(), connect()
    good.call(7)
    bad.call(1)
    desk.begin()  # of the good one
    desk.begin().stream = SimpleNamespace(add=lambda n: None, close=lambda: None)  # type: ignore[assignment]
    bad.send(message)
    assert bad.heard() == [["the end"]]
    good.call(8)
    assert desk.queued() == [8]


def test_a_full_mailbox_says_its_limit_and_queues_nothing(desk: Desk, connect: Callable[..., Client]) -> None:
    client = connect()
    client.send(*[call(n) for n in range(1, LIMIT + 2)])
    assert client.heard() == [[m.OVERLOADED, LIMIT + 1, LIMIT]]
    assert desk.queued() == [1, 2, 3]
    desk.begin()
    client.call(9)
    assert desk.queued() == [2, 3, 9]


def test_async_calls_in_flight_count_against_the_limit(desk: Desk, connect: Callable[..., Client]) -> None:
    client, desk.in_flight_async = connect(), LIMIT
    client.call(1)
    assert client.heard() == [[m.OVERLOADED, 1, LIMIT]]


def test_a_cast_that_finds_no_room_is_dropped_with_a_word_in_the_log(
    desk: Desk, connect: Callable[..., Client], caplog: pytest.LogCaptureFixture
) -> None:
    client = connect()
    client.send(*[call(n) for n in range(1, LIMIT + 1)], [m.CAST, 0, "work", [], {}])
    assert client.heard() == []
    assert "dropped a cast" in caplog.text


def test_while_it_drains_calls_are_given_back_and_casts_are_not_taken(desk: Desk, connect: Callable[..., Client]) -> None:
    client, desk.refusing = connect(), True
    client.send(call(1), [m.CAST, 0, "work", [], {}], call(2))
    assert client.heard() == [[m.RETRY, 1], [m.RETRY, 2]]
    assert desk.queued() == []


def test_a_write_of_a_parameter_is_served_and_not_queued(desk: Desk, connect: Callable[..., Client]) -> None:
    client, served = connect(), []
    desk.service = SimpleNamespace(serve=lambda request: served.append(request.id) or True)
    desk.intake = Intake(desk, ordered=True)  # type: ignore[arg-type]
    desk.intake.order.joined(client.peer)
    client.send(call(1), call(2, method="$set"), call(3))
    assert (served, desk.queued()) == ([2], [1, 3])
    assert desk.intake.order.early == []


def test_one_that_is_for_a_call_thread_is_queued(desk: Desk, connect: Callable[..., Client]) -> None:
    client = connect()
    client.call(1, method="$set")  # nothing here serves any
    desk.service = SimpleNamespace(serve=lambda request: False)
    client.call(2, method="$set")
    assert desk.queued() == [1, 2]


def test_while_it_drains_writes_of_parameters_are_given_back_too(desk: Desk, connect: Callable[..., Client]) -> None:
    client, desk.refusing = connect(), True
    desk.service = SimpleNamespace(serve=lambda request: True)
    client.call(1, method="$set")
    assert client.heard() == [[m.RETRY, 1]]


def test_a_key_that_was_answered_is_answered_from_the_record(desk: Desk, connect: Callable[..., Client]) -> None:
    first, again = connect(), connect()
    first.call(1, method="once", key="k")
    assert desk.answers.settle(desk.begin(), [42]) == []
    again.call(5, method="once", key="k")
    assert again.heard() == [[m.REPLY, 5, 42]]
    assert desk.queued() == []


def test_a_key_that_is_on_its_way_is_waited_for(desk: Desk, connect: Callable[..., Client]) -> None:
    first, again = connect(), connect()
    first.call(1, method="once", key="k")
    again.call(5, method="once", key="k")
    assert desk.queued() == [1]
    assert [request.id for request in desk.answers.settle(desk.begin(), [42])] == [5]


def test_a_key_of_a_method_that_is_not_idempotent_is_run_each_time(desk: Desk, connect: Callable[..., Client]) -> None:
    client = connect()
    client.send(call(1, key="k"), call(2, key="k"))
    assert desk.queued() == [1, 2]


def test_when_the_first_of_a_key_goes_unbegun_the_next_one_is_run(desk: Desk, connect: Callable[..., Client]) -> None:
    first, again, third = connect(), connect(), connect()
    first.call(1, method="once", key="k")
    again.call(5, method="once", key="k")
    third.call(6, method="once", key="k")
    first.send([m.CANCEL, 1])
    assert desk.queued() == []
    desk.intake.accept_again()
    assert desk.queued() == [5]  # and the third waits for it
    assert [request.id for request in desk.answers.settle(desk.begin(), [42])] == [6]


def test_one_that_is_refused_while_its_key_runs_takes_nothing_from_that(desk: Desk, connect: Callable[..., Client]) -> None:
    first, again, third = connect(), connect(), connect()
    first.call(1, method="once", key="k")
    running = desk.begin()
    again.call(5, method="once", key="k")
    desk.dependencies = Dependencies(desk, None, "a")  # type: ignore[arg-type]
    desk.dependencies.error = DependencyDownError(id="a", dependency="y", reason="killed")
    third.call(6, method="once", key="k")
    third.call(7, method="once", key="other")
    assert third.heard() == [[m.FAULT, 7, {"type": "DependencyDownError", "retryable": True}]]
    desk.intake.accept_again()
    assert [request.id for request in desk.answers.settle(running, [42])] == [5, 6]
    third.call(8, method="once", key="k")
    assert third.heard() == [[m.REPLY, 8, 42]]


def test_a_refused_key_does_not_keep_the_next_one_waiting(desk: Desk, connect: Callable[..., Client]) -> None:
    client = connect()
    client.send(*[call(n) for n in range(1, LIMIT + 1)], call(8, method="once", key="k"))
    assert client.heard() == [[m.OVERLOADED, 8, LIMIT]]
    desk.intake.accept_again()
    desk.begin()
    client.call(9, method="once", key="k")
    assert desk.queued() == [2, 3, 9]


def test_a_cancel_takes_out_what_waits_and_reaches_what_runs(desk: Desk, connect: Callable[..., Client]) -> None:
    client, reached = connect(), []
    client.send(call(1), call(2))
    running = desk.begin()
    running.cancel = lambda: reached.append("cancelled")
    client.send([m.CANCEL, 1], [m.CANCEL, 2], [m.CANCEL, 77])
    assert desk.queued() == []
    assert running.cancelled
    assert reached == ["cancelled"]


def test_credit_goes_to_the_stream_it_names(desk: Desk, connect: Callable[..., Client]) -> None:
    client, credit = connect(), []
    client.send(call(1), call(2))
    desk.begin()
    desk.begin().stream = SimpleNamespace(add=credit.append)  # type: ignore[assignment]
    client.send([m.CREDIT, 2, 5], [m.CREDIT, 1, 7], [m.CREDIT, 77, 9])  # the others do not stream, or are over
    assert credit == [5]


def test_a_client_that_goes_leaves_its_casts_and_nothing_else(desk: Desk, connect: Callable[..., Client]) -> None:
    client, other = connect(), connect()
    client.send(call(1), call(2), [m.CAST, 0, "work", [], {}])
    running = desk.begin()
    other.call(3)
    client.channel.close()
    desk.intake.read([client.peer])
    assert desk.queued() == [0, 3]
    assert running.cancelled
    assert list(desk.channels.peers.values()) == [other.peer]


def test_an_argument_that_cannot_be_rebuilt_fails_its_own_call_and_no_other(desk: Desk, connect: Callable[..., Client]) -> None:
    client = connect()
    bodies = [
        Codec().pack(call(1)),
        msgpack.packb([m.CALL, 2, "work", [msgpack.ExtType(20, b"no pickle")], {}, None, None, 0, None]),
        msgpack.packb([m.CAST, 0, "work", [msgpack.ExtType(20, b"no pickle")], {}]),
        Codec().pack(call(3)),
    ]
    os.write(client.channel.fileno(), b"".join(len(body).to_bytes(4, "big") + body for body in bodies))
    desk.intake.read([client.peer])
    ((kind, id, _),) = client.heard()
    assert (kind, id) == (m.FAULT, 2)
    assert desk.queued() == [1, 3]


def test_those_that_wait_are_told_once_and_mux_clients_not_at_all(desk: Desk, connect: Callable[..., Client]) -> None:
    plain, mux = connect(), connect(mux=True)
    plain.send(call(1), call(2), [m.CAST, 0, "work", [], {}])
    desk.mailbox.limit = 9
    mux.call(1)
    taken = desk.begin()
    desk.intake.announce(taken)
    desk.intake.announce(None)
    assert plain.heard() == [[m.BEGUN, 2, False]]
    assert mux.heard() == []
    assert [request.waited for request in desk.mailbox._items] == [True, False, False]


def test_what_is_run_at_once_is_not_announced(desk: Desk, connect: Callable[..., Client]) -> None:
    client = connect()
    client.call(1)
    desk.intake.announce(desk.begin())
    assert client.heard() == []
    assert desk.intake.fresh == []


class TestOrder:
    """One client over several pipes, to a server that runs requests one by one: in the order of sending (otp-semantics §4)."""

    @pytest.fixture
    def desk(self, desk: Desk) -> Desk:
        desk.intake = Intake(desk, ordered=True)  # type: ignore[arg-type]
        desk.mailbox.limit = 10
        return desk

    def numbers(self, desk: Desk) -> list[int]:
        return [request.number for request in desk.mailbox._items]

    def test_what_was_sent_before_over_another_pipe_goes_first(self, desk: Desk, connect: Callable[..., Client]) -> None:
        threads, loop = connect(), connect(mux=True)
        loop.channel.send_many([call(1), call(4)])
        threads.channel.send_many([cast(2), cast(3), call(5)])
        desk.intake.read([threads.peer])  # as the kernel happened to tell of it first
        assert desk.mailbox.is_early()
        assert desk.intake.look()
        assert self.numbers(desk) == [1, 2, 3, 4, 5]

    def test_what_was_early_before_a_look_is_settled_by_it_and_what_the_look_brought_needs_another(
        self, desk: Desk, connect: Callable[..., Client]
    ) -> None:
        one, other = connect(), connect()
        one.send(cast(2))
        other.channel.send(cast(1))
        desk.intake.look(list(desk.intake.order.early))
        assert [request.early for request in desk.mailbox._items] == [True, False]
        assert not desk.intake.look(list(desk.intake.order.early))
        assert not desk.mailbox.is_early()
        assert desk.intake.order.early == []

    def test_who_does_not_know_of_new_pipes_settles_nothing(self, desk: Desk, connect: Callable[..., Client]) -> None:
        client = connect()
        client.send(cast(2))
        desk.intake.look()
        assert desk.mailbox.is_early()
        late = Client(desk)
        late.channel.send_many([HELLO, cast(1)])
        desk.intake.look()
        assert self.numbers(desk) == [1, 2]
        late.channel.close()

    def test_what_leaves_the_mailbox_is_forgotten(self, desk: Desk, connect: Callable[..., Client]) -> None:
        one, other = connect(), connect()
        one.send(call(1), call(2))
        other.send(call(3))
        one.send([m.CANCEL, 1])
        one.channel.close()
        desk.intake.look()
        assert [request.number for request in desk.intake.order.early] == [3]

    def test_a_client_with_one_pipe_is_never_early(self, desk: Desk, connect: Callable[..., Client]) -> None:
        client = connect()
        client.send(call(1), cast(2), cast(3))
        client.send(call(4))
        assert desk.intake.order.early == []
        assert not desk.mailbox.is_early()

    def test_a_missing_number_may_be_on_a_pipe_that_is_not_watched_yet(self, desk: Desk, connect: Callable[..., Client]) -> None:
        client = connect()
        client.send(call(1), call(3), call(4))
        assert [request.early for request in desk.mailbox._items] == [False, True, True]  # 4 has to wait for what 3 waits for
        late = Client(desk)
        late.channel.send_many([HELLO, call(2)])
        desk.intake.look()
        assert self.numbers(desk) == [1, 2, 3, 4]
        late.channel.close()

    def test_a_message_that_had_come_in_part_is_read_to_its_end(self, desk: Desk, connect: Callable[..., Client]) -> None:
        one, other = connect(), connect()
        large = call(1)
        large[3] = ["x" * 150_000]
        other.channel.send(large)  # all of it is in the pipe, and no single read takes it
        one.send(call(2))
        desk.intake.look()
        assert self.numbers(desk) == [1, 2]

    def test_other_clients_do_not_change_places(self, desk: Desk, connect: Callable[..., Client]) -> None:
        one, other = connect(), connect()
        stranger = connect(hello=False)
        stranger.send([m.HELLO, 0, {**HELLO[2], "client": "a stranger"}])
        stranger.send(call(1))
        one.send(cast(2))
        other.channel.send(cast(1))
        desk.intake.look()
        assert [(r.peer.client, r.number) for r in desk.mailbox._items if r.peer] == [("a stranger", 1), ("test", 1), ("test", 2)]

    def test_a_client_that_closed_its_other_pipes_has_one(self, desk: Desk, connect: Callable[..., Client]) -> None:
        one, other = connect(), connect()
        other.channel.close()
        desk.intake.look()
        one.send(call(1))
        assert desk.intake.order.early == []
        one.channel.close()
        desk.intake.look()
        assert desk.intake.order._senders == {}

    def test_numbers_mean_nothing_where_requests_run_side_by_side(self, desk: Desk, connect: Callable[..., Client]) -> None:
        desk.intake = Intake(desk)  # type: ignore[arg-type]
        one, other = connect(), connect()
        one.send(call(2))
        other.channel.send(call(1))
        desk.intake.look()
        assert self.numbers(desk) == [2, 1]


def cast(number: int) -> list[Any]:
    return [m.CAST, number, "work", [], {}]
