"""Groups of real processes: calls go to whoever has the least to do, and none is lost or run twice, whatever becomes of them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import dspex_runtime as dx
from helpers import replicas
from helpers.replicas import (
    CLERK,
    NEW,
    PICKY,
    Notes,
    answerers,
    at_gate,
    clerks,
    is_there,
    noted,
    pids,
    under_load,
)
from helpers.runtimes import kill_known
from helpers.swapping import Running, more
from helpers.waiting import wait_until

pytestmark = pytest.mark.process
shared_runtime, rt, book = replicas.shared_runtime, replicas.rt, replicas.book


class TestGroups:
    """What a group is."""

    def test_it_is_one_child_to_its_callers(self, rt: dx.Runtime) -> None:
        ref = clerks(rt)
        assert ref.id == "clerk"
        info = rt.info("clerk")
        assert (info.state, info.kind, info.params) == ("READY", "server", "shared")
        assert info.replicas == ["clerk#0", "clerk#1", "clerk#2"]
        assert [rt.info(id).group for id in info.replicas or ()] == ["clerk"] * 3

    def test_figures_are_those_of_all(self, rt: dx.Runtime) -> None:
        ref = clerks(rt)
        for _ in range(12):
            ref.call("pid")
        assert rt.info("clerk").metrics["calls"] == 12

    def test_a_group_of_one_is_a_group(self, rt: dx.Runtime) -> None:
        ref = clerks(rt, n=1)
        assert rt.info("clerk").replicas == ["clerk#0"]
        assert ref.call("id") == "clerk#0"

    def test_a_replica_can_be_called_by_its_own_id(self, rt: dx.Runtime) -> None:
        clerks(rt)
        assert rt.server("clerk#1").call("id") == "clerk#1"

    def test_what_there_is_only_of_a_process_names_the_replicas(self, rt: dx.Runtime) -> None:
        clerks(rt, n=2)
        with pytest.raises(dx.ConfigError) as refused:
            rt.kill("clerk")
        assert "clerk#0, clerk#1" in str(refused.value.hint)

    def test_a_near_miss_is_told(self, rt: dx.Runtime) -> None:
        clerks(rt, n=1)
        with pytest.raises(dx.NoProcessError) as missing:
            rt.info("clerx")
        assert "clerk" in str(missing.value.hint)

    def test_it_is_degraded_while_some_are_down(self, rt: dx.Runtime) -> None:
        ref = clerks(rt, n=2)
        rt.stop("clerk#0")
        assert rt.info("clerk").state == "DEGRADED"
        assert {ref.call("id") for _ in range(5)} == {"clerk#1"}
        rt.start("clerk#0")
        assert rt.wait("clerk") == {"clerk": "READY"}

    def test_it_is_stopped_and_started_as_one(self, rt: dx.Runtime) -> None:
        ref = clerks(rt, n=2)
        rt.stop("clerk")
        assert rt.info("clerk").state == "STOPPED"
        with pytest.raises(dx.NoProcessError):
            ref.call("pid")
        rt.start("clerk")
        assert rt.info("clerk").state == "READY"
        assert ref.call("id") in ("clerk#0", "clerk#1")

    def test_nothing_is_left_of_one_that_was_deleted(self, rt: dx.Runtime) -> None:
        ref = clerks(rt, n=2)
        rt.delete("clerk")
        for id in ("clerk", "clerk#0"):
            with pytest.raises(dx.NoProcessError):
                rt.info(id)
        with pytest.raises(dx.NoProcessError):
            ref.call("pid")

    def test_its_id_may_be_another_childs_then(self, rt: dx.Runtime) -> None:
        ref = clerks(rt, n=2)
        ref.call("pid")
        rt.delete("clerk")
        rt.start_child("root", {"id": "clerk", "server": CLERK})
        assert ref.call("id") == "clerk"

    def test_a_group_that_does_not_start_leaves_nothing(self, rt: dx.Runtime) -> None:
        with pytest.raises(dx.StartError):
            rt.start_child("root", {"id": "clerk", "server": CLERK, "args": [1, 2, 3], "replicas": 2})
        assert not is_there(rt, "clerk")

    def test_one_can_be_started_without_a_supervisor(self, rt: dx.Runtime) -> None:
        ref = rt.start(CLERK, id="alone", replicas=2)
        assert {ref.call("id") for _ in range(50)} == {"alone#0", "alone#1"}
        rt.delete("alone")
        assert not is_there(rt, "alone#0")

    def test_a_supervisor_that_is_started_again_has_as_many_as_there_were(self, rt: dx.Runtime) -> None:
        spec = {"id": "clerk", "server": CLERK, "replicas": 2}
        rt.start_child("root", {"id": "sup", "supervisor": {"children": [spec]}})
        rt.scale("clerk", 3)
        rt.restart("sup")
        assert rt.info("sup/clerk").replicas == ["sup/clerk#0", "sup/clerk#1", "sup/clerk#2"]
        assert rt.wait("clerk") == {"sup/clerk": "READY"}
        rt.delete("sup")


class TestRouting:
    """Where calls go."""

    def test_each_goes_to_whoever_has_the_least_to_do(self, rt: dx.Runtime, tmp_path: Path) -> None:
        ref = clerks(rt)
        with at_gate(ref.call, tmp_path / "gate", 3) as there:
            assert {int(pid) for pid in there} == pids(rt)

    def test_what_others_have_them_do_counts(self, rt: dx.Runtime, tmp_path: Path) -> None:
        ref = clerks(rt)
        with dx.connect(rt.socket) as other, at_gate(other.server("clerk").call, tmp_path / "gate", 2) as busy:
            wait_until(lambda: rt.info("clerk").metrics["running"] == 2, what="the stamps")
            assert {ref.call("pid") for _ in range(10)} == pids(rt) - {int(pid) for pid in busy}

    def test_tasks_do_the_same(self, rt: dx.Runtime, tmp_path: Path) -> None:
        clerks(rt)

        async def main() -> list[int]:
            async with await dx.aio.connect(rt.socket) as mine:
                ref = await mine.server("clerk")
                gate = tmp_path / "gate"
                calls = [asyncio.ensure_future(ref.call(["gate", str(gate)], timeout=20)) for _ in range(3)]
                async with asyncio.timeout(20):
                    while len(list(tmp_path.glob("gate.*"))) < 3:
                        await asyncio.sleep(0.001)
                gate.touch()
                return await asyncio.gather(*calls)

        assert set(asyncio.run(main())) == pids(rt)

    def test_requests_that_are_waited_for_later_too(self, rt: dx.Runtime, tmp_path: Path) -> None:
        ref = clerks(rt)
        gate = tmp_path / "gate"
        requests = [ref.send_request(["gate", str(gate)]) for _ in range(3)]
        wait_until(lambda: len(list(tmp_path.glob("gate.*"))) == 3, what="calls at the gate")
        gate.touch()
        assert {request.wait(20) for request in requests} == pids(rt)

    def test_casts_reach_somebody_once(self, rt: dx.Runtime, book: Path) -> None:
        ref = clerks(rt, book)
        for n in range(60):
            ref.cast(f"cast-{n}")
        wait_until(lambda: len(noted(book)) == 60, what="the casts")
        assert set(noted(book).values()) == {1}

    def test_a_stream_comes_from_one_of_them(self, rt: dx.Runtime) -> None:
        ref = answerers(rt, 2)
        items = list(ref.stream("items", 100))
        assert [number for number, _ in items] == list(range(100))
        assert len({pid for _, pid in items}) == 1

    def test_streams_side_by_side_come_from_several(self, rt: dx.Runtime) -> None:
        ref = answerers(rt, 2)
        ref.call("put", 1)
        one, two = ref.stream("items", 100), ref.stream("items", 100)
        assert next(one)[1] != next(two)[1]
        one.close()
        two.close()

    def test_the_proxy_is_a_program_over_all_of_them(self, rt: dx.Runtime) -> None:
        answerers(rt, 2)
        qa = rt.module("qa")
        assert {qa(question="?").pid for _ in range(60)} == pids(rt, "qa")

    def test_batch_and_parallel_use_all_of_them(self, rt: dx.Runtime) -> None:
        import dspy

        answerers(rt, 2)
        qa = rt.module("qa")
        examples = [dspy.Example(question=str(n)).with_inputs("question") for n in range(20)]
        assert {each.pid for each in qa.batch(examples, num_threads=4, disable_progress_bar=True)} == pids(rt, "qa")
        pairs = [(qa, example) for example in examples]
        parallel = dspy.Parallel(num_threads=4, disable_progress_bar=True)
        assert {each.pid for each in parallel(pairs)} == pids(rt, "qa")

    def test_a_stream_that_was_not_begun_goes_elsewhere(self, rt: dx.Runtime) -> None:
        ref = answerers(rt, 2)
        assert len(list(ref.stream("items", 3))) == 3
        rt.kill("qa#0")
        for _ in range(10):
            assert [number for number, _ in ref.stream("items", 3)] == [0, 1, 2]

    def test_a_full_mailbox_sends_calls_elsewhere(self, rt: dx.Runtime, tmp_path: Path) -> None:
        ref = clerks(rt, n=2, limits={"mailbox": 1})
        gate = tmp_path / "gate"
        direct = rt.server("clerk#0")
        with at_gate(direct.call, gate, 1):
            queued = direct.send_request("pid")
            wait_until(lambda: rt.info("clerk#0").metrics["queued"] == 1, what="the queue")
            assert {ref.call("id") for _ in range(5)} == {"clerk#1"}
        queued.wait(20)

    def test_a_call_waits_while_all_are_down(self, rt: dx.Runtime) -> None:
        ref = clerks(rt, n=2)
        ref.call("pid")
        for id in ("clerk#0", "clerk#1"):
            rt.kill(id)
        assert ref.call("pid", timeout=20) in pids(rt)


class TestNothingIsLost:
    """Calls under load while replicas come and go."""

    def test_while_the_group_is_made_larger_and_smaller(self, rt: dx.Runtime, book: Path) -> None:
        ref = clerks(rt, book, 2)
        with under_load(ref, book) as (notes, answered):
            for n in (4, 1, 3, 2):
                assert len(rt.scale("clerk", n)) == n
                more(answered, 30)
        assert notes.in_flight == set()

    def test_while_they_are_killed(self, rt: dx.Runtime, book: Path) -> None:
        ref = clerks(rt, book, 3)
        with under_load(ref, book) as (notes, answered):
            for round in range(9):
                kill_known(rt, f"clerk#{round % 3}")
                more(answered, 30)
                rt.wait("clerk")
        assert len(notes.in_flight) <= 9  # one process runs one call

    def test_while_they_are_restarted_one_by_one(self, rt: dx.Runtime, book: Path) -> None:
        ref = clerks(rt, book, 3)
        before = pids(rt)
        with under_load(ref, book) as (notes, _):
            rt.restart("clerk")
        assert notes.in_flight == set()
        assert not before & pids(rt)

    def test_while_they_are_stopped_and_started(self, rt: dx.Runtime, book: Path) -> None:
        ref = clerks(rt, book, 3)
        with under_load(ref, book) as (notes, answered):
            for number in (0, 1, 2):
                rt.stop(f"clerk#{number}")
                more(answered, 20)
                rt.start(f"clerk#{number}")
        assert notes.in_flight == set()

    def test_of_tasks_while_replicas_are_killed_and_scaled(self, rt: dx.Runtime, book: Path) -> None:
        clerks(rt, book, 2)

        async def main() -> Notes:
            async with await dx.aio.connect(rt.socket) as mine:
                ref = await mine.server("clerk")
                notes, stop = Notes(lambda key: None), asyncio.Event()

                async def run(who: int) -> None:
                    n = 0
                    while not stop.is_set():
                        key, n = f"{who}-{n}", n + 1
                        try:
                            await ref.call(["note", key], timeout=20)
                        except dx.NoProcessError:
                            raise
                        except dx.ProcessDownError:
                            notes.in_flight.add(key)
                        else:
                            notes.answered.add(key)

                async def progress() -> None:
                    enough = len(notes.answered) + 30
                    async with asyncio.timeout(20):
                        while len(notes.answered) < enough:
                            await asyncio.sleep(0.001)

                running = [asyncio.ensure_future(run(who)) for who in range(6)]
                for n in (4, 1, 3):
                    await mine.scale("clerk", n)
                    await progress()
                    await mine.kill("clerk#0")
                    await progress()
                stop.set()
                await asyncio.gather(*running)
                return notes

        asyncio.run(main()).check(book)


class TestScaling:
    """More and fewer."""

    def test_the_next_numbers_come_and_the_highest_go(self, rt: dx.Runtime) -> None:
        clerks(rt, n=2)
        assert rt.scale("clerk", 3) == ["clerk#0", "clerk#1", "clerk#2"]
        assert rt.scale("clerk", 1) == ["clerk#0"]
        assert rt.info("clerk").replicas == ["clerk#0"]

    def test_what_runs_in_one_that_goes_is_finished(self, rt: dx.Runtime, tmp_path: Path) -> None:
        clerks(rt, n=2)
        gate = tmp_path / "gate"
        call = Running(lambda: rt.server("clerk#1").call(["gate", str(gate)], timeout=20))
        wait_until(lambda: list(tmp_path.glob("gate.*")), what="the call")
        scaled = Running(lambda: rt.scale("clerk", 1))
        wait_until(lambda: rt.info("clerk#1").state == "STOPPING", what="the drain")
        gate.touch()
        assert isinstance(call.done(), int)
        assert scaled.done() == ["clerk#0"]

    def test_none_is_a_group_that_can_be_made_larger_again(self, rt: dx.Runtime) -> None:
        ref = clerks(rt, n=1)
        assert rt.scale("clerk", 0) == []
        with pytest.raises(dx.NoProcessError) as missing:
            ref.call("pid")
        assert "scale" in str(missing.value.hint)
        assert rt.scale("clerk", 2) == ["clerk#0", "clerk#1"]
        assert ref.call("id") in ("clerk#0", "clerk#1")

    @pytest.mark.parametrize("n", [-1, 1.5, "3", True])
    def test_a_number_of_replicas_is_0_or_more(self, rt: dx.Runtime, n: Any) -> None:
        clerks(rt, n=1)
        with pytest.raises(dx.ConfigError):
            rt.scale("clerk", n)

    def test_those_that_ask_at_the_same_time_have_their_turn(self, rt: dx.Runtime) -> None:
        clerks(rt, n=1)
        asked = [Running(lambda n=n: rt.scale("clerk", n)) for n in (3, 2, 4)]  # type: ignore[misc]
        found = [len(each.done()) for each in asked]
        assert found == [3, 2, 4]
        left = rt.info("clerk").replicas or ()
        assert len(left) in (2, 3, 4)  # whoever came last
        assert list(left) == [f"clerk#{n}" for n in range(len(left))]
        assert {rt.info(id).state for id in left} == {"READY"}


class TestSwaps:
    """Another version, one replica after the other."""

    def test_all_of_them_are_swapped_and_nothing_is_lost(self, rt: dx.Runtime, book: Path) -> None:
        ref = clerks(rt, book)
        with under_load(ref, book) as (notes, _):
            result = rt.swap("clerk", NEW)
        assert notes.in_flight == set()
        assert (result.id, result.old_version, result.version) == ("clerk", "1", "2")
        assert {ref.call("version") for _ in range(30)} == {"2"}

    def test_those_that_come_later_are_of_the_new_version(self, rt: dx.Runtime) -> None:
        clerks(rt, n=1)
        rt.swap("clerk", NEW)
        rt.scale("clerk", 3)
        assert [rt.server(f"clerk#{n}").call("version") for n in range(3)] == ["2", "2", "2"]

    @pytest.mark.parametrize("which", [0, 1, 2])
    def test_when_one_is_not_swapped_the_others_are_what_they_were(self, rt: dx.Runtime, book: Path, which: int) -> None:
        ref = clerks(rt, book)
        with under_load(ref, book) as (notes, _), pytest.raises(dx.SwapError) as failed:
            rt.swap("clerk", PICKY, extra=f"clerk#{which}")
        assert notes.in_flight == set()
        assert failed.value.id == f"clerk#{which}"
        assert "all of them serve as they were" in str(failed.value)
        assert [rt.server(f"clerk#{n}").call("version") for n in range(3)] == ["1", "1", "1"]

    def test_a_group_is_rolled_back(self, rt: dx.Runtime) -> None:
        ref = clerks(rt, n=2)
        rt.swap("clerk", NEW)
        assert rt.rollback("clerk").version == "1"
        assert {ref.call("version") for _ in range(10)} == {"1"}
        assert [each.version for each in rt.versions("clerk")] == ["1", "2", "1"]

    def test_one_that_does_not_serve_prevents_it(self, rt: dx.Runtime) -> None:
        clerks(rt, n=2)
        rt.stop("clerk#1")
        with pytest.raises(dx.SwapError) as refused:
            rt.swap("clerk", NEW)
        assert (refused.value.code, refused.value.id) == ("not_running", "clerk#1")
        assert rt.server("clerk#0").call("version") == "1"

    def test_a_group_is_swapped_alone(self, rt: dx.Runtime) -> None:
        clerks(rt, n=2)
        rt.start_child("root", {"id": "other", "server": CLERK})
        with pytest.raises(dx.SwapError):
            rt.swap({"clerk": {"to": NEW}, "other": {"to": NEW}})
