"""Sub-modules as processes of their own: under their owner, crashing apart from it, stopped after it."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import dspex_runtime as dx
from dspex_cli.main import main
from helpers.runtimes import kill_module
from helpers.system import FOLDER, Start, again
from helpers.waiting import wait_until

pytestmark = pytest.mark.process

PARTS = FOLDER / "programs_parts.py"


def owner(id: str = "qa", name: str = "Answerer", **keys: Any) -> dict[str, Any]:
    return {"id": id, "module": f"{PARTS}:{name}", "backoff": "none", **keys}


def pids(rt: dx.Runtime) -> dict[str, int | None]:
    return {info.id: info.pid for info in rt.modules()}


def states(rt: dx.Runtime) -> dict[str, str]:
    return {info.id: info.state for info in rt.modules()}


def ask(module: Any) -> Any:
    """Call it; a call that a kill just found in flight is made again."""
    return again(partial(module, question="x"))


def children_of(tree: dict[str, Any], id: str) -> list[str]:
    for child in tree.get("children", ()):
        if child["id"] == id:
            return [each["id"] for each in child.get("children", ())]
        if found := children_of(child, id):
            return found
    return []


class TestALife:
    """From the start of an owner to its end."""

    def test_a_part_is_a_process_of_its_own_under_its_owner(self, shared: Start) -> None:
        rt = shared(owner())
        said = rt.module("qa")(question="x")
        assert said.answer == "found x, found x"
        assert (said.pid, said.part) == (rt.info("qa").pid, rt.info("qa/search").pid)
        assert children_of(rt.tree(), "qa") == ["qa/search"]
        assert rt.info("search").id == "qa/search"
        (shown,) = rt.tree()["children"]
        assert shown["depends_on"] == {"qa/search": {"on_down": "wait", "fallback": None, "state": "READY"}}
        assert rt.info("qa").restarts == 0

    def test_an_owner_that_crashes_finds_its_part_as_it_was(self, runtime: Start) -> None:
        rt = runtime(owner())
        before = pids(rt)
        rt.kill("qa")
        assert ask(rt.module("qa")).part == before["qa/search"]
        assert rt.info("qa").incarnation == 2
        assert rt.info("qa/search").incarnation == 1

    def test_a_part_that_crashes_leaves_its_owner_be(self, shared: Start) -> None:
        rt = shared(owner())
        before = pids(rt)
        rt.kill("qa/search")
        said = ask(rt.module("qa"))
        assert said.pid == before["qa"]
        assert said.part != before["qa/search"]
        assert (rt.info("qa").restarts, rt.info("qa/search").restarts) == (0, 1)

    def test_a_call_that_was_in_the_part_is_all_that_its_crash_costs(self, runtime: Start, tmp_path: Path) -> None:
        rt = runtime(owner(concurrency=2))
        gate = tmp_path / "gate"
        qa = rt.module("qa")
        caught: list[BaseException] = []

        def call() -> None:
            try:
                qa.dx.call("wait", str(gate))
            except BaseException as exc:
                caught.append(exc)

        thread = threading.Thread(target=call)
        thread.start()
        wait_until(lambda: Path(f"{gate}.begun").exists())
        rt.kill("qa/search")
        thread.join()
        assert isinstance(caught[0], dx.ProcessDownError)
        assert ask(qa).answer == "found x, found x"
        assert rt.info("qa").incarnation == 1

    def test_parts_go_after_their_owner_and_come_with_it(self, shared: Start, tmp_path: Path) -> None:
        journal = tmp_path / "journal"
        rt = shared(owner("two", "Two", env={"PARTS_JOURNAL": str(journal)}))
        rt.stop("two")
        assert set(states(rt).values()) == {"STOPPED"}
        ended = [line.split()[0] for line in journal.read_text().splitlines()]
        assert ended[-3:] == ["two/far", "two/near", "two/far/search"] or ended == ["two/far", "two/far/search", "two/near"]
        rt.start("two")
        assert set(states(rt).values()) == {"READY"}
        assert rt.module("two")(question="q").answer == [["near q", "near q"], "found q, found q"]

    def test_the_end_of_the_runtime_takes_owners_first(self, runtime: Start, tmp_path: Path) -> None:
        journal = tmp_path / "journal"
        group = {"id": "group", "supervisor": {"children": [owner(env={"PARTS_JOURNAL": str(journal)})]}}
        rt = runtime(group, runtime={"preload": ["dspy"]})
        rt.start(f"{PARTS}:Answerer", id="alone", env={"PARTS_JOURNAL": str(journal)})
        rt.close()
        ended = [line.split()[0] for line in journal.read_text().splitlines()]
        assert sorted(ended) == ["alone", "alone/search", "group/qa", "group/qa/search"]
        assert ended.index("alone") < ended.index("alone/search")
        assert ended.index("group/qa") < ended.index("group/qa/search")

    def test_a_deleted_owner_leaves_nothing(self, runtime: Start) -> None:
        rt = runtime(runtime={"preload": ["dspy"]})
        qa = rt.start(f"{PARTS}:Answerer", id="qa")
        qa.dx.params["search.k"] = 5
        rt.delete("qa")
        assert rt.modules() == []
        again = rt.start(f"{PARTS}:Answerer", id="qa")
        assert again.dx.params["search.k"] == 2

    def test_a_part_that_does_not_start_fails_its_owners_start(self, runtime: Start) -> None:
        rt = runtime(runtime={"preload": ["dspy"]})
        with pytest.raises(dx.StartError, match="'bad' did not start: 'bad/search' did not start: ValueError: no index") as caught:
            rt.start(f"{PARTS}:Bad", id="bad")
        assert "raise ValueError(fail)" in str(caught.value.remote_traceback)
        assert rt.modules() == []

    def test_an_owner_of_a_group_that_is_stopped_takes_its_parts_along(self, shared: Start) -> None:
        rt = shared({"id": "group", "supervisor": {"children": [owner()]}})
        rt.stop("group")
        assert states(rt) == {"group": "STOPPED", "group/qa": "STOPPED", "group/qa/search": "STOPPED"}
        rt.start("group")
        assert rt.module("qa")(question="x").answer == "found x, found x"

    def test_a_restarted_owner_keeps_its_parts(self, shared: Start) -> None:
        rt = shared(owner())
        before = pids(rt)
        rt.restart("qa")
        assert pids(rt)["qa/search"] == before["qa/search"]
        assert pids(rt)["qa"] != before["qa"]


class TestSupervision:
    """Strategy and restarts are the owner's to say."""

    def test_parts_that_crash_too_often_are_given_up_and_brought_back(self, runtime: Start) -> None:
        rt = runtime(owner("two", "Two"))
        for incarnation in (1, 2):  # max_restarts=1
            rt.wait(["two/near"])
            assert rt.info("two/near").incarnation == incarnation
            with rt.monitor("two/near") as watch:
                rt.kill("two/near")
                assert watch.wait(20) is not None
        rt.wait(["two/near", "two/far"], state="failed")
        rt.wait(["two"], state="degraded")
        assert rt.info("two").incarnation == 1
        rt.start("two/near")
        assert rt.module("two")(question="q").answer == [["near q", "near q"], "found q, found q"]

    def test_the_yaml_goes_before_the_class(self, shared: Start) -> None:
        keys = {"max_restarts": 7, "search": {"args": {"prefix": "said "}, "restart": "transient", "metadata": {"team": "x"}}}
        rt = shared(owner(parts=keys))
        assert rt.module("qa")(question="x").answer == "said x, said x"
        assert rt.info("qa/search").metadata == {"team": "x"}

    def test_a_part_that_the_class_does_not_have_is_refused(self, runtime: Start) -> None:
        with pytest.raises(dx.StartError, match=r"parts\.serach: 'qa' has no sub-module of that name.*; it has search"):
            runtime(owner(parts={"serach": {"restart": "transient"}}))

    def test_an_instance_has_its_sub_modules_as_parts_too(self, runtime: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(str(FOLDER))
        import programs_parts

        rt = runtime(runtime={"preload": ["dspy"]})
        mine = programs_parts.Answerer()
        mine.search.prefix = "mine "
        qa = rt.start(mine, id="qa")
        assert qa(question="x").answer == "mine x, mine x"
        before = pids(rt)
        rt.kill("qa")
        assert ask(qa).part == before["qa/search"]


class TestSwaps:
    """A new version of an owner has other parts."""

    @pytest.mark.parametrize(
        ("to", "answer"),
        [
            ("Other", ["found x", "found x", "more x", "more x"]),
            ("Changed", ["changed x", "changed x"]),
            ("Alone", "x"),
        ],
    )
    def test_what_it_lacks_is_started_and_the_rest_changes_with_it(self, shared: Start, to: str, answer: Any) -> None:
        rt = shared(owner())
        rt.module("qa").dx.params["search.k"] = 2
        before = pids(rt)
        rt.swap("qa", to=f"{PARTS}:{to}")
        if to == "Changed":
            rt.wait(["qa/search"])
        assert rt.module("qa")(question="x").answer == answer
        parts = {"Other": {"qa/search", "qa/more"}, "Changed": {"qa/search"}, "Alone": set()}[to]
        assert {id for id in _settled(rt, parts) if id != "qa"} == parts
        if to == "Other":
            assert pids(rt)["qa/search"] == before["qa/search"]

    def test_one_that_is_refused_leaves_the_parts_as_they_were(self, shared: Start) -> None:
        rt = shared(owner())
        before = pids(rt)
        with pytest.raises(dx.SwapError):
            rt.swap("qa", to=f"{PARTS}:Other", verify=lambda module: False)
        assert set(_settled(rt, {"qa/search"})) == {"qa", "qa/search"}
        assert pids(rt) == before
        assert rt.module("qa")(question="x").answer == "found x, found x"


def _settled(rt: dx.Runtime, parts: set[str]) -> dict[str, str]:
    """Return the states when there are just these parts: what goes, goes after the swap."""
    for event in rt.events():
        there = states(rt)
        if there.keys() - {"qa"} == parts:
            return there
        assert event is not None
    raise AssertionError("the runtime has ended")


class TestParameters:
    """`qa.dx.params["search.k"]` is k of the part, in everything that can be done with it."""

    def test_they_are_read_and_written_under_the_owners_name(self, shared: Start) -> None:
        rt = shared(owner())
        params, own = rt.ref("qa").params, rt.ref("qa/search").params
        assert (params["search.k"], "search.k" in params, "search.zz" in params) == (2, True, False)
        params["search.k"] = 4
        assert (own["k"], params.version("search.k"), params.entry("search.k").value) == (4, 2, 4)
        assert params.meta("search.k")["max"] == 10
        assert [change["new"] for change in params.history("search.k")] == [4, 2]
        assert params.at("search.k", 1) == 2
        assert params.rollback("search.k", 1) == 3
        assert own["k"] == 2
        assert params.update({"search.k": 7, "temperature": 0.1}) == {"search.k": 4, "temperature": 2}
        assert (own["k"], params["temperature"]) == (7, 0.1)
        assert params.reset("search.k") == 5
        assert sorted(params) == ["answer", "temperature"]
        assert rt.module("qa")(question="x").answer == "found x, found x"

    def test_what_is_wrong_with_one_is_said_as_ever(self, shared: Start) -> None:
        params = shared(owner()).ref("qa").params
        with pytest.raises(dx.ConstraintViolationError):
            params["search.k"] = 11
        with pytest.raises(dx.ParameterNotFoundError, match=r"no parameter 'search\.zz'"):
            params["search.zz"]
        with pytest.raises(dx.ParameterNotFoundError, match=r"no parameter 'serach\.k'"):
            params["serach.k"] = 1
        with pytest.raises(dx.ParameterError, match="version"):
            params.set("search.k", 3, expect=9)

    def test_those_of_a_parts_part(self, shared: Start) -> None:
        rt = shared(owner("two", "Two"))
        params = rt.ref("two").params
        params["far.search.k"] = 1
        assert rt.ref("two/far/search").params["k"] == 1
        assert (params["here.k"], params["near.k"]) == (2, 2)  # that of an inline one is the owner's own
        assert rt.module("two")(question="q").answer == [["near q", "near q"], "found q"]

    def test_changes_are_told(self, shared: Start) -> None:
        rt = shared(owner())
        params = rt.ref("qa").params
        with params.watch("search.k") as one, params.watch("search.*") as several:
            params["search.k"] = 9
            changes = [next(one), next(several)]
        assert [(change.id, change.name, change.value) for change in changes] == [("qa/search", "k", 9)] * 2

    def test_tasks_have_them_too(self, runtime: Start) -> None:
        rt = runtime(owner())

        async def main() -> list[Any]:
            async with await dx.aio.connect(rt.name) as aio:
                params = (await aio.ref("qa")).params
                await params.set("search.k", 5)
                both = await params.update({"search.k": 6, "temperature": 0.3})
                return [await params.get("search.k"), await params.version("search.k"), both]

        assert asyncio.run(main()) == [6, 3, {"search.k": 3, "temperature": 2}]

    def test_those_of_a_stopped_owner_can_be_written(self, shared: Start) -> None:
        rt = shared(owner())
        rt.stop("qa")
        rt.ref("qa").params["search.k"] = 5
        rt.start("qa")
        assert rt.module("qa")(question="x").answer == ", ".join(["found x"] * 5)

    def test_they_outlive_the_runtime(self, runtime: Start) -> None:
        rt = runtime(owner())
        rt.ref("qa").params["search.k"] = 1
        state = rt.state_dir
        rt.close()
        again = dx.Runtime({"name": "again", "tree": {"children": [owner()]}}, state_dir=state)
        with again as rt:
            assert rt.module("qa")(question="x").answer == "found x"

    def test_the_owners_table_has_its_own_only(self, shared: Start) -> None:
        rt = shared(owner())
        rt.module("qa").search.rank.demos = [{"query": "q", "passages": "p"}]
        rt.module("qa")(question="x")
        assert sorted(rt.ref("qa").params) == ["answer", "temperature"]
        assert rt.ref("qa/search").params["rank"]["demos"] == [{"query": "q", "passages": "p"}]


class TestModes:
    """Training goes through the tree, and is kept by each."""

    def test_an_owner_is_trained_with_its_parts(self, shared: Start) -> None:
        rt = shared(owner())
        ref = rt.ref("qa")
        ref.train()
        assert ref.call("modes") == [True, True]
        kill_module(rt, "qa/search")
        assert ref.call("modes") == [True, True]
        rt.ref("qa/search").eval()
        rt.restart("qa")
        assert ref.call("modes") == [True, False]
        ref.eval()
        assert ref.call("modes") == [False, False]

    def test_a_saved_state_is_loaded_into_parts_that_have_none(self, shared: Start, tmp_path: Path) -> None:
        rt = shared(owner())
        qa = rt.module("qa")
        qa.dx.params["search.k"] = 3
        qa.save(tmp_path / "state.json")
        twin = rt.start(f"{PARTS}:Answerer", id="twin", load=str(tmp_path / "state.json"))
        assert twin(question="x").answer == ", ".join(["found x"] * 3)
        twin.dx.params["search.k"] = 1
        rt.restart("twin")
        assert twin(question="x").answer == "found x"


class TestReferences:
    """`dx.module` and `dx.server` inside a module."""

    def test_they_lead_to_anything_in_the_runtime(self, shared: Start) -> None:
        rt = shared(owner(), owner("asking", "Asking"), {"id": "counter", "server": f"{FOLDER / 'programs.py'}:Counter"})
        asking = rt.ref("asking")
        assert asking.call("module", "qa", "x") == "found x, found x"
        assert asking.call("module", "search", "x") == ["found x", "found x"]
        assert asking.call("server", "counter") == "<ServerRef 'counter'>"
        with pytest.raises(dx.ConfigError, match="'counter' is a server, not a module"):
            asking.call("module", "counter", "x")
        with pytest.raises(dx.NoProcessError):
            asking.call("module", "nobody", "x")

    def test_outside_they_say_what_to_use(self) -> None:
        with pytest.raises(RuntimeError, match=r"a client has rt\.module\(id\)"):
            dx.module("qa")
        with pytest.raises(RuntimeError, match=r"a client has rt\.server\(id\)"):
            dx.server("qa")


class TestDependency:
    """An owner depends on its parts, without being told to."""

    def test_a_degraded_answer_while_the_part_is_down(self, shared: Start) -> None:
        rt = shared(owner(name="Degrading"))
        qa = rt.module("qa")
        assert qa(question="x").answer == ["x", "x"]
        rt.stop("qa/search")
        rt.wait(["qa"], state="degraded")
        assert qa(question="x").answer == "without"
        rt.start("qa/search")
        rt.wait(["qa"])
        assert qa(question="x").answer == ["x", "x"]

    def test_a_call_that_fails_names_the_part(self, shared: Start) -> None:
        rt = shared(owner(name="Failing"))
        rt.stop("qa/search")
        rt.wait(["qa"], state="degraded")
        with pytest.raises(dx.DependencyDownError, match="qa/search"):
            rt.module("qa")(question="x")

    def test_the_yaml_may_say_otherwise(self, shared: Start) -> None:
        rt = shared(owner(name="Degrading", parts={"search": {"on_down": "fail"}}))
        rt.stop("qa/search")
        rt.wait(["qa"], state="degraded")
        with pytest.raises(dx.DependencyDownError):
            rt.module("qa")(question="x")

    def test_a_call_waits_for_a_part_that_is_stopped_until_it_is_started(self, shared: Start) -> None:
        rt = shared(owner())
        rt.stop("qa/search")
        rt.wait(["qa"], state="degraded")
        answers: list[Any] = []
        thread = threading.Thread(target=lambda: answers.append(rt.module("qa")(question="x").answer))
        thread.start()
        wait_until(lambda: rt.info("qa").metrics["queued"])
        rt.start("qa/search")
        thread.join()
        assert answers == ["found x, found x"]

    def test_an_owner_and_its_part_that_are_killed_at_once_both_come_back(self, runtime: Start) -> None:
        rt = runtime(owner())
        for id in ("qa/search", "qa"):
            rt.kill(id)
        assert ask(rt.module("qa")).answer == "found x, found x"
        assert [rt.info(id).incarnation for id in ("qa", "qa/search")] == [2, 2]


class TestEdges:
    """What comes in between."""

    def test_a_swapped_part_stays_what_it_was_swapped_to(self, shared: Start) -> None:
        rt = shared(owner())
        rt.swap("qa/search", to=f"{PARTS}:Search", kwargs={"prefix": "new "})
        assert rt.module("qa")(question="x").answer == "new x, new x"
        rt.restart("qa")
        assert rt.module("qa")(question="x").answer == "new x, new x"
        rt.stop("qa")
        rt.start("qa")
        assert rt.module("qa")(question="x").answer == "new x, new x"

    def test_an_owner_that_is_too_slow_because_of_its_part_leaves_nothing(self, runtime: Start, tmp_path: Path) -> None:
        rt = runtime(runtime={"preload": ["dspy"]})
        env = {"PARTS_GATE": str(tmp_path / "gate")}
        with pytest.raises(dx.StartError, match="start"):
            rt.start(f"{PARTS}:Slow", id="slow", start_timeout=1.0, env=env, shutdown="brutal_kill")
        wait_until(lambda: rt.modules() == [])

    def test_replicas_have_parts_of_their_own(self, shared: Start) -> None:
        rt = shared(owner(replicas=2))
        assert sorted(pids(rt)) == ["qa#0", "qa#0/search", "qa#1", "qa#1/search"]
        assert rt.module("qa")(question="x").answer == "found x, found x"
        rt.scale("qa", 1)
        assert sorted(pids(rt)) == ["qa#0", "qa#0/search"]

    def test_a_temporary_owner_that_ends_takes_its_parts_along(self, shared: Start) -> None:
        rt = shared(owner(restart="temporary"))
        with rt.monitor("qa/search") as watch:
            rt.kill("qa")
            assert watch.wait(20) is not None
        wait_until(lambda: rt.modules() == [])

    def test_the_command_line_knows_parts(self, shared: Start, capsys: pytest.CaptureFixture[str]) -> None:
        rt = shared(owner())
        assert main(["--socket", rt.socket, "param", "get", "qa.search.k"]) == 0
        assert capsys.readouterr().out == "2\n"
        assert main(["--socket", rt.socket, "param", "set", "qa.search.k", "3"]) == 0
        assert rt.ref("qa/search").params["k"] == 3
        capsys.readouterr()
        assert main(["--socket", rt.socket, "tree"]) == 0
        tree = capsys.readouterr().out.splitlines()
        (qa,) = [place for place, line in enumerate(tree) if "qa " in line]
        assert "search" in tree[qa + 1]
