"""Requests for a pipe: answered now, parked until the next incarnation, or refused because none is coming."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from dspex_runtime.core.child_spec import ChildSpec, LaunchSpec
from dspex_runtime.errors import NoProcessError
from dspex_runtime.node.broker import Broker
from dspex_runtime.node.event_loop import EventLoop
from dspex_runtime.node.module_process import ModuleProcess
from dspex_runtime.node.peer import Peer
from dspex_runtime.node.registry import Record
from dspex_runtime.types import ChildId, Kind, State
from dspex_runtime.wire.messages import BEGUN, CHANNEL
from helpers.peers import FakePeer


@dataclass(eq=False)
class FakeProcess:
    serving: bool = True
    kind: Kind = Kind.MODULE
    idempotent: list[str] = field(default_factory=lambda: ["peek"])
    channels: int = 0

    def send_channel(self, info: dict[str, Any], fd: int) -> None:
        self.channels += 1
        os.close(fd)


@dataclass
class Bench:
    loop: EventLoop
    broker: Broker
    faults: list[tuple[int, Exception]]
    record: Record
    peer: FakePeer

    def ask(self, request: int, after: int = 0, deadline: float | None = None) -> None:
        self.broker.ask(cast(Peer, self.peer), request, self.record, after, deadline)

    def becomes(self, state: State, incarnation: int) -> None:
        self.record.state = state
        self.record.incarnation = incarnation
        self.record.process = cast(ModuleProcess, FakeProcess()) if state is State.READY else None
        self.broker.changed(self.record)

    @property
    def answered(self) -> list[tuple[int, int]]:
        """(request, incarnation) of every pipe handed out."""
        return [(message[1], message[2]["incarnation"]) for message in self.peer.sent if message[0] == CHANNEL]


@pytest.fixture
def bench() -> Iterator[Bench]:
    loop = EventLoop()
    faults: list[tuple[int, Exception]] = []
    broker = Broker(loop, lambda _, request, error: faults.append((request, error)))
    spec = ChildSpec(ChildId("qa"), Kind.MODULE, launch=LaunchSpec(Kind.MODULE, target="pkg:X"))
    yield Bench(loop, broker, faults, Record("qa", spec), FakePeer())
    loop.close()


def test_a_ready_module_is_answered_at_once_and_both_ends_get_a_descriptor(bench: Bench) -> None:
    bench.becomes(State.READY, 1)
    bench.ask(5)
    assert bench.answered == [(5, 1)]
    assert bench.peer.descriptors == 1
    assert cast(FakeProcess, bench.record.process).channels == 1
    assert bench.peer.sent[0][2]["idempotent"] == ["peek"]


@pytest.mark.parametrize("state", [State.PENDING, State.STARTING, State.BACKOFF, State.STOPPING])
def test_a_request_waits_while_a_process_may_still_come(bench: Bench, state: State) -> None:
    bench.becomes(state, 1)
    bench.ask(5)
    assert (bench.answered, bench.faults) == ([], [])
    assert bench.peer.sent == [[BEGUN, 5, False]]  # who only sends goes on: there is nothing to be in order with
    bench.becomes(State.READY, 2)
    assert bench.answered == [(5, 2)]


def test_a_request_after_an_incarnation_is_answered_by_a_later_one_only(bench: Bench) -> None:
    bench.becomes(State.READY, 3)
    bench.ask(5, after=3)
    assert bench.answered == []
    bench.becomes(State.READY, 4)
    assert bench.answered == [(5, 4)]


def test_a_process_that_is_on_its_way_out_gets_no_new_pipes(bench: Bench) -> None:
    bench.becomes(State.READY, 1)
    cast(FakeProcess, bench.record.process).serving = False
    bench.ask(5)
    assert bench.answered == []


@pytest.mark.parametrize("state", [State.STOPPED, State.EXITED, State.FAILED])
def test_nobody_waits_for_what_is_not_coming(bench: Bench, state: State) -> None:
    bench.becomes(State.STARTING, 1)
    bench.ask(5)
    bench.record.exited(1, "killed")
    bench.becomes(state, 1)
    bench.ask(6)
    assert [request for request, _ in bench.faults] == [5, 6]
    error = bench.faults[0][1]
    assert isinstance(error, NoProcessError)
    assert error.reason == "killed"


def test_a_client_that_gave_up_gets_nothing(bench: Bench) -> None:
    bench.becomes(State.STARTING, 1)
    bench.ask(5)
    bench.ask(6)
    bench.broker.forget(cast(Peer, bench.peer), 5)
    bench.becomes(State.READY, 1)
    assert bench.answered == [(6, 1)]


def test_a_client_that_is_gone_gets_nothing(bench: Bench) -> None:
    bench.becomes(State.STARTING, 1)
    bench.ask(5)
    bench.ask(6)
    bench.broker.forget(cast(Peer, bench.peer))
    bench.becomes(State.READY, 1)
    assert bench.answered == []
