"""Trace, log, statistics and hooks of a server go on in the process that takes its place."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from dspex_runtime.host.debug import NO_STATISTICS
from helpers.moving import Move
from helpers.moving_servers import Recorder
from helpers.waiting import wait_until

pytestmark = pytest.mark.process


def counting(own: int, event: Any, state: Any) -> int:
    print(f"event {own}")
    return own + 1


class Unsendable:
    """A hook's own state that stays where it is."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


def unsendable(own: Any, event: Any, state: Any) -> Any:
    return own or Unsendable()


def test_what_is_switched_on_stays_on(moving: Any, tmp_path: Path) -> None:
    move: Move = moving(Recorder)
    client, path = move.old.client(), tmp_path / "debug.log"
    for command in ("log", "statistics", "trace"):
        move.old.ask("debug", command=command, flag=True)
    move.old.ask("debug", command="log_to_file", flag=str(path))
    for name, function, own in (("counts", counting, 1), ("stays", unsendable, None)):
        move.old.ask("debug", command="install", name=name, function=function, state=own)
    client.call("$call", "before")
    move.whole()
    move.ended()
    client.call("$call", "after")
    events = move.new.ask("debug", command="log", flag="get")
    assert [event[1:3] for event in events if event[0] == "in"] == [("call", "before"), ("call", "after")]
    found = move.new.ask("debug", command="statistics", flag="get")
    assert (found["messages_in"], found["messages_out"]) == (2, 2)
    assert [line for line in move.old.text().splitlines() if line.startswith("event")] == ["event 1", "event 2"]
    wait_until(lambda: "event 4" in move.new.text())
    assert "a debug hook (stays) cannot move" in move.old.text()
    lines = path.read_text().splitlines()
    assert sum("got call" in line for line in lines) == 2


def test_what_is_off_stays_off(moving: Any) -> None:
    move: Move = moving(Recorder)
    move.whole()
    assert move.new.ask("debug", command="statistics", flag="get") == NO_STATISTICS
    assert move.new.ask("debug", command="log", flag="get") == []


def test_a_deferred_answer_is_traced_in_the_new_process(moving: Any) -> None:
    move: Move = moving(Recorder)
    waits, answers = move.old.client(), move.old.client()
    move.old.ask("debug", command="log", flag=True)
    waits.begin("$call", ["defer", "it"])
    wait_until(lambda: len(move.old.ask("debug", command="log", flag="get")) == 2)
    move.whole()
    answers.call("$call", ["answer", "it"])
    assert waits.result() == "answer to it"
    events = move.new.ask("debug", command="log", flag="get")
    assert ("out", "answer to it") in [event[:2] for event in events]
