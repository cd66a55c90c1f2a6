"""A hold: nothing begins, what runs goes on; and undone it is as if it had never been."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dspex_runtime.errors import SwapError
from dspex_runtime.osproc.board import ENDED, QUEUED, RUNNING
from dspex_runtime.params.view import View
from dspex_runtime.types import Kind
from dspex_runtime.wire import messages as m
from helpers.hosted_parameters import Thermostat
from helpers.hosted_process import Gate, HostedProcess
from helpers.moving import Move
from helpers.moving_servers import Recorder
from helpers.waiting import wait_until

pytestmark = pytest.mark.process


def queued(process: HostedProcess, n: int) -> None:
    wait_until(lambda: process.slot()[QUEUED] == n, what=f"{n} are queued")


def test_a_held_server_begins_nothing_and_goes_on_where_it_was(moving: Any) -> None:
    move: Move = moving(Recorder)
    first, second = move.old.client(), move.old.client()
    assert first.call("$call", 1) == [move.old.pid, 1]
    assert move.hold() == {"running": 0, "open": 0}
    first.begin("$call", 2)
    second.cast("$cast", 3)
    queued(move.old, 2)
    assert first.recv() == [m.BEGUN, 2, False]
    assert move.old.slot()[ENDED] == 1
    move.old.ask("unhold")
    assert first.result() == [move.old.pid, 2]
    assert first.call("$call", "seen") == [1, 2, 3]


def test_what_runs_is_waited_for(moving: Any, gate: Gate) -> None:
    move: Move = moving(Recorder)
    client = move.old.client()
    client.begin("$call", ["wait", gate.path])
    wait_until(lambda: move.old.slot()[RUNNING] == 1)
    holding = move.old.begin("hold", drain_s=20.0)
    assert move.old.ask("ping")["pid"] == move.old.pid  # it is held by now
    gate.open()
    assert client.result() == "waited"
    assert move.old.answer(holding)["running"] == 0


def test_what_runs_too_long_is_told_and_may_end_well(moving: Any, gate: Gate) -> None:
    move: Move = moving(Recorder)
    client = move.old.client()
    client.begin("$call", ["wait", gate.path])
    wait_until(lambda: move.old.slot()[RUNNING] == 1)
    assert move.hold(0.01)["running"] == 1
    with pytest.raises(SwapError, match="still runs 1 call"):
        move.pack()
    move.old.ask("unhold")
    gate.open()
    assert client.result() == "waited"
    assert client.call("$call", "more") == [move.old.pid, "more"]


def test_a_continuation_runs_although_its_call_was_answered(moving: Any, gate: Gate) -> None:
    move: Move = moving(Recorder)
    client = move.old.client()
    assert client.call("$call", ["continue", gate.path]) == "continues"
    assert move.hold(0.01)["running"] == 1
    holding = move.old.begin("hold", drain_s=20.0)
    gate.open()
    assert move.old.answer(holding)["running"] == 0
    move.old.ask("unhold")
    assert client.call("$call", "seen") == ["continued"]


def test_a_call_that_only_a_thread_can_answer_is_waited_for_one_whose_from_moves_is_not(moving: Any, gate: Gate) -> None:
    move: Move = moving(Recorder)
    aside, deferred, timed = move.old.client(), move.old.client(), move.old.client()
    deferred.begin("$call", ["defer", "it"])
    timed.begin("$call", ["timed answer", 60.0])
    aside.begin("$call", ["aside", gate.path])
    wait_until(lambda: move.old.slot()[ENDED] == 3)
    assert move.hold(0.05) == {"running": 1, "open": 1}
    holding = move.old.begin("hold", drain_s=20.0)
    gate.open()
    assert aside.result() == "aside"
    assert move.old.answer(holding) == {"running": 0, "open": 0}


def test_a_call_that_only_a_thread_can_answer_is_not_waited_for_when_its_client_is_gone(moving: Any, gate: Gate) -> None:
    move: Move = moving(Recorder)
    cancelling, going = move.old.client(), move.old.client()
    number = cancelling.begin("$call", ["aside", gate.path])
    going.begin("$call", ["aside", gate.path])
    wait_until(lambda: move.old.slot()[ENDED] == 2)
    holding = move.old.begin("hold", drain_s=20.0)
    cancelling.send([m.CANCEL, number])
    going.close()
    assert move.old.answer(holding)["running"] == 0


def test_clients_are_still_heard(moving: Any) -> None:
    move: Move = moving(Recorder)
    stays, cancels, goes = move.old.client(), move.old.client(), move.old.client()
    move.hold()
    stays.begin("$call", "stays")
    number = cancels.begin("$call", "cancelled")
    goes.begin("$call", "gone")
    queued(move.old, 3)
    cancels.send([m.CANCEL, number])
    goes.close()
    queued(move.old, 1)
    move.old.ask("unhold")
    assert stays.result() == [move.old.pid, "stays"]
    assert stays.call("$call", "seen") == ["stays"]


def test_parameters_are_written_while_held_and_not_while_sealed(moving: Any, keeper: Any, gate: Gate) -> None:
    move: Move = moving(Thermostat)
    kept = keeper(move.old)
    view: View = kept.view()
    client, slow = move.old.client(), move.old.client()
    move.hold()
    client.call("$set", "target", 25.0)
    slow.call("$set", "safe", 1)  # by the writer
    assert view.get("target") == 25.0
    packing, preparing = move.begin(extra=gate.path)
    assert move.old.ask("ping")  # it is sealed by now
    client.begin("$set", "target", 26.0)
    gate.open()
    move.old.answer(packing)
    move.new.answer(preparing)
    assert view.get("target") == 25.0
    move.old.ask("unhold")
    assert client.result()[0] > 0
    assert view.get("target") == 26.0
    view.close()


def test_the_users_own_suspend_is_another_matter(moving: Any) -> None:
    move: Move = moving(Recorder)
    client = move.old.client()
    move.old.ask("suspend")
    move.hold()
    client.begin("$call", 1)
    queued(move.old, 1)
    move.old.ask("unhold")
    assert move.old.ask("status")["suspended"] is True
    move.hold()
    move.old.ask("resume")
    assert move.old.slot()[QUEUED] == 1
    move.old.ask("unhold")
    assert client.result() == [move.old.pid, 1]


def test_what_the_parent_asks_is_behind_what_its_client_has_sent(moving: Any) -> None:
    move: Move = moving(Recorder)
    client = move.old.client()
    move.hold()
    client.cast("$cast", "cast")
    queued(move.old, 1)
    asked = move.old.begin("get_state", client="test")
    other = move.old.ask("get_state", client="another")
    assert other.seen == []
    move.old.ask("unhold")
    assert move.old.answer(asked).seen == ["cast"]


def test_timers_and_messages_wait(moving: Any) -> None:
    move: Move = moving(Recorder)
    client = move.old.client()
    move.hold()
    move.old.control.send([m.EVENT, 0, {"type": "message", "message": "of the parent"}])
    queued(move.old, 1)
    move.old.ask("unhold")
    client.call("$call", ["timer", 0.01, "tick"])
    wait_until(lambda: client.call("$call", "seen") == ["of the parent", "tick"])


@pytest.mark.parametrize("packed", [False, True], ids=["held", "packed"])
def test_a_stop_ends_a_hold_and_runs_what_was_sent_before_it(moving: Any, packed: bool) -> None:
    move: Move = moving(Recorder)
    client = move.old.client()
    move.hold()
    client.begin("$call", "queued")
    queued(move.old, 1)
    if packed:
        move.pack()
    move.old.tell("stop", reason="shutdown", drain_s=20.0)
    assert client.result() == [move.old.pid, "queued"]
    assert move.old.bye() == "shutdown"


def test_a_stop_gives_up_a_pack_that_is_under_way(moving: Any, gate: Gate) -> None:
    move: Move = moving(Recorder)
    client = move.old.client()
    move.hold()
    client.begin("$call", "queued")
    queued(move.old, 1)
    packing, preparing = move.begin(extra=gate.path)
    move.old.tell("stop", reason="shutdown", drain_s=20.0)
    assert move.old.ask("ping")
    gate.open()
    with pytest.raises(SwapError):
        move.old.answer(packing)
    with pytest.raises(SwapError):
        move.new.answer(preparing)
    assert client.result() == [move.old.pid, "queued"]
    assert move.old.bye() == "shutdown"


def test_sigterm_ends_a_hold(moving: Any) -> None:
    move: Move = moving(Recorder)
    move.hold()
    os.kill(move.old.pid, signal.SIGTERM)
    assert move.old.bye() == "shutdown"
    assert move.old.wait() == 0


@pytest.mark.parametrize("commits", [True, False])
def test_sigterm_waits_for_who_goes_on_once_all_is_packed(moving: Any, commits: bool) -> None:
    move: Move = moving(Recorder)
    client = move.old.client()
    move.hold()
    client.begin("$call", "once")
    queued(move.old, 1)
    move.pack()
    os.kill(move.old.pid, signal.SIGTERM)
    assert move.old.ask("ping")
    if commits:
        move.commit()
        assert client.result() == [move.new.pid, "once"]
        move.ended()
    else:
        move.old.tell("unhold")
        assert move.old.bye() == "shutdown"
        assert move.old.wait() == 0


def test_a_process_that_is_about_to_end_is_not_held(moving: Any, gate: Gate) -> None:
    move: Move = moving(Recorder)
    client = move.old.client()
    client.begin("$call", ["wait", gate.path])
    wait_until(lambda: move.old.slot()[RUNNING] == 1)
    move.old.tell("stop", reason="shutdown", drain_s=20.0)
    with pytest.raises(SwapError, match="about to end") as raised:
        move.hold()
    assert raised.value.code == "old_ended"
    gate.open()
    assert move.old.bye() == "shutdown"


def test_a_sealed_process_waits_without_working(moving: Any) -> None:
    move: Move = moving(Recorder)
    client = move.old.client()
    client.call("$call", ["timer", 0.0, "due"])
    move.hold()
    move.pack()
    client.begin("$call", "unread")
    before = cpu_s(move.old.pid)
    time.sleep(0.3)  # what is to be seen is that nothing happens
    assert cpu_s(move.old.pid) - before < 0.1
    move.old.ask("unhold")
    assert client.result() == [move.old.pid, "unread"]


def cpu_s(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


PROGRAM = """
import dspy
from helpers.hosted_process import pass_through


