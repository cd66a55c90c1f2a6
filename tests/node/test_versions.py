"""Versions of children: what makes one, what is kept of it, and what can run again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dspex_runtime.errors import SwapError
from dspex_runtime.node.registry import Record
from dspex_runtime.node.versions import KEPT
from helpers.fake_node import FakeNode, server
from helpers.swap_play import Play


@pytest.fixture
def play(runtime: FakeNode) -> Play:
    return Play(runtime)


def record(runtime: FakeNode, id: str = "a") -> Record:
    return runtime.node.registry.resolve(id)


def shown(runtime: FakeNode) -> list[tuple[Any, ...]]:
    versions = runtime.node.versions.shown(record(runtime))
    return [(each["number"], each["version"], each["why"], each["current"]) for each in versions]


class TestWhatMakesOne:
    """Code and arguments; nothing else."""

    def test_the_first_start(self, runtime: FakeNode) -> None:
        runtime.boot(server("a", version="1", args={"n": 1}))
        (found,) = runtime.node.versions.shown(record(runtime))
        assert (found["target"], found["args"], found["source_hash"]) == ("pkg.mod:Name", {"n": 1}, None)
        assert shown(runtime) == [(1, "1", "start", True)]
        assert not runtime.keeper.of("note")

    def test_a_restart_of_the_same_is_the_same(self, runtime: FakeNode) -> None:
        runtime.boot(server("a"))
        runtime.crash("a")
        assert len(shown(runtime)) == 1

    def test_a_restart_of_a_file_that_was_edited_is_another(self, runtime: FakeNode, tmp_path: Path) -> None:
        path = tmp_path / "code.py"
        runtime.boot(server("a"))
        for text in ("one", "two"):
            path.write_text(text)
            stat = path.stat()
            runtime.launcher.script["a"] = ["hang"]
            runtime.crash("a")
            runtime.process("a").files = [[str(path), stat.st_mtime_ns, stat.st_size]]
            runtime.process("a").become_ready()
        hashes = [each["source_hash"] for each in runtime.node.versions.shown(record(runtime))]
        assert len({*hashes}) == 3
        assert runtime.node.versions.again(record(runtime), runtime.node.versions.find(record(runtime), 2)).launch is not None

    def test_a_swap_and_a_rollback(self, play: Play) -> None:
        play.boot(server("a", version="1"))
        play.swap(member={"spec": {"server": "pkg.mod:New"}, "version": "2"}, why="because")
        assert shown(play.runtime) == [(2, "2", "because", True), (1, "1", "start", False)]

    def test_one_that_does_not_serve_is_not_current(self, runtime: FakeNode) -> None:
        runtime.boot(server("a"))
        runtime.owner.begin("stop", id="a")
        runtime.turn()
        assert shown(runtime) == [(1, None, "start", False)]


class TestWhatIsKept:
    """The list outlives the runtime, the code does not."""

    def test_so_many(self, play: Play) -> None:
        play.boot()
        for n in range(KEPT + 5):
            play.swap(member={"version": str(n)})
        assert [each[0] for each in shown(play.runtime)] == list(range(KEPT + 6, 6, -1))
        assert len(play.runtime.keeper.of("note")[-1]["facts"]["versions"]) == KEPT

    def test_facts_of_an_earlier_runtime_are_shown_and_cannot_run(self, runtime: FakeNode) -> None:
        earlier = {
            "number": 7,
            "version": "0",
            "target": "pkg.mod:Old",
            "args": [],
            "source_hash": None,
            "when": 1.0,
            "why": "swap",
        }
        runtime.keeper.answers["open"] = {"ids": {"a": {"versions": [earlier]}}, "kept": []}
        runtime.boot(server("b"))
        runtime.owner.begin("start", spec=server("a"))
        runtime.turn()
        assert shown(runtime) == [(8, None, "start", True), (7, "0", "swap", False)]
        with pytest.raises(SwapError, match="served in an earlier runtime") as caught:
            runtime.node.versions.find(record(runtime), 7)
        assert caught.value.code == "refused"

    def test_the_same_as_in_the_runtime_before_is_no_other(self, runtime: FakeNode) -> None:
        same = {"number": 3, "version": None, "target": "pkg.mod:Name", "args": [], "source_hash": None, "when": 1.0, "why": "swap"}
        runtime.keeper.answers["open"] = {"ids": {"a": {"versions": [same]}}, "kept": []}
        runtime.boot(server("b"))
        runtime.owner.begin("start", spec=server("a"))
        runtime.turn()
        assert shown(runtime) == [(3, None, "swap", True)]

    def test_a_child_that_is_deleted_takes_its_versions_along(self, play: Play) -> None:
        play.boot(server("a")).swap()
        play.runtime.owner.begin("delete", id="a")
        play.runtime.turn()
        play.runtime.owner.begin("start", spec=server("a"))
        play.runtime.turn()
        assert shown(play.runtime) == [(1, None, "start", True)]

    def test_long_arguments_are_shown_in_part(self, runtime: FakeNode) -> None:
        runtime.boot(server("a", args={"text": "x" * 5000}))
        args = runtime.node.versions.shown(record(runtime))[0]["args"]
        assert isinstance(args, str)
        assert len(args) == 1000


class TestTheWayBack:
    """Which version is meant, and as what it runs again."""

    @pytest.fixture
    def swapped(self, play: Play) -> Play:
        play.boot(server("a", version="1", args={"n": 1}, limits={"mailbox": 5}))
        play.swap(member={"spec": {"server": "pkg.mod:New", "args": [2]}, "version": "2"})
        return play

    @pytest.mark.parametrize(("wanted", "number"), [(None, 1), (1, 1), ("1", 1)])
    def test_by_number_by_name_or_the_one_before(self, swapped: Play, wanted: Any, number: int) -> None:
        assert swapped.runtime.node.versions.find(record(swapped.runtime), wanted).number == number

    @pytest.mark.parametrize(
        ("wanted", "says"),
        [(9, "has no version 9; there are 1 \\(1\\), 2 \\(2\\)"), ("x", "no version 'x'"), (2, "serves already")],
    )
    def test_what_is_not_there(self, swapped: Play, wanted: Any, says: str) -> None:
        with pytest.raises(SwapError, match=says):
            swapped.runtime.node.versions.find(record(swapped.runtime), wanted)

    def test_there_is_none_before_the_first(self, runtime: FakeNode) -> None:
        runtime.boot(server("a"))
        with pytest.raises(SwapError, match="no version before this one"):
            runtime.node.versions.find(record(runtime), None)

    def test_code_and_arguments_are_as_they_were_and_the_rest_as_it_is(self, swapped: Play) -> None:
        node, now = swapped.runtime.node, record(swapped.runtime)
        assert now.spec.launch is not None
        now.spec = replace(now.spec, launch=replace(now.spec.launch, limits=replace(now.spec.launch.limits, mailbox=9)))
        spec = node.versions.again(now, node.versions.find(now, 1))
        assert spec.launch is not None
        assert (spec.launch.target, spec.launch.kwargs, spec.launch.args, spec.version) == ("pkg.mod:Name", {"n": 1}, (), "1")
        assert spec.launch.limits.mailbox == 9

    def test_one_whose_files_were_not_there_any_more_cannot_run(self, runtime: FakeNode, tmp_path: Path) -> None:
        runtime.launcher.script["a"] = ["hang"]
        runtime.boot(server("b"))
        runtime.owner.begin("start", spec=server("a"))
        runtime.process("a").files = [[str(tmp_path / "gone.py"), 1, 1]]
        runtime.process("a").become_ready()
        runtime.turn()
        with pytest.raises(SwapError, match=r"gone\.py changed before it was read"):
            runtime.node.versions.again(record(runtime), runtime.node.versions._list("a")[0])
