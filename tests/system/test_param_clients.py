"""Subscriptions to parameters between real processes, the command line, and what is read and written of who does not run."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

import dspex_runtime as dx
from helpers.system import FOLDER, Start, call_again
from helpers.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.process

PROGRAMS = FOLDER / "programs_param_clients.py"


def knobs(id: str = "knobs", **keys: Any) -> dict[str, Any]:
    return {"id": id, "server": f"{PROGRAMS}:Knobs", "backoff": "none", **keys}


def listener(id: str, *patterns: str) -> dict[str, Any]:
    return {"id": id, "server": f"{PROGRAMS}:Listener", "args": list(patterns), "backoff": "none"}


class Collector:
    """A callback that keeps what it got, and can be waited with."""

    def __init__(self) -> None:
        self.got: list[dx.Change] = []
        self._came: queue.SimpleQueue[dx.Change] = queue.SimpleQueue()

    def __call__(self, change: dx.Change) -> None:
        self._came.put(change)

    def until(self, version: int, name: str = "level") -> list[dx.Change]:
        """Wait for a version of a parameter; return all that came so far."""
        while not any(change.name == name and change.version >= version for change in self.got):
            self.got.append(self._came.get(timeout=PATIENCE_S))
        return self.got


def is_complete(changes: list[dx.Change], first: int, last: int, name: str = "level") -> bool:
    """Whether these tell of every version once, in order: by itself, or in a count."""
    told = [change for change in changes if change.name == name]
    versions = [first - 1, *(change.version for change in told)]
    steps = [after - before - 1 for before, after in pairwise(versions)]
    return versions[-1] == last and [change.skipped for change in told] == steps


class Follower:
    """A client in a process of its own."""

    def __init__(self, rt: dx.Runtime, pattern: str) -> None:
        command = [sys.executable, str(PROGRAMS), rt.socket, pattern]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.line() == ["ready"]

    def line(self) -> list[str]:
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()

    def until(self, version: int) -> list[tuple[int, int]]:
        told: list[tuple[int, int]] = []
        while not told or told[-1][0] < version:
            number, skipped = self.line()
            told.append((int(number), int(skipped)))
        return told

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


# -- who is told what


def test_versions_come_in_order_whoever_sets_them(shared: Start) -> None:
    rt = shared(knobs())
    ref = rt.server("knobs")
    mine, everything = Collector(), Collector()
    with ref.params.subscribe("level", mine), rt.subscribe("*.level", everything):

        def write() -> None:
            for value in range(100):
                ref.params["level"] = value

        writers = [threading.Thread(target=write) for _ in range(3)]
        for writer in writers:
            writer.start()
        ref.call(("count", 100))
        for writer in writers:
            writer.join()
        for collector in (mine, everything):
            assert is_complete(collector.until(401), 2, 401)


def test_a_change_has_its_value_however_large(shared: Start) -> None:
    rt = shared(knobs())
    ref, got = rt.server("knobs"), Collector()
    with rt.subscribe("knobs", got):
        for n, size in enumerate((10, 2000, 100_000), 2):
            ref.params["text"] = "x" * size
            change = got.until(n, "text")[-1]
            assert (change.id, change.name, change.version, len(change.value)) == ("knobs", "text", n, size)


def test_subscriptions_survive_kills_of_the_module(shared: Start) -> None:
    rt = shared(knobs())
    ref, got = rt.server("knobs"), Collector()
    with ref.params.subscribe("level", got):
        for _ in range(5):
            call_again(ref, ("count", 20))
            pid = rt.info("knobs").pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
        last = ref.params.version("level")
        assert last >= 101
        ref.params["level"] = 5
        assert is_complete(got.until(last + 1), 2, last + 1)


def test_a_stopped_client_gets_the_latest_and_a_count_and_slows_nobody_down(shared: Start) -> None:
    rt = shared(knobs())
    ref, quick = rt.server("knobs"), Collector()
    slow = Follower(rt, "knobs.text")
    try:
        slow.process.send_signal(signal.SIGSTOP)
        with ref.params.subscribe("text", quick):
            for n in range(1500):
                ref.params["text"] = f"{n:900}"
            assert is_complete(quick.until(1501, "text"), 2, 1501, "text")
        slow.process.send_signal(signal.SIGCONT)
        told = slow.until(1501)
        assert sum(skipped + 1 for _, skipped in told) == 1500
        assert any(skipped for _, skipped in told)
    finally:
        slow.close()


def test_a_client_that_is_killed_is_dropped(shared: Start) -> None:
    rt = shared(knobs())
    ref = rt.server("knobs")
    assert rt.pid is not None
    parent = psutil.Process(rt.pid)
    followers = [Follower(rt, "knobs.level") for _ in range(3)]
    with_them = parent.num_fds()
    for follower in followers:
        follower.close()
    wait_until(lambda: parent.num_fds() <= with_them - 3, what="the parent closed what the dead had")
    ref.params["level"] = 1
    assert ref.call("level") == 1


def test_a_subscription_ends_with_the_runtime(runtime: Start) -> None:
    rt = runtime(knobs())
    watch, handle = rt.watch("*"), rt.subscribe("*", print)
    rt.shutdown()
    assert list(watch) == []
    wait_until(lambda: not handle.active, what="the callback's thread ended")


def test_tasks_watch_too(runtime: Start) -> None:
    rt = runtime(knobs())

    async def main() -> None:
        async with await dx.aio.connect(rt.socket) as art:
            ref = await art.server("knobs")
            async with ref.params.watch("level") as changes:
                assert await ref.params.set("level", 5) == 2
                change = await anext(changes)
                assert (change.value, change.version) == (5, 2)
            assert await ref.params.get("level") == ref.params["level"] == 5
            got: asyncio.Queue[Any] = asyncio.Queue()
            async with await art.subscribe("knobs.*", got.put):
                await ref.params.update({"level": 6, "text": "six"})
                seen = [await asyncio.wait_for(got.get(), PATIENCE_S) for _ in range(2)]
            assert {change.name: change.value for change in seen} == {"level": 6, "text": "six"}

    asyncio.run(main())


# -- modules that watch others


def messages(rt: dx.Runtime, id: str, version: int) -> list[dx.Change]:
    """Wait until a server was told of a version of `level`; return what it was told."""
    ref = rt.server(id)
    wait_until(lambda: any(change.version >= version for change in ref.call("all")), what=f"{id} was told")
    told: list[dx.Change] = ref.call("all")
    return told


def test_a_server_that_subscribed_in_init_gets_changes_as_messages(runtime: Start) -> None:
    rt = runtime(knobs(), listener("ear", "knobs.level", "knobs"))
    rt.server("knobs").call(("count", 10))
    assert is_complete(messages(rt, "ear", 11), 2, 11)
    rt.server("knobs").params["text"] = "x" * 100_000
    wait_until(lambda: rt.server("ear").call("all")[-1].name == "text", what="a large value came")
    assert rt.server("ear").call("all")[-1].value == "x" * 100_000


def test_it_goes_on_over_the_end_of_the_one_and_ends_with_that_of_the_other(runtime: Start) -> None:
    rt = runtime(knobs(), listener("ear"))
    ear = rt.server("ear")
    ear.call(("subscribe", "knobs.level"))
    rt.kill("knobs")
    rt.server("knobs").params["level"] = 7
    assert messages(rt, "ear", 2)[-1].value == 7
    rt.kill("ear")
    rt.server("knobs").params["level"] = 8
    assert call_again(ear, "all") == []
    assert ear.call(("unsubscribe", "knobs.level")) is False


def test_unsubscribed_is_told_nothing_more(runtime: Start) -> None:
    rt = runtime(knobs(), listener("ear", "knobs.level"))
    ear = rt.server("ear")
    assert ear.call(("unsubscribe", "knobs.level")) is True
    rt.server("knobs").call(("count", 5))
    ear.call(("subscribe", "knobs.level"))
    rt.server("knobs").call(("count", 1))
    assert [change.version for change in messages(rt, "ear", 7)] == [7]


# -- who does not run


def test_a_stopped_server_is_read_and_written_and_has_it_when_it_starts(runtime: Start) -> None:
    rt = runtime(knobs())
    ref, got = rt.server("knobs"), Collector()
    ref.params["level"] = 5
    rt.stop("knobs")
    with ref.params.subscribe("level", got):
        assert (ref.params["level"], ref.params.set("level", 6), ref.params["level"]) == (5, 3, 6)
        assert is_complete(got.until(3), 3, 3)
    assert [change["new"] for change in ref.params.history("level")] == [6, 5, 0]
    with pytest.raises(dx.ConstraintViolationError):
        ref.params["level"] = -1
    with pytest.raises(dx.ParameterError, match="check of its own"):
        ref.params["odd"] = 3
    assert ref.params.rollback("level", 2) == 4
    rt.start("knobs")
    assert ref.call("level") == 5


def test_a_deleted_servers_parameters_are_gone_and_another_one_begins_anew(runtime: Start) -> None:
    rt = runtime()
    got = Collector()
    with rt.subscribe("knobs", got):
        for _ in range(2):
            ref = rt.start(f"{PROGRAMS}:Knobs", id="knobs")
            assert ref.params["level"] == 0
            ref.params["level"] = 5
            assert got.until(2)[-1].version == 2
            got.got.clear()
            rt.delete("knobs")
            with pytest.raises(dx.NoProcessError):
                dx.connect(rt.socket).server("knobs")


# -- the command line


class Shell:
    """Runs `dspex` against one runtime."""

    def __init__(self, rt: dx.Runtime) -> None:
        self.start = [sys.executable, "-m", "dspex_cli.main", "--socket", rt.socket]

    def __call__(self, *words: str, code: int = 0) -> str:
        done = subprocess.run([*self.start, *words], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self(*words, "-o", "json", code=code))


def test_the_command_line_reads_sets_and_rolls_back(runtime: Start) -> None:
    rt = runtime(knobs())
    dspex = Shell(rt)
    assert dspex("param", "set", "knobs.level", "5") == "knobs.level is 5  (version 2)\n"
    assert dspex("param", "get", "knobs.level") == "5\n"
    assert dspex.json("param", "get", "knobs.level")["version"] == 2
    assert dspex.json("param", "set", "knobs.level", "--json", "-1", code=1)["error"]["constraint"] == "min"
    assert [row["name"] for row in dspex.json("param", "list", "knobs")] == ["level", "odd", "text"]
    assert [change["new"] for change in dspex.json("param", "history", "knobs.level")] == [5, 0]
    assert dspex.json("param", "rollback", "knobs.level", "1")["value"] == 0
    dspex("param", "get", "knobs.nothing", code=1)
    dspex("param", "get", "nobody.level", code=3)
    rt.stop("knobs")
    assert dspex("param", "get", "knobs.level") == "0\n"


def test_the_command_line_prints_changes_as_they_happen(runtime: Start) -> None:
    rt = runtime(knobs())
    command = [*Shell(rt).start, "param", "watch", "knobs.*", "-n", "3", "-o", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        lines: list[Any] = []
        level = 0
        while len(lines) < 3:  # it is not known from outside when it has begun
            level += 1
            rt.server("knobs").params["level"] = level
            if _readable(watching, 0.05):
                lines.append(json.loads(watching.stdout.readline()))
        assert watching.wait(PATIENCE_S) == 0
    assert [line["id"] for line in lines] == ["knobs"] * 3
    versions = [line["version"] for line in lines]
    assert versions == sorted(set(versions))
    assert all(line["value"] == line["version"] - 1 for line in lines)


def _readable(process: subprocess.Popen[str], timeout_s: float) -> bool:
    import select

    assert process.stdout is not None
    return bool(select.select([process.stdout], [], [], timeout_s)[0])


def test_the_command_line_saves_compares_and_restores(runtime: Start, tmp_path: Path) -> None:
    rt = runtime(knobs(), knobs("other"))
    dspex = Shell(rt)
    dspex("param", "set", "knobs.level", "5")
    assert dspex.json("checkpoint", "create", "knobs")["number"] == 1
    dspex("param", "set", "knobs.level", "9")
    assert dspex.json("checkpoint", "diff", "knobs", "1") == [{"name": "level", "change": "changed", "old": 5, "new": 9}]
    assert dspex.json("checkpoint", "show", "knobs", "1")["parameters"]["level"]["value"] == 5
    dspex("checkpoint", "restore", "knobs", "1")
    assert dspex("param", "get", "knobs.level") == "5\n"
    file = str(tmp_path / "knobs.ckpt")
    dspex("checkpoint", "export", "knobs", "1", "--to", file)
    imported = dspex.json("checkpoint", "import", "other", file)
    dspex("checkpoint", "restore", "other", str(imported["number"]))
    assert dspex("param", "get", "other.level") == "5\n"
    assert dspex.json("checkpoint", "prune", "knobs", "1")["removed"] == [1]
    assert 1 not in [info["number"] for info in dspex.json("checkpoint", "list", "knobs")]
    dspex("checkpoint", "show", "knobs", "1", code=1)


def test_what_was_set_is_there_after_up_again_and_gone_after_up_fresh(tmp_path: Path) -> None:
    folder = tmp_path / "tree"
    folder.mkdir()
    file = folder / "tree.yaml"
    tree = f'{{children: [{{id: knobs, server: "{PROGRAMS}:Knobs", backoff: none}}]}}'
    file.write_text(f"version: 1\nname: again\nruntime: {{state_dir: {folder}/state, preload: []}}\ntree: {tree}\n")

    def dspex(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "dspex_cli.main", *words], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    for options, found in (([], "0\n"), ([], "5\n"), (["--fresh"], "0\n")):
        dspex("up", str(file), "-d", *options)
        try:
            assert dspex("param", "get", "knobs.level") == found
            dspex("param", "set", "knobs.level", "5")
        finally:
            dspex("down")