class Program(dspy.Module):
    def forward(self, path=None):
        if path is not None:
            pass_through(path)
        return dspy.Prediction(answer=path)

    async def later(self, path):
        import asyncio

        await asyncio.to_thread(pass_through, path)
        return "later"

    def items(self, n, path):
        for item in range(n):
            yield item
        pass_through(path)
"""


@pytest.fixture
def program(tmp_path: Path) -> str:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return f"{path}:Program"


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_module_is_held_when_its_calls_async_ones_and_streams_are_over(
    moving: Any, program: str, tmp_path: Path, concurrency: int
) -> None:
    move: Move = moving(program, kind=Kind.MODULE, concurrency=concurrency)
    gates = [Gate(tmp_path / name) for name in ("sync", "async", "stream")]
    clients = [move.old.client() for _ in gates]
    if concurrency > 1:
        clients[0].begin("__call__", path=gates[0].path)
        clients[2].begin("items", 3, gates[2].path, credit=1)
    clients[1].begin("later", gates[1].path)
    running = 3 if concurrency > 1 else 1
    wait_until(lambda: move.old.slot()[RUNNING] == running)
    assert move.hold(0.01)["running"] == running
    late = move.old.client()
    late.begin("__call__")
    assert late.recv() == [m.BEGUN, 1, False]
    holding = move.old.begin("hold", drain_s=20.0)
    if concurrency > 1:
        assert clients[2].answer() == [m.ITEM, 1, 0]
        clients[2].send([m.CREDIT, 1, 5])  # a stream goes on
        assert [clients[2].answer()[2] for _ in range(2)] == [1, 2]
        gates[0].open()
        gates[2].open()
        assert clients[0].answer()[0] == m.REPLY
        assert clients[2].answer()[0] == m.REPLY
    gates[1].open()
    assert clients[1].result() == "later"
    assert move.old.answer(holding)["running"] == 0
    move.pack()
    move.old.ask("unhold")
    assert late.answer()[0] == m.REPLY


def test_every_idle_thread_comes_to_rest_each_time(moving: Any, program: str, tmp_path: Path) -> None:
    move: Move = moving(program, kind=Kind.MODULE, concurrency=6)
    gates = [Gate(tmp_path / str(number)) for number in range(6)]
    clients = [move.old.client() for _ in gates]
    for client, gate in zip(clients, gates, strict=True):
        client.begin("__call__", path=gate.path)
    wait_until(lambda: move.old.slot()[RUNNING] == len(gates))
    for client, gate in zip(clients, gates, strict=True):
        gate.open()
        assert client.answer()[0] == m.REPLY
    for _ in range(100):  # woken in a row, they are one event to the kernel: each has to wake the next
        assert move.hold()["running"] == 0
        move.old.ask("unhold")


def test_nothing_of_a_move_is_loaded_before_one_begins() -> None:
    code = (
        "import sys, dspex_runtime.host.bootstrap\n"
        "print(*(name for name in sys.modules if name.startswith('dspex_runtime.host.moving')))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == []
