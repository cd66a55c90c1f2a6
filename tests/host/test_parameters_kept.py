"""Parameters of a real module process outlive it: by its table, its descriptors, its journal. The test plays parent and keeper."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from dspex_runtime.params.blob import Blob
from dspex_runtime.params.records import EXECUTIONS, SET, tail
from dspex_runtime.types import Durability
from dspex_runtime.wire import messages as m
from helpers.hosted_parameters import Collector, Plain, Thermostat, killed, restarted
from helpers.hosted_process import HostedProcess
from helpers.waiting import wait_until

pytestmark = pytest.mark.process


def test_what_was_acknowledged_is_there_after_a_kill(fork: Any, keeper: Any) -> None:
    first = fork()
    first.start(Thermostat)
    client = first.client()
    for name, value in {"target": 25.0, "safe": 3, "quick": 4, "name": "attic"}.items():
        client.call("$set", name, value)
    client.call("$call", ["set", "odd", 5])
    kept = keeper(first)
    killed(first)
    second = restarted(fork, kept, first)
    assert second.client().call("$call", "get") == {"target": 25.0, "name": "attic", "odd": 5, "quick": 4, "safe": 3}
    assert second.client().call("$set", "target", 26.0)[0] == 3


def test_without_the_table_the_journal_has_it(fork: Any) -> None:
    first = fork()
    first.start(Thermostat)
    first.client().call("$set", "target", 25.0)
    killed(first)
    second = fork()
    second.assign(Thermostat, kept=True, journal=str(first.folder / "journal"))
    second.control.send([m.CONTROL, 0, "kept", {}])
    assert second.recv()[0] == m.READY
    assert second.client().call("$call", "get")["target"] == 25.0


def test_a_large_value_is_kept_and_readers_map_it(fork: Any, keeper: Any) -> None:
    import numpy as np

    first = fork()
    first.start(Thermostat)
    array = np.arange(131072.0)
    first.client().call("$set", "big", array)
    kept = keeper(first)
    assert ("blob", "big", 2) in kept.fds
    view = kept.view()
    read = view.get("big")
    assert np.array_equal(read, array)
    assert not read.flags.writeable
    killed(first)
    second = restarted(fork, kept, first)
    assert second.client().call("$rollback", "big", 2)[0] == 3
    assert Blob.map(keeper(second).fds["blob", "big", 3])[0].nbytes >= array.nbytes
    view.close()


@pytest.mark.parametrize("end", ["kill", "crash"])
def test_what_a_server_changed_in_place_outlives_it(fork: Any, keeper: Any, end: str) -> None:
    process = fork()
    process.start(Collector)
    client = process.client()
    client.call("$call", "a")
    kept = keeper(process)
    if end == "crash":
        client.begin("$call", "crash")
        process.bye()
        process.wait()
    else:
        killed(process)
    again = restarted(fork, kept, process, Collector)
    again.client().call("$call", "b")
    view = kept.view()
    assert view["items"] == ["init", "continue", "a", *(["crash"] if end == "crash" else []), "init", "continue", "b"]
    view.close()


def test_a_new_keeper_gets_everything_again(fork: Any) -> None:
    process = fork()
    process.start(Thermostat)
    client = process.client()
    client.call("$set", "big", b"x" * 100_000)
    client.call("$set", "quick", 5)
    process.ask("ping")
    before = len(process.offered)
    process.ask("hand_over")
    again = [event for event, _ in process.offered[before:]]
    assert sorted(event["type"] for event in again) == ["blob", "table", "volatile"]


def test_what_is_kept_and_not_needed_is_let_go(fork: Any, keeper: Any) -> None:
    first = fork()
    first.start(Thermostat)
    kept = keeper(first)
    second = fork()
    second.assign(Plain, kept=True)
    kept.give(second)
    assert second.recv()[0] == m.READY
    assert second.client().call("$call", None) == "plain"
    third = fork()
    third.start(Plain)
    third.client().call("$call", None)
    assert memfds(second) == memfds(third)


def memfds(process: HostedProcess) -> int:
    folder = f"/proc/{process.pid}/fd"
    return sum("memfd:" in os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder))


def written(journal: Path, kind: int) -> list[list[Any]]:
    return [payload for _, payload in tail(journal) if payload[0] == kind] if journal.exists() else []


def test_calls_and_sums_are_in_the_journal_within_a_second_and_at_the_end(fork: Any) -> None:
    process = fork()
    process.start(Thermostat, base={"calls": 10, "failures": 0, "busy_ns": 0})
    client = process.client()
    for _ in range(3):
        client.call("$call", "get")
    journal = process.folder / "journal"
    wait_until(lambda: written(journal, EXECUTIONS), what="the calls are written down")
    client.call("$call", "get")
    process.tell("stop", reason="shutdown", drain_s=5.0)
    process.bye()
    process.wait()
    records = written(journal, EXECUTIONS)
    assert sum(len(record[2]) for record in records) == 4
    assert records[-1][3]["calls"] == 14


def test_a_write_is_in_the_journal_when_it_is_acknowledged(fork: Any) -> None:
    process = fork()
    process.start(Thermostat)
    process.client().call("$set", "target", 25.0)
    versions = [record[2] for record in written(process.folder / "journal", SET) if record[1] == "target"]
    assert versions[-1] == 2


def test_writes_of_durability_memory_touch_no_disk(fork: Any) -> None:
    process = fork()
    process.start(Thermostat, durability=Durability.MEMORY)
    process.client().call("$set", "target", 25.0)
    assert not written(process.folder / "journal", SET)
