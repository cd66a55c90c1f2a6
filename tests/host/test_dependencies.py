"""What becomes of calls while something is down that the module depends on: on a real process, which is told by the test."""

from __future__ import annotations

import select
from collections.abc import Iterator
from typing import Any

import pytest

import dspex_runtime.host.behaviours as dx
from dspex_runtime.core.child_spec import LaunchSpec, Limits
from dspex_runtime.errors import DependencyDownError, StartError
from dspex_runtime.host.channels import DataChannels
from dspex_runtime.host.genserver import ServerHost
from dspex_runtime.host.peer import Peer
from dspex_runtime.host.server_loop import ServerLoop
from dspex_runtime.osproc.board import ENDED, QUEUED, RUNNING, SLOT_BYTES, Slot
from dspex_runtime.osproc.channel import Channel, pair
from dspex_runtime.types import Kind
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.codec import Codec
from helpers.hosted_process import Gate, HostedProcess, pass_through
from helpers.waiting import wait_until

pytestmark = pytest.mark.process


class Noting(dx.GenServer):
    """Its state is what came, in order."""

    def init(self) -> list[Any]:
        return []

    def handle_call(self, request: Any, from_: Any, state: list[Any]) -> Any:
        match request:
            case ["wait", path]:
                pass_through(path)
        return dx.Reply(request, [*state, request])

    def handle_cast(self, request: Any, state: list[Any]) -> Any:
        return dx.NoReply([*state, request])

    def handle_info(self, message: Any, state: list[Any]) -> Any:
        return dx.NoReply([*state, message])


class Once(Noting):
    """Each key is run once."""

    @dx.idempotent
    def handle_call(self, request: Any, from_: Any, state: list[Any]) -> Any:
        return super().handle_call(request, from_, state)


def edge(on_down: str, down: Any = None, fallback: str | None = None) -> dict[str, Any]:
    return {"on_down": on_down, "fallback": fallback, "down": down}


def tell(process: HostedProcess, **table: Any) -> None:
    assert process.ask("dependencies", table=table) is None


@pytest.mark.parametrize("on_down", ["wait", "restart", "stop"])
def test_what_clients_send_is_set_aside_and_everything_else_goes_on(fork: Any, on_down: str) -> None:
    process = fork()
    process.start(Noting)
    client = process.client()
    tell(process, y=edge(on_down, "killed"))
    client.cast("$cast", "cast")
    client.begin("$call", "call")
    assert client.recv() == [m.BEGUN, 1, False]  # it knows that it waits
    process.tell("signal", message="signal")
    assert process.ask("get_state") == ["signal"]
    assert (process.slot()[QUEUED], process.slot()[RUNNING]) == (2, 0)
    tell(process, y=edge(on_down))
    assert client.recv() == [m.BEGUN, 1, True]
    assert client.recv() == [m.REPLY, 1, "call"]
    assert process.ask("get_state") == ["signal", "cast", "call"]
    assert process.slot()[QUEUED] == 0


def test_all_that_is_waited_for_has_to_be_up(fork: Any) -> None:
    process = fork()
    process.start(Noting, dependencies={"y": edge("wait", "killed"), "z": edge("wait", "noproc")})
    client = process.client()
    client.begin("$call", 1)
    assert client.recv() == [m.BEGUN, 1, False]
    tell(process, y=edge("wait"), z=edge("wait", "noproc"))
    assert process.slot()[ENDED] == 0
    tell(process, y=edge("wait"), z=edge("wait"))
    assert client.result() == 1


def test_the_mailbox_stays_bounded_and_a_cancelled_call_leaves_it(fork: Any) -> None:
    process = fork()
    process.start(Noting, limits=Limits(mailbox=1))
    tell(process, y=edge("wait", "killed"))
    client = process.client()
    number = client.begin("$call", 1)
    assert client.recv() == [m.BEGUN, 1, False]
    client.begin("$call", 2)
    assert client.recv() == [m.OVERLOADED, 2, 1]
    client.send([m.CANCEL, number])
    wait_until(lambda: process.slot()[QUEUED] == 0, what="it is gone")
    client.begin("$call", 3)
    tell(process)
    assert client.answer() == [m.REPLY, 3, 3]


def test_calls_fail_at_once_queued_ones_too_and_what_runs_goes_on(fork: Any, gate: Gate) -> None:
    process = fork()
    process.start(Noting)
    running, client = process.client(), process.client()
    running.begin("$call", ["wait", gate.path])
    wait_until(lambda: process.slot()[RUNNING] == 1, what="the call runs")
    client.begin("$call", 1)
    assert client.recv() == [m.BEGUN, 1, False]
    tell(process, y=edge("fail", "killed"))
    kind, _, fault = client.recv()
    assert (kind, fault["dspex"], fault["retryable"]) == (m.FAULT, "DependencyDownError", True)
    with pytest.raises(DependencyDownError) as refused:
        client.call("$call", 2)
    assert (refused.value.id, refused.value.dependency, refused.value.reason) == ("sup/it", "y", "killed")
    assert refused.value.hint == "`dspex start y` starts it, unless it comes back by itself"
    client.cast("$cast", "lost")  # nobody could be told
    gate.open()
    assert running.result() == ["wait", gate.path]
    tell(process, y=edge("fail"))
    assert client.call("$call", 3) == 3
    assert process.ask("get_state") == [["wait", gate.path], 3]
    assert "dropped a cast: 'sup/it' takes no calls while 'y'" in process.text()


