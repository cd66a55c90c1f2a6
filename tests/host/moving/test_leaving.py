"""The old process of a swap, as the parent has it: one outcome or the other, whatever comes at the wrong moment."""

from __future__ import annotations

import os
import resource
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest

import dspex_runtime as dx
from dspex_runtime.errors import SwapError
from dspex_runtime.osproc.board import ENDED, QUEUED
from dspex_runtime.params.image import Image, decode
from dspex_runtime.params.records import EXECUTIONS, tail
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.faults import from_fault
from helpers.hosted_process import Client, Gate, HostedProcess
from helpers.moving import Move
from helpers.moving_servers import Recorder
from helpers.waiting import wait_readable, wait_until

pytestmark = pytest.mark.process


def queued(process: HostedProcess, n: int) -> None:
    wait_until(lambda: process.slot()[QUEUED] == n, what=f"{n} are queued")


def one_queued(move: Move) -> Client:
    """Hold the old process; return a client whose call waits in it."""
    client = move.old.client()
    move.hold()
    client.begin("$call", "queued")
    queued(move.old, 1)
    return client


@pytest.mark.parametrize("times", [1, 3])
def test_a_pack_can_be_undone_and_done_again(moving: Any, times: int) -> None:
    move: Move = moving(Recorder)
    client = one_queued(move)
    for place in range(times):
        move.pack()
        move.old.ask("unhold")
        assert client.result() == [move.old.pid, "queued"]
        again: Move = moving(Recorder, old=move.old)
        move = again
        move.hold()
        client.begin("$call", "queued")
        queued(move.old, 1)
        assert move.old.slot()[ENDED] == place + 1
    move.pack()
    move.commit()
    assert client.result() == [move.new.pid, "queued"]
    assert client.call("$call", "seen") == ["queued"] * (times + 1)


def test_what_was_not_held_or_is_packed_already_is_not_packed(moving: Any) -> None:
    move: Move = moving(Recorder)
    for why in ("is not held", "was packed already"):
        ours, theirs = socket.socketpair()
        with ours, theirs, pytest.raises(SwapError, match=why) as raised:
            move.old.ask("pack", ours.fileno())
        assert raised.value.code == "move"
        if why == "is not held":
            move.hold()
            move.pack()
    move.old.ask("unhold")
    assert move.old.client().call("$call", 1) == [move.old.pid, 1]


def test_unhold_in_the_middle_of_a_pack_gives_it_up(moving: Any, gate: Gate) -> None:
    move: Move = moving(Recorder)
    client = one_queued(move)
    packing, preparing = move.begin(extra=gate.path)
    move.old.ask("unhold")
    with pytest.raises(SwapError, match="has not sent all of itself"):
        move.new.answer(preparing)
    gate.open()
    with pytest.raises(SwapError):
        move.old.answer(packing)
    assert client.result() == [move.old.pid, "queued"]


def test_a_hold_that_is_given_up_is_answered(moving: Any, gate: Gate) -> None:
    move: Move = moving(Recorder)
    client = move.old.client()
    assert client.call("$call", ["continue", gate.path]) == "continues"
    holding = move.old.begin("hold", drain_s=20.0)
    move.old.ask("unhold")
    with pytest.raises(SwapError, match="given up") as raised:
        move.old.answer(holding)
    assert raised.value.code == "aborted"
    gate.open()
    assert client.call("$call", "seen") == ["continued"]


def test_a_new_process_that_is_killed_takes_nothing_with_it(moving: Any, gate: Gate) -> None:
    move: Move = moving(Recorder)
    client = one_queued(move)
    packing, _ = move.begin(extra=gate.path)
    os.kill(move.new.pid, signal.SIGKILL)
    move.new.wait()
    gate.open()
    with pytest.raises(SwapError) as raised:
        move.old.answer(packing)
    assert raised.value.code == "move"
    move.old.ask("unhold")
    assert client.result() == [move.old.pid, "queued"]
    assert client.call("$call", "seen") == ["queued"]


def test_a_new_process_that_is_killed_before_it_serves_takes_nothing_with_it_either(moving: Any) -> None:
    move: Move = moving(Recorder)
    client = one_queued(move)
    move.pack()
    os.kill(move.new.pid, signal.SIGKILL)
    move.new.wait()
    move.old.ask("unhold")
    assert client.result() == [move.old.pid, "queued"]


