"""What replicas know: parameters that they share or have to themselves, checkpoints, compiles, and a child that becomes a group."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest

import dspex_runtime as dx
from helpers import replicas
from helpers.replicas import (
    ANSWERER,
    CLERK,
    PATIENT,
    PROGRAMS,
    answerers,
    at_gate,
    clerks,
    is_there,
    under_load,
)
from helpers.runtimes import kill_known
from helpers.swapping import Running, load, more
from helpers.system import FOLDER
from helpers.waiting import wait_until

pytestmark = pytest.mark.process
shared_runtime, rt, book = replicas.shared_runtime, replicas.rt, replicas.book


class TestSharedParameters:
    """What is written under the group's id."""

    def test_a_write_is_had_by_all_when_it_is_acknowledged(self, rt: dx.Runtime) -> None:
        ref = answerers(rt)
        ref.params["k"] = 5
        assert [rt.ref(f"qa#{n}").params["k"] for n in range(3)] == [5, 5, 5]
        ref.params.update({"k": 6, "words": ["a"]})
        assert {(one.k, tuple(one.words)) for one in (ref.call() for _ in range(30))} == {(6, ("a",))}

    def test_all_of_them_have_its_version(self, rt: dx.Runtime) -> None:
        ref = answerers(rt)
        version = ref.params.set("k", 5)
        assert {rt.ref(f"qa#{n}").params.version("k") for n in range(3)} == {version}

    def test_what_is_written_in_one_stays_there(self, rt: dx.Runtime) -> None:
        answerers(rt)
        rt.ref("qa#1").params["k"] = 9
        assert [rt.ref(f"qa#{n}").params["k"] for n in range(3)] == [1, 9, 1]

    def test_a_write_to_all_wins_over_later_versions_of_one(self, rt: dx.Runtime) -> None:
        ref = answerers(rt)
        for k in range(10, 15):
            rt.ref("qa#1").params["k"] = k
        version = ref.params.set("k", 7)
        assert [rt.ref(f"qa#{n}").params["k"] for n in range(3)] == [7, 7, 7]
        assert {rt.ref(f"qa#{n}").params.version("k") for n in range(3)} == {version}

    def test_one_that_was_down_takes_what_it_has_missed_before_it_is_called(self, rt: dx.Runtime) -> None:
        ref = answerers(rt, 2)
        rt.stop("qa#1")
        ref.params["k"] = 5
        assert rt.ref("qa#1").params["k"] == 1
        rt.start("qa#1")
        assert {ref.call().k for _ in range(30)} == {5}
        wait_until(lambda: rt.ref("qa#1").params["k"] == 5, what="what it has missed")

    def test_the_lowest_gives_what_only_it_has(self, rt: dx.Runtime) -> None:
        ref = answerers(rt, 2)
        rt.stop("qa#1")
        ref.params["k"] = 5
        rt.stop("qa#0")
        rt.start("qa#1")
        rt.start("qa#0")
        rt.wait("qa")
        wait_until(lambda: rt.ref("qa#1").params["k"] == 5, what="what the other one has")

    def test_a_new_one_has_what_the_others_have(self, rt: dx.Runtime) -> None:
        ref = answerers(rt, 1)
        ref.params.update({"k": 5, "words": ["a", "b"]})
        rt.scale("qa", 3)
        assert {(one.k, tuple(one.words)) for one in (ref.call() for _ in range(30))} == {(5, ("a", "b"))}

    def test_a_value_that_is_refused_is_set_nowhere(self, rt: dx.Runtime) -> None:
        ref = answerers(rt, 2)
        with pytest.raises(dx.ConstraintViolationError):
            ref.params["k"] = -1
        assert [rt.ref(f"qa#{n}").params["k"] for n in range(2)] == [1, 1]

    def test_reads_are_of_the_lowest_that_serves(self, rt: dx.Runtime) -> None:
        ref = answerers(rt, 2)
        rt.ref("qa#1").params["k"] = 9
        assert ref.params["k"] == 1
        rt.stop("qa#0")
        wait_until(lambda: ref.params["k"] == 9, what="the other one's value")

    def test_an_edit_of_the_proxy_is_had_by_all(self, rt: dx.Runtime) -> None:
        answerers(rt)
        qa = rt.module("qa")
        qa.predict.demos = [{"question": "?", "answer": "!"}]
        assert {qa(question="?").demos for _ in range(30)} == {1}

    def test_all_have_what_is_set_while_none_runs(self, rt: dx.Runtime) -> None:
        ref = answerers(rt, 2)
        rt.stop("qa")
        ref.params["k"] = 5
        rt.start("qa")
        assert {ref.call().k for _ in range(30)} == {5}

    def test_tasks_write_to_all(self, rt: dx.Runtime) -> None:
        answerers(rt, 2)

        async def main() -> None:
            async with await dx.aio.connect(rt.socket) as mine:
                ref = await mine.ref("qa")
                await ref.params.set("k", 5)

        asyncio.run(main())
        assert [rt.ref(f"qa#{n}").params["k"] for n in range(2)] == [5, 5]

    def test_writers_side_by_side_leave_one_value(self, rt: dx.Runtime) -> None:
        ref = answerers(rt, 3)

        def write(who: int) -> None:
            for n in range(20):
                ref.params["k"] = who * 1000 + n

        for each in [Running(lambda who=who: write(who)) for who in range(3)]:  # type: ignore[misc]
            each.done()
        assert len({rt.ref(f"qa#{n}").params["k"] for n in range(3)}) == 1

    def test_what_was_acknowledged_is_there_however_many_were_killed(self, rt: dx.Runtime) -> None:
        ref = answerers(rt, 3)
        for n in range(1, 10):
            with suppress(dx.ProcessDownError):
                ref.params["k"] = n
                assert ref.params["k"] == n
            kill_known(rt, f"qa#{n % 3}")
            rt.wait("qa")
        ref.params["k"] = 100
        assert {ref.call().k for _ in range(30)} == {100}

    @pytest.mark.parametrize("swapped", [True, False])
    def test_one_that_is_swapped_meanwhile_has_it_too(self, rt: dx.Runtime, tmp_path: Path, swapped: bool) -> None:
        ref, rehearsed = clerks(rt, n=3), tmp_path / "rehearsed"
        swap = Running(lambda: rt.swap("clerk#1", PATIENT, extra=str(rehearsed), drain=20))
        wait_until(Path(f"{rehearsed}.begun").exists, what="the rehearsal")
        with at_gate(rt.server("clerk#1").call, tmp_path / "gate", 1):
            rehearsed.touch()
            wait_until(lambda: rt.info("clerk#1").state == "SWAPPING", what="the swap's drain")
            ref.params["level"] = 5
            if not swapped:
                assert rt.abort_swap("clerk#1")
        with nullcontext() if swapped else pytest.raises(dx.SwapError):
            swap.done()
        wait_until(lambda: rt.server("clerk#1").params["level"] == 5, what="what was written meanwhile")
        assert [rt.server(f"clerk#{n}").call("version") for n in range(3)] == ["1", "2" if swapped else "1", "1"]

    def test_servers_share_theirs_too(self, rt: dx.Runtime) -> None:
        ref = clerks(rt, n=2)
        ref.params["level"] = 5
        rt.scale("clerk", 3)
        assert [rt.server(f"clerk#{n}").params["level"] for n in range(3)] == [5, 5, 5]


class TestOwnParameters:
    """Groups whose replicas have parameters of their own."""

    def test_a_write_to_all_is_refused_and_names_them(self, rt: dx.Runtime) -> None:
        ref = answerers(rt, {"count": 2, "params": "own"})
        with pytest.raises(dx.ParameterError) as refused:
            ref.params["k"] = 5
        assert "qa#0, qa#1" in str(refused.value.hint)
        assert [rt.ref(f"qa#{n}").params["k"] for n in range(2)] == [1, 1]

    def test_each_is_written_by_its_id(self, rt: dx.Runtime) -> None:
        answerers(rt, {"count": 2, "params": "own"})
        rt.ref("qa#1").params["k"] = 5
        rt.restart("qa#0")
        assert [rt.ref(f"qa#{n}").params["k"] for n in range(2)] == [1, 5]

    def test_it_says_so(self, rt: dx.Runtime) -> None:
        answerers(rt, {"count": 2, "params": "own"})
        assert rt.info("qa").params == "own"


class TestSplitting:
    """A child that is alone becomes a group."""

    def test_nothing_is_lost(self, rt: dx.Runtime, book: Path) -> None:
        ref = rt.start_child("root", {"id": "clerk", "server": CLERK, "args": [str(book)], "backoff": "none"})
        with under_load(ref, book) as (notes, answered):
            assert rt.scale("clerk", 3) == ["clerk#0", "clerk#1", "clerk#2"]
            more(answered, 30)
        assert notes.in_flight == set()
        assert rt.info("clerk").replicas == ["clerk#0", "clerk#1", "clerk#2"]
        assert {ref.call("id") for _ in range(60)} == {"clerk#0", "clerk#1", "clerk#2"}

    def test_each_has_its_parameters_and_its_state(self, rt: dx.Runtime) -> None:
        ref = rt.start_child("root", {"id": "qa", "module": ANSWERER}).dx
        ref.params["k"] = 5
        version = ref.params.set("words", ["a"])
        ref.call("keep", "this")
        rt.scale("qa", 2)
        assert {(one.k, tuple(one.words)) for one in (ref.call() for _ in range(20))} == {(5, ("a",))}
        assert [rt.ref(f"qa#{n}").call("kept_here") for n in range(2)] == ["this", "this"]
        assert ref.params.version("words") == version
        ref.params["k"] = 6
        assert [rt.ref(f"qa#{n}").params["k"] for n in range(2)] == [6, 6]

    def test_what_is_written_meanwhile_is_not_lost(self, rt: dx.Runtime) -> None:
        ref = rt.start_child("root", {"id": "qa", "module": ANSWERER}).dx
        written: list[int] = []

        def write(who: int, n: int) -> None:
            ref.params["k"] = n
            written.append(n)
            assert ref.params["k"] == n

        with load(write, threads=1) as answered:
            more(answered, 20)
            rt.scale("qa", 2)
            more(answered, 20)
        assert {ref.call().k for _ in range(20)} == {written[-1]}

    def test_one_without_a_supervisor_can_be_split(self, rt: dx.Runtime) -> None:
        ref = rt.start(CLERK, id="alone")
        assert rt.scale("alone", 2) == ["alone#0", "alone#1"]
        assert ref.call("id") in ("alone#0", "alone#1")
        rt.delete("alone")
        assert not is_there(rt, "alone")

    def test_its_supervisor_begins_with_the_replicas_when_it_is_started_again(self, rt: dx.Runtime) -> None:
        rt.start_child("root", {"id": "sup", "supervisor": {"children": [{"id": "clerk", "server": CLERK}]}})
        rt.scale("clerk", 2)
        rt.restart("sup")
        assert [child["id"] for child in rt.tree()["children"][-1]["children"]] == ["sup/clerk#0", "sup/clerk#1"]
        rt.delete("sup")

    def test_when_a_replica_does_not_start_it_serves_on(self, rt: dx.Runtime, tmp_path: Path) -> None:
        program = tmp_path / "once.py"
        program.write_text(PROGRAMS.read_text())
        folder = str(FOLDER)
        ref = rt.start_child("root", {"id": "clerk", "server": f"{program}:Clerk", "sys_path": [folder]})
        program.write_text("raise RuntimeError('no more of these')")
        with pytest.raises(dx.StartError):
            rt.scale("clerk", 2)
        assert ref.call("id") == "clerk"
        assert rt.info("clerk").replicas is None
        assert not is_there(rt, "clerk#0")

    def test_one_that_does_not_run_is_not_split(self, rt: dx.Runtime) -> None:
        rt.start_child("root", {"id": "clerk", "server": CLERK})
        rt.stop("clerk")
        with pytest.raises(dx.SupervisorError) as refused:
            rt.scale("clerk", 2)
        assert refused.value.code == "not_running"

    def test_a_replica_and_a_supervisor_are_not_split(self, rt: dx.Runtime) -> None:
        clerks(rt, n=1)
        rt.start_supervisor("sup")
        for id, code in (("clerk#0", "is_a_replica"), ("sup", "not_a_worker")):
            with pytest.raises(dx.SupervisorError) as refused:
                rt.scale(id, 2)
            assert refused.value.code == code


class TestStateOfAll:
    """Checkpoints, compiles, figures, changes: of a group."""

    def test_a_restore_is_of_all(self, rt: dx.Runtime) -> None:
        ref = answerers(rt, 2)
        ref.params["k"] = 5
        info = rt.checkpoint("qa")
        ref.params["k"] = 6
        rt.restore("qa", info)
        assert [rt.ref(f"qa#{n}").params["k"] for n in range(2)] == [5, 5]
        assert [each.kind for each in rt.checkpoints("qa")][-1] == "manual"

    def test_each_is_saved(self, rt: dx.Runtime) -> None:
        answerers(rt, 2)
        rt.checkpoint("qa")
        assert [len(rt.checkpoints(f"qa#{n}")) for n in range(2)] == [1, 1]

    def test_those_with_parameters_of_their_own_are_put_back_by_themselves(self, rt: dx.Runtime) -> None:
        answerers(rt, {"count": 2, "params": "own"})
        rt.checkpoint("qa")
        with pytest.raises(dx.ConfigError):
            rt.restore("qa")

    def test_figures_and_records_are_those_of_all(self, rt: dx.Runtime) -> None:
        ref = answerers(rt, 2)
        for n in range(10):
            ref.call(question=str(n))
        assert ref.metrics()["count"] == 10
        assert len(ref.executions(n=4)) == 4

    def test_the_mode_is_that_of_all(self, rt: dx.Runtime) -> None:
        ref = answerers(rt, 2)
        ref.train()
        assert {ref.call("is_training") for _ in range(20)} == {True}

    def test_a_change_is_told_once(self, rt: dx.Runtime) -> None:
        ref = answerers(rt, 3)
        with ref.params.watch("k") as changes:
            ref.params["k"] = 5
            ref.params["k"] = 6
            assert [next(changes).value for _ in range(2)] == [5, 6]

    def test_a_compile_is_of_all(self, rt: dx.Runtime) -> None:
        ref = answerers(rt, 2)
        trainset = [{"question": f"q{n}", "answer": f"a{n}"} for n in range(3)]
        rt.compile("qa", "LabeledFewShot", trainset=trainset, inputs=["question"], k=2)
        assert {ref.call(question="?").demos for _ in range(20)} == {2}
