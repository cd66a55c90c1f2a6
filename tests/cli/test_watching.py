"""`dspex up --watch`: which edits are swapped in and when, what is said of those that do not work, and that none is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dspex_cli.watching import Watched, Watcher
from dspex_runtime.errors import ConfigError, RuntimeUnreachableError, SwapError
from dspex_runtime.types import ReloadResult, ReloadStep
from helpers.waiting import wait_until

A = [["/src/a.py", 1, 10]]
B = [["/src/a.py", 2, 11]]


class FakeRuntime:
    """What a watcher asks of a runtime."""

    def __init__(self) -> None:
        self.changed: dict[str, list[list[Any]]] = {}
        self.swapped: list[str] = []
        self.reloaded: list[str] = []
        self.errors: dict[str, Exception] = {}

    def changed_sources(self) -> dict[str, list[list[Any]]]:
        if "ask" in self.errors:
            raise self.errors["ask"]
        return {id: [list(file) for file in files] for id, files in self.changed.items()}

    def swap(self, id: str, why: str) -> Any:
        assert why == "watch"
        self.swapped.append(id)
        if id in self.errors:
            raise self.errors[id]
        self.changed.pop(id, None)
        return SimpleNamespace(seconds=0.5, pause_s=0.002, number=2)

    def reload(self, path: str, why: str) -> ReloadResult:
        self.reloaded.append(path)
        if "reload" in self.errors:
            raise self.errors["reload"]
        return ReloadResult((ReloadStep("a", "live", state="done"),))


class Play:
    """A watcher whose looks are the test's."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.runtime = FakeRuntime()
        self.said: list[Watched] = []
        self.watcher = Watcher(self.runtime, str(file), self.said.append)  # type: ignore[arg-type]

    def look(self, times: int = 1) -> list[str]:
        """Look; return what was said."""
        before = len(self.said)
        for _ in range(times):
            self.watcher.look()
        return [said.line for said in self.said[before:]]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    (tmp_path / "tree.yaml").write_text("version: 1\n")
    return Play(tmp_path / "tree.yaml")


class TestSources:
    """Edits of the modules' own files."""

    def test_an_edit_counts_when_it_is_the_same_twice(self, play: Play) -> None:
        play.runtime.changed = {"qa": A}
        assert play.look() == []
        play.runtime.changed = {"qa": B}
        assert play.look() == []
        assert play.look() == ["a.py changed: qa swapped  (500 ms, callers waited 2.00 ms at most)"]
        assert play.look(3) == []
        assert play.runtime.swapped == ["qa"]
        assert play.said[0].data == {
            "type": "watch", "ids": ["qa"], "files": ["a.py"], "result": "swapped", "seconds": 0.5, "number": 2,
        }  # fmt: skip

    def test_one_that_does_not_work_is_told_once_and_tried_again_when_it_is_another_one(self, play: Play) -> None:
        play.runtime.changed = {"qa": A}
        play.runtime.errors["qa"] = SwapError("SyntaxError", code="start", id="qa")
        assert play.look(5) == ["a.py changed: qa stays as it was"]
        assert (play.runtime.swapped, play.said[0].data["error"]["code"]) == (["qa"], "start")
        play.runtime.changed = {"qa": B}
        assert play.look(4) == ["a.py changed: qa stays as it was"]
        del play.runtime.errors["qa"]
        play.runtime.changed = {"qa": [["/src/a.py", 3, 10]]}
        assert len(play.look(2)) == 1
        assert play.runtime.swapped == ["qa"] * 3

    def test_what_is_undone_and_done_again_is_tried_again(self, play: Play) -> None:
        play.runtime.errors["qa"] = SwapError("no", code="start")
        for _ in range(2):
            play.runtime.changed = {"qa": A}
            assert len(play.look(3)) == 1
            play.runtime.changed = {}
            play.look()

    def test_one_mistake_in_a_file_of_many_is_said_once(self, play: Play) -> None:
        play.runtime.changed = {"a": A, "b": A, "c": A}
        for id in "ab":
            reason = ("error", "SyntaxError", "invalid syntax (a.py, line 1)", f"trace of {id}")
            play.runtime.errors[id] = SwapError(f"{id} did not start", code="start", id=id, reason=reason)
        play.runtime.errors["c"] = SwapError("another one", code="verify")
        assert play.look(3) == ["a.py changed: a, b stay as they were", "a.py changed: c stays as it was"]

    @pytest.mark.parametrize("code", ["busy", "not_running"])
    def test_what_says_nothing_of_the_edit_is_tried_again(self, play: Play, code: str) -> None:
        play.runtime.changed = {"qa": A}
        play.runtime.errors["qa"] = SwapError("not now", code=code)
        assert play.look(3) == []
        play.runtime.errors.clear()
        assert len(play.look()) == 1


class TestFile:
    """Edits of the tree's file."""

    def test_it_is_reloaded_when_it_is_the_same_twice(self, play: Play) -> None:
        assert play.look(3) == []
        play.file.write_text("version: 1\nname: a\n")
        assert play.look() == []
        play.file.write_text("version: 1\nname: abc\n")
        assert play.look() == []
        (line,) = play.look()
        assert line.startswith("tree.yaml changed: 1 changed  (")
        assert play.look(3) == []
        assert play.runtime.reloaded == [str(play.file)]

    def test_an_editor_may_put_another_one_in_its_place(self, play: Play) -> None:
        play.file.unlink()
        assert play.look(3) == []
        other = play.file.with_suffix(".new")
        other.write_text("version: 1\n")
        other.replace(play.file)
        assert len(play.look(2)) == 1

    def test_one_that_is_wrong_is_told_once(self, play: Play) -> None:
        play.runtime.errors["reload"] = ConfigError("2 problems", problems=["tree.yaml:1:1: no"])
        play.file.write_text("version: 2\n")
        assert play.look(5) == ["tree.yaml changed: not reloaded"]
        assert play.said[0].data["error"]["problems"] == ["tree.yaml:1:1: no"]
        del play.runtime.errors["reload"]
        play.file.write_text("version: 1 \n")
        assert len(play.look(3)) == 1