def test_a_new_process_with_too_few_descriptors_says_so(moving: Any) -> None:
    move: Move = moving(Recorder)
    clients = [move.old.client() for _ in range(100)]
    clients[-1].call("$call", "last")
    move.hold()
    resource.prlimit(move.new.pid, resource.RLIMIT_NOFILE, (60, 60))
    packing, preparing = move.begin()
    with pytest.raises(SwapError, match="at most 60 files may be open"):
        move.new.answer(preparing)
    with pytest.raises(SwapError):
        move.old.answer(packing)
    move.old.ask("unhold")
    assert clients[0].call("$call", "first") == [move.old.pid, "first"]


def test_a_state_that_cannot_be_sent_fails_the_pack_alone(moving: Any) -> None:
    move: Move = moving(Recorder)
    client = move.old.client()
    client.call("$call", ["lock"])
    assert move.hold()["running"] == 0
    packing, preparing = move.begin()
    with pytest.raises(SwapError, match="lock"):
        move.old.answer(packing)
    with pytest.raises(SwapError):
        move.new.answer(preparing)
    move.old.ask("unhold")
    assert client.call("$call", 1) == [move.old.pid, 1]


def test_what_the_parent_asks_meanwhile_waits_for_the_outcome(moving: Any) -> None:
    move: Move = moving(Recorder)
    client = one_queued(move)
    move.pack()
    asked = move.old.begin("suspend", client="another")
    assert move.old.ask("ping")
    move.old.ask("unhold")
    move.old.answer(asked)
    assert move.old.ask("status", client="another")["suspended"] is True
    move.old.ask("resume")
    assert client.result() == [move.old.pid, "queued"]


def test_what_has_no_answer_when_it_leaves_is_given_back(moving: Any) -> None:
    move: Move = moving(Recorder)
    client = one_queued(move)
    behind = move.old.begin("get_state", client="test")  # behind what that client has sent
    call = move.old.begin("call", method="$call", args=["of the parent"])
    move.old.ask("ping")
    move.pack()
    late = move.old.begin("get_state", client="another")
    move.commit()
    for number in (behind, call, late):
        kind, id, fault = move.old.recv()
        assert (kind, id, fault["retryable"]) == (m.FAULT, number, True)
        assert isinstance(from_fault(fault), SwapError)
    move.ended()
    assert client.result() == [move.new.pid, "queued"]
    assert client.call("$call", "seen") == ["queued"]


@pytest.mark.parametrize("commits", [False, True])
def test_what_a_thread_of_the_users_does_meanwhile_waits_for_the_outcome(moving: Any, gate: Gate, commits: bool) -> None:
    move: Move = moving(Recorder)
    client = move.old.client()
    client.begin("$call", ["both", "it", gate.path])
    wait_until(lambda: move.old.slot()[ENDED] == 1)
    move.hold()
    move.pack()
    gate.open()
    assert not wait_readable(client.channel.fileno(), timeout_s=0.05)
    if not commits:
        move.old.ask("unhold")
        assert client.result() == "by the thread"
        return
    move.commit()
    kind, number, op, args = move.old.recv()  # it knows who has the call now
    assert (kind, op, args["id"], args["op"]) == (m.CONTROL, "module_op", "sup/it", "reply")
    assert move.new.ask(args["op"], **args["args"]) is True
    move.old.control.send([m.REPLY, number, True])
    assert client.result() == "by the thread"
    move.ended()


@pytest.mark.parametrize("commits", [False, True])
def test_a_timer_that_a_thread_of_the_users_starts_meanwhile_is_not_lost_where_we_go_on(
    moving: Any, gate: Gate, commits: bool
) -> None:
    move: Move = moving(Recorder)
    client = move.old.client()
    client.call("$call", ["later", gate.path, "message"])
    move.hold()
    move.pack()
    gate.open()
    if commits:
        move.commit()
        move.ended()
        assert client.call("$call", "seen") == []
    else:
        move.old.ask("unhold")
        wait_until(lambda: client.call("$call", "seen") == ["message"])


