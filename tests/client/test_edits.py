"""What was edited on proxies is sent before their module is used, and before the client is gone."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dspy
import pytest

import dspex_runtime as dx
from dspex_runtime.client.edits import MOST_KEPT, MOST_KEPT_OF_ONE, Edits
from dspex_runtime.client.steps import Steps, arun, run
from dspex_runtime.errors import ParameterError


class Mirror:
    def __init__(self, refused: Exception | None = None) -> None:
        self.has_edits = True
        self.sent = 0
        self.refused = refused

    def push(self) -> None:
        self.sent += self.has_edits
        self.has_edits = False
        if self.refused is not None:
            raise self.refused


@pytest.mark.parametrize("drive", [run, lambda steps: asyncio.run(arun(steps))], ids=["thread", "loop"])
def test_those_of_one_module_are_sent_and_an_error_is_the_users(drive: Callable[[Steps[Any]], Any]) -> None:
    edits, one, two, other = Edits(), Mirror(), Mirror(ParameterError("not this")), Mirror()
    for id, mirror in (("a", one), ("a", two), ("b", other)):
        edits.track(id, mirror)
    assert (edits.waiting("a"), edits.waiting("c")) == (True, False)
    with pytest.raises(ParameterError, match="not this"):
        drive(edits.pushed("a"))
    assert (one.sent, two.sent, other.sent) == (1, 1, 0)
    assert not edits.waiting("a")
    drive(edits.pushed("a"))
    assert one.sent == 1


def test_at_the_end_all_are_sent_and_what_is_refused_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    edits, refused, other = Edits(), Mirror(ParameterError("has version 2, not 1")), Mirror()
    edits.track("a", refused)
    edits.track("b", other)
    with caplog.at_level(logging.WARNING, "dspex_runtime.client"):
        edits.close()
    assert other.sent == 1
    assert "proxy of 'a' is lost: has version 2, not 1" in caplog.text
    edits.push("b")
    assert other.sent == 1, "it is not known any more"


@pytest.mark.parametrize(("most", "id"), [(MOST_KEPT, "m{}"), (MOST_KEPT_OF_ONE, "m")], ids=["in all", "of one module"])
def test_no_more_are_kept_than_so_many_and_one_that_goes_is_sent_and_still_known_while_it_lives(most: int, id: str) -> None:
    edits, mirrors = Edits(), [Mirror() for _ in range(most + 1)]
    for number, mirror in enumerate(mirrors):
        edits.track(id.format(number), mirror)
    assert [mirror.sent for mirror in mirrors] == [1] + [0] * most
    first, rest = mirrors[0], weakref.ref(mirrors[-1])
    first.has_edits = True
    edits.push(id.format(0))
    assert first.sent == 2, "it was edited again"
    del mirror
    mirrors.clear()
    assert rest() is not None, "nobody else holds it, and it was edited"
    edits.close()
    assert rest() is None


@pytest.mark.parametrize("drive", [run, lambda steps: asyncio.run(arun(steps))], ids=["thread", "loop"])
def test_closed_twice_and_from_many_threads_each_edit_is_sent_once(drive: Callable[[Steps[Any]], Any]) -> None:
    edits, mirrors = Edits(), [Mirror() for _ in range(20)]
    for number, mirror in enumerate(mirrors):
        edits.track(f"m{number}", mirror)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: drive(edits.closed()), range(4)))
    edits.close()
    assert [mirror.sent for mirror in mirrors] == [1] * 20


def test_a_loop_goes_on_while_edits_are_sent_at_the_end() -> None:
    edits, mirror, sending, seen = Edits(), Mirror(), threading.Event(), threading.Event()
    mirror.push = lambda: (sending.set(), seen.wait())  # type: ignore[method-assign, assignment, return-value]
    edits.track("a", mirror)

    async def main() -> None:
        closing = asyncio.ensure_future(arun(edits.closed()))
        await asyncio.to_thread(sending.wait)
        seen.set()  # a loop that waits itself never comes here
        await closing

    asyncio.run(asyncio.wait_for(main(), 30))


ENDS = {
    "the connection is closed": "with dx.connect() as rt:\n    rt.module('qa').demos = DEMOS",
    "nothing is closed": "dx.connect().module('qa').demos = DEMOS",
    "imported before the fork": "import atexit\ndx.connect\natexit._clear()\ndx.connect().module('qa').demos = DEMOS",
}


@pytest.mark.process
def test_an_edit_is_sent_however_its_script_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSPEX_RUNTIME_DIR", str(tmp_path / "run"))
    with dx.Runtime(name="edits", state_dir=str(tmp_path / "state")) as rt:
        qa = rt.start(dspy.Predict("question -> answer"), id="qa")
        for number, code in enumerate(ENDS.values()):
            program = f"import dspex_runtime as dx\nDEMOS = [{{'question': 'q{number}', 'answer': 'a'}}]\n{code}\n"
            done = subprocess.run(
                [sys.executable, "-c", program], env=os.environ, capture_output=True, text=True, timeout=60, check=False
            )
            assert (done.returncode, done.stderr) == (0, "")
            assert qa.demos[0]["question"] == f"q{number}"
        rt.module("qa").demos = []
        number = rt.checkpoint("qa").number
        assert qa.demos == []
        rt.module("qa").demos = [{"question": "q", "answer": "a"}]
        rt.restore("qa", number)
        assert qa.demos == [], "what was edited before a restore was there before it"
