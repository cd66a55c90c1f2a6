"""Calls and figures of modules beyond their living process."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.errors import CheckpointError
from dspex_runtime.node.operations.executions import joined, summary
from dspex_runtime.wire.messages import REPLY
from helpers.fake_node import Client, FakeNode, server


def call(number: int) -> dict[str, Any]:
    return {"method": "f", "started_at": float(number), "duration_ms": 1.0, "ok": True, "error": None}


def ask(runtime: FakeNode, client: Client, op: str, n: int = 3) -> Any:
    client.begin("module_op", id="a", op=op, args={"n": n} if op == "executions" else {})
    if runtime.process("a").requests:
        runtime.process("a").requests.pop()[3]([call(5), call(4)], None)
    runtime.turn()
    (found,) = [message for message in client.heard() if message[0] == REPLY]
    return found[2]


def test_of_a_stopped_module_the_kept_ones_are_told(runtime: FakeNode) -> None:
    client = runtime.boot(server("a")).owner
    runtime.keeper.answers["executions"] = [call(2), call(1)]
    client.begin("stop", id="a")
    client.heard()
    assert ask(runtime, client, "executions") == [call(2), call(1)]
    assert runtime.keeper.of("executions") == [{"id": "a", "n": 3}]


def test_of_a_young_process_those_of_its_predecessors_come_behind(runtime: FakeNode) -> None:
    client = runtime.boot(server("a"), max_restarts=9).owner
    runtime.crash("a")
    client.heard()
    runtime.keeper.answers["executions"] = [call(4), call(2), call(1)]
    assert ask(runtime, client, "executions") == [call(5), call(4), call(2)]


def test_a_first_process_knows_all_there_are(runtime: FakeNode) -> None:
    client = runtime.boot(server("a")).owner
    assert ask(runtime, client, "executions") == [call(5), call(4)]
    assert runtime.keeper.of("executions") == []


def test_a_store_that_does_not_work_takes_nothing_away(runtime: FakeNode) -> None:
    client = runtime.boot(server("a"), max_restarts=9).owner
    runtime.crash("a")
    client.heard()
    client.begin("module_op", id="a", op="executions", args={"n": 3})
    runtime.process("a").requests.pop()[3]([call(5)], None)
    runtime.turn()
    runtime.keeper.refuse(runtime.keeper.question("executions"), CheckpointError("disk full"))
    runtime.turn()
    assert [message[2] for message in client.heard()] == [[call(5)]]


def test_the_figures_of_a_stopped_module_are_those_of_all_its_incarnations(runtime: FakeNode) -> None:
    client = runtime.boot(server("a")).owner
    client.begin("stop", id="a")
    client.heard()
    runtime.node.keeping.noted("a")["metrics"] = {"calls": 4, "failures": 1, "busy_ns": 8_000_000, "last_error": "no"}
    assert ask(runtime, client, "metrics") == {
        "count": 4,
        "failures": 1,
        "success_rate": 0.75,
        "avg_ms": 2.0,
        "p50_ms": None,
        "p99_ms": None,
        "busy_s": 0.008,
        "last_error": "no",
    }


def test_of_no_calls_there_is_no_rate() -> None:
    assert (summary({})["success_rate"], summary({})["avg_ms"], summary({})["count"]) == (None, None, 0)


@pytest.mark.parametrize(
    ("own", "kept", "n", "found"),
    [([], [1], 5, [1]), ([3], [3, 2], 5, [3, 2]), ([5, 4], [3, 2, 1], 3, [5, 4, 3]), ([2], [], 5, [2]), ([], [], 5, [])],
)
def test_both_are_one_newest_first_and_each_call_once(own: list[int], kept: list[int], n: int, found: list[int]) -> None:
    assert joined([call(each) for each in own], [call(each) for each in kept], n) == [call(each) for each in found]