def test_one_that_traps_no_exits_ends_without_terminate(moving: Any) -> None:
    move: Move = moving(Recorder, trap_exit=False)
    client = one_queued(move)
    move.pack()
    move.commit()
    assert client.result() == [move.new.pid, "queued"]
    move.ended()
    assert move.old.text() == ""


def test_every_call_is_written_down_once(moving: Any) -> None:
    move: Move = moving(Recorder)
    client = move.old.client()
    began = time.time()
    for word in ("a", "b"):
        client.call("$call", word)
    move.whole()
    client.call("$call", "c")
    move.ended()
    wait_until(lambda: len(executions(move.old.folder / "journal")) >= 3, what="they are written")
    found = executions(move.old.folder / "journal")
    assert [each["method"] for each in found] == ["$call"] * 3
    assert began - 1.0 <= found[0]["started_at"] < found[1]["started_at"] < found[2]["started_at"]


def executions(journal: Path) -> list[dict[str, Any]]:
    """Return what is in the journal."""
    return [each for _, record in tail(journal) if record[0] == EXECUTIONS for each in record[2]]


class Noted(dx.GenServer):
    """Notes what it is asked, and keeps that."""

    def init(self) -> list[Any]:
        return []

    def handle_call(self, request: Any, from_: Any, noted: list[Any]) -> Any:
        return dx.Reply([os.getpid(), request], [*noted, request]) if request != "seen" else dx.Reply(noted, noted)

    def get_state(self, noted: list[Any]) -> Any:
        return noted

    def set_state(self, saved: list[Any], noted: list[Any]) -> list[Any]:
        return saved


class TestSealed:
    """One that is saved with others: held, sealed, asked what it is, and let go on."""

    def image_of(self, process: HostedProcess) -> Image:
        process.ask("checkpoint", kind="manual", held=True)
        fd = process.control.take_fd()
        try:
            return decode(os.pread(fd, os.fstat(fd).st_size, 0))
        finally:
            os.close(fd)

    def test_it_is_what_it_was_when_it_was_sealed_and_then_goes_on(self, moving: Any) -> None:
        move: Move = moving(Noted)
        process, client = move.old, one_queued(move)
        process.ask("seal")
        client.begin("$call", "unread")
        assert self.image_of(process).user is not None
        waiting = process.begin("get_state")  # what does not say that it is held waits for the end of that
        process.ask("checkpoint", kind="manual", held=True)
        os.close(process.control.take_fd())
        assert process.slot()[ENDED] == 0
        process.ask("unhold")
        assert process.answer(waiting) is not None
        assert client.result() == [process.pid, "queued"]
        assert client.result() == [process.pid, "unread"]

    def test_what_waits_for_its_end_is_done_in_order(self, moving: Any) -> None:
        move: Move = moving(Noted)
        process = move.old
        move.hold()
        process.ask("seal")
        down = {"y": {"on_down": "wait", "fallback": None, "down": "killed"}}
        tables = [process.begin("dependencies", table=down), process.begin("unhold"), process.begin("dependencies", table={})]
        for number in tables:
            process.answer(number)
        assert process.client().call("$call", 1) == [process.pid, 1]

    def test_what_is_not_held_or_sealed_already_is_not_sealed(self, moving: Any) -> None:
        move: Move = moving(Noted)
        with pytest.raises(SwapError, match="what is to be sealed is not held"):
            move.old.ask("seal")
        move.hold()
        move.old.ask("seal")
        with pytest.raises(SwapError, match="what is to be sealed was packed already"):
            move.old.ask("seal")
        move.old.ask("unhold")
        assert move.old.client().call("$call", 1) == [move.old.pid, 1]

    def test_it_is_put_back_while_it_is_sealed(self, moving: Any) -> None:
        move: Move = moving(Noted)
        process = move.old
        client = process.client()
        client.call("$call", "first")
        move.hold()
        process.ask("seal")
        process.ask("checkpoint", kind="manual", held=True)
        fd = process.control.take_fd()
        process.ask("unhold")
        client.call("$call", "second")
        move.hold()
        process.ask("seal")
        process.ask("restore", fd, who="test", held=True)
        os.close(fd)
        process.ask("unhold")
        assert client.call("$call", "seen") == ["first"]