def test_it_ends_with_the_runtime_and_when_it_is_told_to(play: Play) -> None:
    play.runtime.errors["ask"] = RuntimeUnreachableError("it is gone")
    play.watcher.start()
    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name == "watch"])
    again = Play(play.file)
    again.watcher.start()
    again.watcher.stop()
    again.watcher.join()
    assert not [thread for thread in threading.enumerate() if thread.name == "watch"]
    assert play.said == again.said == []


def test_what_nobody_thought_of_does_not_end_it(play: Play) -> None:
    play.runtime.errors["ask"] = ValueError("odd")
    play.watcher.start()
    wait_until(lambda: len(play.said) > 1)
    play.watcher.stop()
    play.watcher.join()
    assert isinstance(play.said[0].error, ValueError)


# the real thing

CODE = """
import dspex_runtime as dx
import helper

class Counter(dx.GenServer):
    def init(self, start=0): return start
    def handle_call(self, request, from_, state): return dx.Reply([state, helper.STEP], state + helper.STEP)
"""
TREE = """
version: 1
name: watched
runtime: {spares: 1, preload: []}
tree:
  children:
    - {id: a, server: "code.py:Counter"}
    - {id: b, server: "code.py:Counter"}
"""


class Watching:
    """`dspex up --watch`, with its output as it comes."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        environ = {name: value for name, value in os.environ.items() if not name.startswith("DSPEX_")}
        self.environ = {**environ, "DSPEX_RUNTIME_DIR": str(folder / "run"), "PYTHONUNBUFFERED": "1"}
        self.write("code.py", CODE)
        self.write("helper.py", "STEP = 1\n")
        self.write("tree.yaml", TREE)
        command = [sys.executable, "-m", "dspex_cli.main", "up", "tree.yaml", "--watch", *options]
        self.process = subprocess.Popen(
            command, cwd=folder, env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    def write(self, name: str, text: str) -> None:
        """Save as careful editors do: another file takes the place."""
        (self.folder / f"{name}~").write_text(text)
        (self.folder / f"{name}~").replace(self.folder / name)

    def until(self, *parts: str) -> str:
        """Wait for a line with these parts, and return it."""

        def found() -> str:
            return next((line for line in self.lines if all(part in line for part in parts)), "")

        return wait_until(found, what=f"{parts} in {self.lines[-20:]}")

    def call(self, id: str) -> Any:
        command = [sys.executable, "-m", "dspex_cli.main", "call", id, "n", "-o", "json"]
        found = subprocess.run(command, cwd=self.folder, env=self.environ, capture_output=True, text=True, timeout=60, check=True)
        return json.loads(found.stdout)

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(60)
        self._reader.join(20)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@pytest.fixture
def watching(tmp_path: Path) -> Iterator[Callable[..., Watching]]:
    started: list[Watching] = []

    def start(*options: str) -> Watching:
        started.append(Watching(tmp_path, *options))
        return started[-1]

    yield start
    for each in started:
        if each.process.returncode is None:
            each.process.kill()
            each.end()


@pytest.mark.process
def test_an_edit_is_swapped_in_a_mistake_is_shown_and_the_tree_is_reloaded(watching: Callable[..., Watching]) -> None:
    up = watching()
    up.until("watching the file")
    assert up.call("a") == [0, 1]
    up.write("helper.py", "STEP = 10\n")  # a helper of both
    for id in "ab":
        up.until(f"helper.py changed: {id} swapped")
    assert up.call("a") == [1, 10]
    up.write("helper.py", "STEP = (\n")
    up.until("helper.py changed: a, b stay as they were")
    assert "SyntaxError" in up.until("error: ")
    assert len([line for line in up.lines if line.startswith("error: ")]) == 1
    assert up.call("a") == [11, 10]
    up.write("helper.py", "STEP = 2\n")
    wait_until(lambda: len([line for line in up.lines if "helper.py changed: b swapped" in line]) == 2)
    assert up.call("a") == [21, 2]
    up.write("tree.yaml", TREE + '    - {id: c, server: "code.py:Counter", args: [7]}\n')
    up.until("tree.yaml changed: 1 added")
    assert up.call("c") == [7, 2]
    up.write("tree.yaml", TREE + "    - {id: c, srver: x}\n")
    up.until("tree.yaml changed: not reloaded")
    up.until("tree.yaml:", "srver")
    assert up.end() == 130


@pytest.mark.process
def test_programs_read_it_as_json(watching: Callable[..., Watching]) -> None:
    up = watching("-o", "json")
    up.until('"type": "up"')
    up.write("helper.py", "STEP = 3\n")
    found = json.loads(up.until('"type": "watch"', '"ids": ["a"]'))
    assert (found["files"], found["result"]) == (["helper.py"], "swapped")
    assert up.end() == 130


def test_it_stays_in_the_foreground(dspex: Callable[..., Any]) -> None:
    found = dspex("up", "tree.yaml", "-d", "--watch")
    assert found.code == 2
    assert "--watch stays in the foreground" in found.err
