"""A call that is given up ends the calls it has made, at once and over every hop, also where a thread waits for the answer."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from math import inf
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

import dspex_runtime as dx
from helpers.system import Start, part
from helpers.waiting import wait_until

pytestmark = pytest.mark.process


class Notes:
    """What the modules have noted."""

    def __init__(self, folder: Path) -> None:
        self.gate = str(folder / "gate")
        self.folder = folder

    def has(self, *words: str) -> None:
        """Wait for notes."""
        for word in words:
            wait_until(Path(f"{self.gate}.{word}").exists, what=word)


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path)


def begin(rt: dx.Runtime, id: str, path: list[str], notes: Notes, how: str) -> Any:
    """Have a call made that can be given up."""
    request = dx.Requests().call(rt.ref(id), "listened", path, notes.gate, how)
    notes.has("begun")
    return request


def test_over_three_hops(shared: Start, notes: Notes) -> None:
    rt = shared(part("a"), part("b"), part("c"))
    request = begin(rt, "a", ["b", "c"], notes, "plain")
    request.cancel()
    notes.has("given-up", "b.CallCancelledError", "a.CallCancelledError")
    assert [rt.ref(id).call("name") for id in "abc"] == ["a", "b", "c"]
    assert [rt.info(id).restarts for id in "abc"] == [0, 0, 0]


@pytest.mark.parametrize("how", ["plain", "streamed", "gathered", "asyncs", "threads"])
def test_however_the_call_was_made(shared: Start, notes: Notes, how: str) -> None:
    rt = shared(part("a"), part("b"))
    request = begin(rt, "a", ["b"], notes, how)
    request.cancel()
    notes.has("given-up")
    if how != "threads":
        notes.has("a.CallCancelledError")
    assert rt.ref("a").call("name") == "a"
    assert rt.ref("b").call("name") == "b"


def test_a_thread_that_waits_for_one_that_is_not_ready(shared: Start, notes: Notes) -> None:
    rt = shared(part("a"), part("b") | {"backoff": {"initial": "60s", "max": "60s", "jitter": 0}})
    first = rt.info("b").incarnation
    rt.kill("b")
    wait_until(lambda: rt.info("b").incarnation > first and rt.info("b").state == "READY")
    rt.kill("b")  # the first restart was at once
    wait_until(lambda: rt.info("b").state == "BACKOFF")
    request = begin(rt, "a", ["b"], notes, "parked")
    request.cancel()
    notes.has("a.CallCancelledError")
    assert rt.ref("a").call("name") == "a"


def test_a_thread_that_waits_for_the_runtime(shared: Start, notes: Notes) -> None:
    rt = shared(part("a"), part("b"))
    request = begin(rt, "a", ["b"], notes, "watches")
    request.cancel()
    notes.has("a.CallCancelledError")
    assert rt.ref("a").call("name") == "a"


def test_over_async_hops(shared: Start, notes: Notes) -> None:
    rt = shared(part("a", "AsyncHop"), part("b"), part("c", "AsyncHop"))
    request = begin(rt, "a", ["b", "c"], notes, "plain")
    request.cancel()
    notes.has("given-up", "b.CallCancelledError", "a.CancelledError")
    Path(notes.gate).touch()  # lets the thread go that the last one has begun
    assert [rt.ref(id).call("name") for id in "abc"] == ["a", "b", "c"]


def test_a_deadline_ends_all_of_them(shared: Start, notes: Notes) -> None:
    rt = shared(part("a"), part("b"), part("c"))
    rt.ref("a").call(path=["b", "c"])  # the pipes are there: the time is that of the calls
    with pytest.raises(dx.CallTimeoutError):
        rt.ref("a").call("listened", ["b", "c"], notes.gate, "plain", timeout=2.0)
    notes.has("given-up")
    assert [rt.ref(id).call("name") for id in "abc"] == ["a", "b", "c"]


def test_the_outermost_deadline_caps_the_others(shared: Start) -> None:
    rt = shared(part("a"), part("b"), part("c", limits={"call_timeout": "500s"}))
    before = monotonic()
    due = rt.ref("a").call(path=["b", "c"], last="due", timeout=30.0)
    assert before + 30.0 <= due <= monotonic() + 30.0
    due = rt.ref("a").call(path=["b", "c"], last="due", timeout=inf)  # a hop's own is shorter
    assert before + 60.0 <= due <= monotonic() + 60.0


def test_a_client_that_dies_gives_its_calls_up(shared: Start, notes: Notes) -> None:
    rt = shared(part("a"), part("b"), part("c"))
    source = f"""
import dspex_runtime as dx
dx.connect({rt.status()["socket"]!r}, plain=True).ref("a").call("listened", ["b", "c"], {notes.gate!r}, "plain")
"""
    with subprocess.Popen([sys.executable, "-c", source]) as client:
        notes.has("begun")
        client.kill()
    notes.has("given-up", "b.CallCancelledError", "a.CallCancelledError")


def test_the_hop_in_between_dies(shared: Start, notes: Notes) -> None:
    rt = shared(part("a"), part("b"), part("c"))
    request = begin(rt, "a", ["b", "c"], notes, "plain")
    rt.kill("b")
    notes.has("given-up", "a.ProcessDownError")
    assert isinstance(request.future.exception(20), dx.ProcessDownError)


def test_a_task_that_is_cancelled(shared: Start, notes: Notes) -> None:
    rt = shared(part("a"), part("b"), part("c"))

    async def main() -> None:
        task = asyncio.ensure_future(rt.ref("a").acall("listened", ["b", "c"], notes.gate, "plain"))
        await asyncio.to_thread(notes.has, "begun")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.to_thread(notes.has, "given-up", "b.CallCancelledError", "a.CallCancelledError")

    asyncio.run(main())
