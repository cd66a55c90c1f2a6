"""A module's log: whole lines, rotation, and disks that take nothing. Printing never raises."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dspex_runtime.host.behaviours as dx
from dspex_runtime.host.logs import MAX_PARTIAL_CHARS, LogStream
from dspex_runtime.wire import messages as m
from helpers.waiting import wait_until


class Memory:
    """Stands in for the log."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.writes.append(data)


@pytest.fixture
def stream() -> Any:
    return LogStream(Memory(), 1)  # type: ignore[arg-type]


def test_lines_leave_whole(stream: Any) -> None:
    print("one", 2, file=stream)
    stream.write("half ")
    assert stream._log.writes == [b"one 2\n"]
    stream.write("and half\nnext")
    assert stream._log.writes[1:] == [b"half and half\n"]
    stream.flush()
    assert stream._log.writes[2:] == [b"next"]


def test_lines_of_two_threads_do_not_mix(stream: Any) -> None:
    stream.write("main ")
    thread = threading.Thread(target=lambda: print("other", file=stream))
    thread.start()
    thread.join()
    print("thread", file=stream)
    assert stream._log.writes == [b"other\n", b"main thread\n"]


def test_an_endless_line_is_written_in_pieces(stream: Any) -> None:
    stream.write("x" * (MAX_PARTIAL_CHARS + 1))
    assert len(stream._log.writes) == 1


def test_text_that_is_no_unicode_is_escaped(stream: Any) -> None:
    print("\ud800", file=stream)
    assert stream._log.writes == [b"\\ud800\n"]


def test_it_looks_like_a_stream(stream: Any) -> None:
    assert stream.writable()
    assert not stream.isatty()
    assert stream.fileno() == 1
    stream.buffer.write(b"raw")
    assert stream._log.writes == [b"raw"]
    stream.close()
    print("still works", file=stream)


class Printer(dx.GenServer):
    def init(self) -> None:
        return None

    def handle_call(self, request: Any, from_: Any, state: None) -> Any:
        match request:
            case ["print", text, times]:
                for _ in range(times):
                    print(text)
            case ["write", text, times]:
                for _ in range(times):
                    os.write(1, text.encode())
            case "close":
                os.close(1)
            case "stderr":
                sys.stderr.write("to stderr\n")
        return dx.Reply(None, state)


@pytest.mark.process
def test_the_module_rotates_its_own_log_and_keeps_the_newest(fork: Callable[..., Any]) -> None:
    process = fork()
    process.start(Printer, log_max_bytes=100, log_keep=2)
    client = process.client()
    for n in range(11):
        client.call("$call", ["print", f"{n} {'x' * 40}", 1])
    client.call("$call", "stderr")
    folder: Path = process.log.parent
    files = {path.name: path.read_text() for path in folder.iterdir()}
    assert sorted(files) == ["module.log", "module.log.1", "module.log.2"]
    together = files["module.log.2"] + files["module.log.1"] + files["module.log"]
    assert [line.split()[0] for line in together.splitlines()] == [*map(str, range(3, 11)), "to"]


@pytest.mark.process
def test_what_other_code_writes_counts_for_rotation(fork: Callable[..., Any]) -> None:
    process = fork()
    process.start(Printer, log_max_bytes=100, log_keep=1)
    client = process.client()
    client.call("$call", ["write", "from C " + "x" * 60 + "\n", 5])
    process.ask("statistics")
    rotated = process.log.with_name("module.log.1")
    wait_until(rotated.exists)
    client.call("$call", ["print", "fresh", 1])
    assert process.text() == "fresh\n"


@pytest.mark.process
def test_a_full_disk_drops_output_reports_once_and_harms_nobody(fork: Callable[..., Any]) -> None:
    process = fork()
    process.start(Printer, log="/dev/full", log_max_bytes=100)
    client = process.client()
    for _ in range(3):
        client.call("$call", ["print", "lost", 2])
    assert process.ask("statistics")["log"] == {"path": "/dev/full", "dropped_lines": 6, "dropping": True}
    kind, _, event = process.recv()
    assert (kind, event["type"]) == (m.EVENT, "log_full")
    process.tell("stop", reason="shutdown", drain_s=1.0)
    assert process.bye() == "shutdown"


@pytest.mark.process
def test_a_module_that_closes_its_output_only_loses_its_output(fork: Callable[..., Any]) -> None:
    process = fork()
    process.start(Printer, log_max_bytes=100)
    client = process.client()
    client.call("$call", "close")
    client.call("$call", ["print", "lost", 1])
    assert process.ask("ping")["id"] == "sup/it"