def test_a_key_that_runs_or_was_answered_is_not_refused(fork: Any, gate: Gate) -> None:
    process = fork()
    process.start(Once)
    first, again, other = process.client(), process.client(), process.client()
    assert first.call("$call", "before", key="done") == "before"
    first.begin("$call", ["wait", gate.path], key="runs")
    wait_until(lambda: process.slot()[RUNNING] == 1, what="the call runs")
    again.begin("$call", ["wait", gate.path], key="runs")  # waits for the answer of the first
    other.begin("$call", 0)
    assert other.recv() == [m.BEGUN, 1, False]  # all of it was read
    tell(process, y=edge("fail", "killed"))
    assert other.recv()[0] == m.FAULT
    assert other.call("$call", "before", key="done") == "before"
    number = other.begin("$call", ["wait", gate.path], key="runs")
    other.begin("$call", 0)
    assert other.recv()[:2] == [m.FAULT, number + 1]  # and not a word of the one before
    gate.open()
    for client in (first, again, other):
        assert client.result() == ["wait", gate.path]
    assert process.ask("get_state") == ["before", ["wait", gate.path]]


def test_all_that_wait_for_one_key_are_refused_and_it_is_run_when_it_is_sent_again(fork: Any, gate: Gate) -> None:
    process = fork()
    process.start(Once)
    running, clients, last = process.client(), [process.client() for _ in range(3)], process.client()
    running.begin("$call", ["wait", gate.path])
    wait_until(lambda: process.slot()[RUNNING] == 1, what="the call runs")
    for client in clients:
        client.begin("$call", 1, key="k")
    last.begin("$call", 0)
    assert last.recv() == [m.BEGUN, 1, False]  # all of it was read
    tell(process, y=edge("fail", "killed"))
    for client in (*clients, last):
        assert client.answer()[0] == m.FAULT
    gate.open()
    assert running.result() == ["wait", gate.path]
    for client in clients[:2]:  # the process has nothing else to do by now
        with pytest.raises(DependencyDownError):
            client.call("$call", 1, key="k")
    tell(process, y=edge("fail"))
    assert clients[2].call("$call", 1, key="k") == 1
    assert process.ask("get_state") == [["wait", gate.path], 1]


def test_fail_goes_before_wait_and_wait_before_degrade(fork: Any) -> None:
    process = fork()
    process.start(Noting)
    client = process.client()
    tell(process, a=edge("degrade", "killed", "spare"), b=edge("wait", "killed"), c=edge("fail", "killed"))
    with pytest.raises(DependencyDownError):
        client.call("$call", 1)
    tell(process, a=edge("degrade", "killed", "spare"), b=edge("wait", "killed"), c=edge("fail"))
    client.begin("$call", 2)
    assert client.recv() == [m.BEGUN, 2, False]
    tell(process)
    assert client.result() == 2


def test_a_stop_gives_calls_back_that_wait_and_drops_casts(fork: Any) -> None:
    process = fork()
    process.start(Noting)
    client = process.client()
    tell(process, y=edge("wait", "killed"))
    client.cast("$cast", "lost")
    client.begin("$call", 1)
    assert client.recv() == [m.BEGUN, 1, False]
    process.tell("stop", reason="shutdown", drain_s=5.0, timeout_s=10.0)
    assert client.answer() == [m.RETRY, 1]
    assert process.wait() == 0
    assert "dropped 1 casts that waited for y" in process.text()


def test_a_server_cannot_degrade_by_itself(fork: Any) -> None:
    process = fork()
    with pytest.raises(StartError, match="'sup/it' is to degrade while 'y' is down: expected forward_degraded"):
        process.start(Noting, dependencies={"y": edge("degrade")})
    assert process.wait() == 1


def test_a_table_that_cannot_be_gone_by_is_refused_when_it_is_checked(fork: Any) -> None:
    process = fork()
    process.start(Noting)
    process.ask("dependencies", table={"y": edge("degrade", "killed", "spare")}, check=True)
    with pytest.raises(StartError, match="expected forward_degraded"):
        process.ask("dependencies", table={"y": edge("degrade", "killed")}, check=True)
    assert process.client().call("$call", 1) == 1  # neither of them holds


@pytest.fixture
def loop() -> Iterator[ServerLoop]:
    """A loop on this thread that runs nothing by itself."""
    with select.epoll() as control:
        channels = DataChannels(control)
        yield ServerLoop(
            ServerHost(Noting()),
            LaunchSpec(Kind.SERVER),
            channels,
            Slot(memoryview(bytearray(SLOT_BYTES)).cast("Q")),
            Codec(),
            id="sup/it",
            incarnation=1,
            on_max_calls=lambda _: None,
            on_idle=lambda: None,
            on_end=lambda _reason, _owed: None,
        )
        channels.close()


def test_who_waits_is_told_so_though_something_that_came_with_it_begins(loop: ServerLoop) -> None:
    loop.depend({"y": edge("wait", "killed")})
    ours, theirs = pair()
    loop.add_channel(Peer(Channel(theirs, Codec())))
    client = Channel(ours, Codec())
    hello = [m.HELLO, 0, {"protocol": list(m.PROTOCOL), "mux": False, "client": "test"}]
    calls = [[m.CALL, n, method, [], {}, None, None, 0, None] for n, method in ((1, "$call"), (2, "$set"))]
    client.send_many([hello, *calls])
    loop.idle_after(0.0)  # is looked at first, and reads
    begun = loop._next()
    assert begun is not None
    assert (begun.id, begun.method) == (2, "$set")  # a write of a parameter waits for nothing
    assert client.recv_ready() == [[m.BEGUN, 1, False]]
    client.close()
