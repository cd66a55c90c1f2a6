"""Owners with parts that are processes, as one: saved in one moment, put back all or none, compiled and swapped together."""

from __future__ import annotations

import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import dspy
import pytest

import dspex_runtime as dx
from helpers.swapping import Gate, Running
from helpers.system import FOLDER, Start
from helpers.waiting import wait_until

sys.path.insert(0, str(FOLDER))
import programs_compile
import programs_composite_state as programs

pytestmark = pytest.mark.process

PROGRAMS = FOLDER / "programs_composite_state.py"


def owner(id: str = "qa", name: str = "Pair", **keys: Any) -> dict[str, Any]:
    return {"id": id, "module": f"{PROGRAMS}:{name}", "backoff": "none", **keys}


def counts(rt: dx.Runtime, *ids: str) -> list[list[int]]:
    return [rt.module(id).dx.call("counts") for id in ids]


class Load:
    """Calls of a composite from threads, until it is left."""

    def __init__(self, module: Any, threads: int = 3) -> None:
        self.module = module
        self.ended = threading.Event()
        self.errors: list[BaseException] = []
        self.calls = 0
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def _run(self) -> None:
        while not self.ended.is_set():
            try:
                self.module()
                self.calls += 1
            except BaseException as exc:
                self.errors.append(exc)
                return

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        for thread in self._threads:
            thread.join()
        assert self.errors == []


def saved(rt: dx.Runtime, id: str, number: int) -> list[int]:
    """Return what is in a checkpoint: the parameter, and the module's own state."""
    found = rt.inspect_checkpoint(id, number)
    return [found["parameters"]["count"]["value"], found["user"]["own"]]


class TestACheckpoint:
    def test_it_is_one_of_the_owner_and_names_its_parts(self, shared: Start) -> None:
        rt = shared(owner(name="Tower"))
        rt.module("qa")()
        info = rt.checkpoint("qa")
        assert info.parts == {"qa/near": 1, "qa/near/part": 1, "qa/far": 1}
        assert rt.checkpoints("qa") == [info]
        assert [each.of for each in rt.checkpoints("qa/near/part")] == [("qa", info.number)]
        assert rt.checkpoints("qa/near")[0].parts == {"qa/near/part": 1}
        assert [saved(rt, id, 1) for id in ("qa", "qa/near", "qa/near/part", "qa/far")] == [[1, 1]] * 4
        assert rt.inspect_checkpoint("qa")["parts"] == info.parts
        assert (rt.info("qa/far").checkpoint or {})["number"] == 1

    @pytest.mark.parametrize("concurrency", [1, 3])
    def test_what_counts_together_is_saved_together_under_load(self, shared: Start, concurrency: int) -> None:
        rt = shared(owner(checkpoint={"keep": 100}, concurrency=concurrency))
        module = rt.module("qa")
        with Load(module) as load:
            made = [rt.checkpoint("qa") for _ in range(50)]
        assert load.calls > 0
        found = [(saved(rt, "qa", info.number), saved(rt, "qa/part", info.parts["qa/part"])) for info in made]
        assert [own for own, _ in found] == [below for _, below in found]
        middle = made[25]
        rt.restore("qa", middle)
        was, _ = found[25]
        assert counts(rt, "qa", "qa/part") == [was, was]
        said = module()
        assert said.count == said.below == was[0] + 1

    def test_calls_of_others_to_a_part_go_on_before_and_after(self, shared: Start) -> None:
        rt = shared(owner())
        part = rt.module("qa/part")
        with Load(rt.module("qa")), Load(part, threads=1) as others:
            for _ in range(5):
                rt.checkpoint("qa")
        assert others.calls > 0
        part()

    def test_what_is_written_to_both_by_a_client_is_saved_in_that_order(self, shared: Start) -> None:
        """A client writes the owner's and then the part's: no checkpoint has the second without the first."""
        rt = shared(owner(checkpoint={"keep": 100}))
        ended = threading.Event()
        qa, part = rt.module("qa").dx.params, rt.module("qa/part").dx.params

        def write() -> None:
            value = 0
            while not ended.is_set():
                value += 1
                qa["count"] = part["count"] = value

        writer = threading.Thread(target=write)
        writer.start()
        try:
            made = [rt.checkpoint("qa") for _ in range(30)]
        finally:
            ended.set()
            writer.join()
        for info in made:
            (own, _), (below, _) = saved(rt, "qa", info.number), saved(rt, "qa/part", info.parts["qa/part"])
            assert own - below in (0, 1)

    def test_what_does_not_come_to_rest_is_busy_and_goes_on(self, shared: Start, tmp_path: Path) -> None:
        rt = shared(owner(shutdown={"drain": "100ms", "timeout": "5s"}))
        gate = tmp_path / "gate"
        waiting = threading.Thread(target=lambda: rt.module("qa").dx.call("wait_below", str(gate)))
        waiting.start()
        wait_until(lambda: Path(f"{gate}.begun").exists(), what="the call below runs")
        with pytest.raises(dx.CheckpointError, match=r"did not come to rest within 0\.1 s: 'qa' still runs 1 call") as caught:
            rt.checkpoint("qa")
        assert caught.value.code == "busy"
        gate.touch()
        waiting.join()
        assert rt.module("qa")().below == 1
        assert rt.checkpoint("qa").parts == {"qa/part": 1}

    def test_a_part_is_saved_alone_and_kept_apart_from_its_owners(self, shared: Start) -> None:
        rt = shared(owner())
        rt.checkpoint("qa")
        alone = rt.checkpoint("qa/part")
        assert (alone.number, alone.of, alone.parts) == (2, None, {})
        with pytest.raises(dx.CheckpointError, match="is a part of checkpoint 1 of 'qa', and goes with that"):
            rt.prune_checkpoints("qa/part", checkpoints=[1])
        assert rt.prune_checkpoints("qa", checkpoints=[1]) == [1]
        assert [info.number for info in rt.checkpoints("qa/part")] == [2]

    def test_without_one_of_its_parts_there_is_none(self, shared: Start) -> None:
        rt = shared(owner())
        rt.stop("qa/part")
        with pytest.raises(dx.CheckpointError, match="'qa/part' is STOPPED: 'qa' can be saved with all of its parts only"):
            rt.checkpoint("qa")

    def test_one_that_is_started_again_is_waited_for(self, shared: Start) -> None:
        rt = shared(owner())
        for _ in range(3):  # as often as the owner's parts may be restarted
            rt.wait(["qa/part"])  # between two incarnations there is no process to be killed
            rt.kill("qa/part")
            try:
                info = rt.checkpoint("qa")
            except dx.CheckpointError as exc:
                if exc.code != "busy":  # it was found alive, and died while it was held
                    raise
            else:
                assert info.parts.keys() == {"qa/part"}
        wait_until(lambda: rt.info("qa/part").state == "READY", what="the part serves")
        assert rt.checkpoint("qa").parts.keys() == {"qa/part"}

    def test_periodic_ones_are_of_all_and_left_out_when_busy(self, shared: Start, tmp_path: Path) -> None:
        rt = shared(owner(checkpoint={"every": "100ms"}, shutdown={"drain": "50ms", "timeout": "5s"}))
        wait_until(lambda: any(info.kind == "periodic" and info.parts for info in rt.checkpoints("qa")), what="one is taken")
        gate = tmp_path / "gate"
        waiting = threading.Thread(target=lambda: rt.module("qa").dx.call("wait", str(gate)))
        waiting.start()
        wait_until(Path(f"{gate}.begun").exists, what="the call runs")
        with rt.events() as events:  # one that is taken at this moment may say something else, or nothing
            skipped = next(e for e in events if e["type"] == "checkpoint_skipped" and "still runs 1 call" in e["message"])
        assert skipped["id"] == "qa"
        assert "'qa' still runs 1 call" in skipped["message"]
        gate.touch()
        waiting.join()
        number = rt.checkpoints("qa")[0].number
        wait_until(lambda: rt.checkpoints("qa")[0].number > number, what="the next one is taken")


class TestARestore:
    def test_it_puts_back_the_owner_and_its_parts(self, shared: Start) -> None:
        rt = shared(owner(name="Tower"))
        module, ids = rt.module("qa"), ("qa", "qa/near", "qa/near/part", "qa/far")
        module()
        info = rt.checkpoint("qa")
        module()
        rt.module("qa/near").dx.call("set_own", 9)
        assert rt.restore("qa") == info
        assert counts(rt, *ids) == [[1, 1]] * 4
        kinds = [(each.kind, sorted(each.parts)) for each in rt.checkpoints("qa")]
        assert kinds == [(kind, sorted(ids[1:])) for kind in ("restored", "before_restore", "manual")]
        rt.restore("qa", 2)
        assert counts(rt, *ids) == [[2, 2], [2, 9], [2, 2], [2, 2]]
        rt.kill("qa/near")  # what it is then is what it was put back to
        wait_until(lambda: rt.info("qa/near").incarnation == 2 and rt.info("qa/near").state == "READY", what="it serves again")
        assert counts(rt, "qa/near") == [[2, 9]]

    def test_a_part_is_put_back_alone_with_its_own_parts(self, shared: Start) -> None:
        rt = shared(owner(name="Tower"))
        module = rt.module("qa")
        module()
        info = rt.checkpoint("qa")
        module()
        rt.restore("qa/near", info.parts["qa/near"])
        assert counts(rt, "qa", "qa/near", "qa/near/part", "qa/far") == [[2, 2], [1, 1], [1, 1], [2, 2]]

    @pytest.mark.parametrize("which", ["qa", "qa/part"])
    def test_where_one_refuses_all_stay_as_they_are(self, shared: Start, which: str) -> None:
        rt = shared(owner())
        rt.module("qa")()
        rt.module(which).dx.call("set_own", -1)
        refused = rt.checkpoint("qa")
        rt.module("qa")()
        rt.module(which).dx.call("set_own", 5)
        before = counts(rt, "qa", "qa/part")
        with pytest.raises(ValueError, match="no such state"):
            rt.restore("qa", refused)
        assert counts(rt, "qa", "qa/part") == before
        assert rt.module("qa")().below == 3

    def test_under_load_nobody_sees_a_half_of_it(self, shared: Start) -> None:
        rt = shared(owner())
        module = rt.module("qa")
        seen: list[tuple[int, int]] = []

        def called() -> None:
            said = module()
            seen.append((said.count, said.below))

        info = rt.checkpoint("qa")
        with Load(called, threads=2):
            for _ in range(10):
                rt.restore("qa", info)
        assert len(seen) > 10
        assert [count for count, _ in seen] == [below for _, below in seen]

    @pytest.mark.parametrize("killed", ["qa", "qa/part"])
    def test_whoever_is_killed_meanwhile_all_are_put_back_or_none(self, shared: Start, killed: str) -> None:
        rt = shared(owner(parts={"max_restarts": 1000, "part": {"backoff": "none"}}))
        module, parameters = rt.module("qa"), [rt.ref(id).params for id in ("qa", "qa/part")]
        module()
        info = rt.checkpoint("qa")
        for turn in range(12):
            rt.wait(["qa", "qa/part"])
            for each in parameters:
                each["count"] = 100 + turn
            restoring = Running(lambda: rt.restore("qa", info))
            threading.Event().wait(turn * 0.004)  # at one moment or another
            rt.kill(killed)
            try:
                restoring.done()
            except (dx.CheckpointError, dx.BusyError):
                wanted = 100 + turn
            else:
                wanted = 1
            rt.wait(["qa", "qa/part"])
            assert [each["count"] for each in parameters] == [wanted, wanted]
            assert wanted != 1 or counts(rt, "qa", "qa/part") == [[1, 1], [1, 1]]

    def test_replicas_are_put_back_with_their_parts(self, shared: Start) -> None:
        rt = shared(owner(replicas=2))
        ids = ("qa#0", "qa#0/part", "qa#1", "qa#1/part")
        rt.module("qa#0")()
        info = rt.checkpoint("qa")
        for _ in range(2):
            rt.module("qa#1")()
        rt.restore("qa", info)  # also while one is still given what the others have
        assert counts(rt, *ids) == [[1, 1]] * 4

    def test_one_that_is_stopped_is_put_back_for_its_next_start(self, shared: Start) -> None:
        rt = shared(owner())
        rt.module("qa")()
        info = rt.checkpoint("qa")
        rt.module("qa")()
        rt.stop("qa")
        assert rt.restore("qa", info) == info
        assert [rt.ref(id).params["count"] for id in ("qa", "qa/part")] == [1, 1]
        rt.start("qa")
        assert counts(rt, "qa", "qa/part") == [[1, 1], [1, 1]]

    def test_a_part_that_is_stopped_is_put_back_with_its_owner_that_runs(self, shared: Start) -> None:
        rt = shared(owner())
        rt.module("qa")()
        info = rt.checkpoint("qa")
        rt.module("qa")()
        rt.stop("qa/part")
        rt.restore("qa", info)
        assert [rt.ref(id).params["count"] for id in ("qa", "qa/part")] == [1, 1]
        rt.start("qa/part")
        assert counts(rt, "qa", "qa/part") == [[1, 1], [1, 1]]

    def test_it_is_there_after_the_runtime_was(self, tmp_path: Path) -> None:
        config = {"version": 1, "name": "kept", "runtime": {"spares": 1}, "tree": {"children": [owner()]}}
        with dx.Runtime(config, state_dir=str(tmp_path / "kept")) as rt:
            rt.module("qa")()
            info = rt.checkpoint("qa")
            rt.module("qa")()
        with dx.Runtime(config, state_dir=str(tmp_path / "kept")) as rt:
            assert counts(rt, "qa", "qa/part") == [[2, 1], [2, 1]]  # parameters are newer than what was saved last
            rt.restore("qa", info)
            assert counts(rt, "qa", "qa/part") == [[1, 1], [1, 1]]

    def test_it_is_carried_to_another_owner_as_a_file(self, shared: Start, tmp_path: Path) -> None:
        rt = shared(owner(), owner("other"))
        rt.module("qa")()
        rt.checkpoint("qa")
        file = str(tmp_path / "exported")
        rt.export_checkpoint("qa", file)
        taken = rt.import_checkpoint("other", file)
        assert (taken.kind, taken.parts) == ("import", {"other/part": 1})
        rt.restore("other")
        assert counts(rt, "other", "other/part") == [[1, 1], [1, 1]]

    def test_what_differs_is_told_as_the_owner_has_it(self, shared: Start) -> None:
        rt = shared(owner())
        first = rt.checkpoint("qa")
        rt.ref("qa/part").params["limit"] = 7
        second = rt.checkpoint("qa")
        wanted = [{"name": "part.limit", "change": "changed", "old": 1000, "new": 7}]
        assert rt.diff_checkpoints("qa", first) == rt.diff_checkpoints("qa", first, second) == wanted
        assert rt.diff_checkpoints("qa", second) == []


class TestACompile:
    TRAINSET = programs_compile.TRAINSET

    def started(self, shared: Start, **keys: Any) -> dx.Runtime:
        return shared(owner(name="TwoSteps", lm={"class": f"{FOLDER / 'programs_compile.py'}:Stateless", "args": {}}, **keys))

    def instructions(self, rt: dx.Runtime, id: str = "qa") -> list[str]:
        found = [rt.ref(id).params["hop.predict"], rt.ref(f"{id}/judge").params["verdict"]]
        return [state["signature"]["instructions"] for state in found]

    @pytest.mark.parametrize("name", ["LabeledFewShot", "BootstrapFewShot"])
    def test_it_gives_what_the_optimizer_gives_in_one_process(self, shared: Start, name: str) -> None:
        rt = self.started(shared)
        made = {
            "LabeledFewShot": lambda: dspy.LabeledFewShot(k=3),
            "BootstrapFewShot": lambda: dspy.BootstrapFewShot(metric=programs.exact),
        }
        examples = [dspy.Example(**each).with_inputs("question") for each in self.TRAINSET]
        with dspy.context(lm=programs_compile.Stateless()):
            here = made[name]().compile(programs.TwoSteps(), trainset=examples)
        result = rt.compile("qa", made[name](), trainset=examples)
        wanted = {path: state["demos"] for path, state in here.dump_state().items()}
        assert wanted.keys() == {"hop.predict", "judge.verdict"}
        found = {"hop.predict": rt.ref("qa").params["hop.predict"], "judge.verdict": rt.ref("qa/judge").params["verdict"]}
        assert {path: state["demos"] for path, state in found.items()} == wanted
        assert set(result.changes) <= wanted.keys()

    def test_its_result_is_of_all_and_can_be_taken_back_of_all(self, shared: Start) -> None:
        rt = self.started(shared)
        rt.module("qa/judge")(question="a", answer="b")
        before = self.instructions(rt)
        result = rt.compile("qa", f"{PROGRAMS}:Tell", trainset=self.TRAINSET, freeze=True)
        told = "Asked 1, 8 examples."  # the part's own state was in the copy
        assert self.instructions(rt) == [told, told]
        assert rt.ref("qa/judge").call("flags") == [True, {"temperature": 0.9}, told]
        assert result.changes.keys() == {"hop.predict", "judge.verdict"}
        kinds = {info.kind: (info.number, info.parts.keys()) for info in rt.checkpoints("qa")}
        assert kinds == {"before_compile": (result.before, {"qa/judge"}), "compiled": (result.version, {"qa/judge"})}
        assert [each["name"] for each in result.diff()] == ["hop.predict", "judge.verdict"]
        rt.restart("qa/judge")
        assert rt.ref("qa/judge").call("flags") == [True, {"temperature": 0.9}, told]
        result.revert()
        assert self.instructions(rt) == before
        assert rt.ref("qa/judge").call("flags") == [False, {}, before[1]]
        assert [info.id for info in rt.modules()] == ["qa", "qa/judge"]

    def test_its_result_is_of_all_replicas_with_their_parts(self, shared: Start) -> None:
        rt = self.started(shared, replicas=2)
        rt.compile("qa", f"{PROGRAMS}:Tell", trainset=self.TRAINSET)
        told = "Asked 0, 8 examples."
        for id in ("qa#0", "qa#1"):
            assert self.instructions(rt, id) == [told, told]
            assert rt.ref(f"{id}/judge").call("flags") == [False, {"temperature": 0.9}, told]
            assert [info.kind for info in rt.checkpoints(id)] == ["compiled", "before_compile"]

    def test_while_a_part_is_not_there_it_waits(self, shared: Start, tmp_path: Path) -> None:
        rt = self.started(shared)
        gate, told = Gate(tmp_path / "gate"), []
        running = self.compiling(rt, gate, told)
        rt.stop("qa/judge")
        gate.open()
        wait_until(lambda: any(each["type"] == "waiting" for each in told), what="it waits for the part")
        assert self.instructions(rt)[0] != "Asked 0, 8 examples."
        rt.start("qa/judge")
        running.done()
        assert self.instructions(rt) == ["Asked 0, 8 examples."] * 2

    def test_while_they_do_not_come_to_rest_it_waits(self, shared: Start, tmp_path: Path) -> None:
        rt = self.started(shared, shutdown={"drain": "50ms", "timeout": "5s"})
        gate, busy, told = Gate(tmp_path / "gate"), Gate(tmp_path / "busy"), []
        running = self.compiling(rt, gate, told)
        calling = Running(lambda: rt.ref("qa/judge").call("wait", str(busy.path)))
        busy.reached()
        gate.open()
        wait_until(lambda: any("still runs 1 call" in each.get("message", "") for each in told), what="it waits for the call")
        assert self.instructions(rt)[0] != "Asked 0, 8 examples."
        busy.open()
        calling.done()
        running.done()
        assert self.instructions(rt) == ["Asked 0, 8 examples."] * 2

    def commits(self, told: list[dict[str, Any]]) -> bool:
        return any(each["type"] == "committing" for each in told)

    def compiling(self, rt: dx.Runtime, gate: Gate, told: list[dict[str, Any]], examples: int = 8) -> Running:
        options: dict[str, Any] = {"trainset": self.TRAINSET[:examples], "gate": gate.path, "on_progress": told.append}
        running = Running(lambda: rt.compile("qa", f"{PROGRAMS}:Tell", **options))
        gate.reached()
        return running

    def test_what_is_compiled_with_its_owner_is_not_compiled_or_swapped_by_itself(self, shared: Start, tmp_path: Path) -> None:
        rt = self.started(shared)
        gate = Gate(tmp_path / "gate")
        running = self.compiling(rt, gate, [])
        with pytest.raises(dx.BusyError, match="'qa/judge' is being compiled already"):
            rt.compile("qa/judge", "LabeledFewShot", trainset=self.TRAINSET)
        with pytest.raises(dx.SwapError, match="'qa/judge' is being compiled"):
            rt.swap("qa/judge", version="2")
        gate.open()
        running.done()

    @pytest.mark.parametrize("killed", ["qa", "qa/judge"])
    def test_whoever_is_killed_meanwhile_all_have_it_in_the_end(self, shared: Start, tmp_path: Path, killed: str) -> None:
        rt = self.started(shared, parts={"max_restarts": 1000, "judge": {"backoff": "none"}})
        for turn in range(5):
            rt.wait(["qa", "qa/judge"])
            gate, told = Gate(tmp_path / f"gate{turn}"), []
            running = self.compiling(rt, gate, told, examples=turn + 1)
            gate.open()
            if turn:  # else before it commits, perhaps
                wait_until(partial(self.commits, told), what="it commits")
            rt.kill(killed)
            result = running.done()
            assert self.instructions(rt) == [f"Asked 0, {turn + 1} examples."] * 2
            assert rt.checkpoints("qa")[0].number == result.version

    def test_a_copy_that_is_killed_harms_nobody(self, shared: Start, tmp_path: Path) -> None:
        rt = self.started(shared)
        before, gate = self.instructions(rt), Gate(tmp_path / "gate")
        running = self.compiling(rt, gate, [])
        rt.kill("qa$compile")
        with pytest.raises(dx.CompileError, match="ended before it was done: killed"):
            running.done()
        assert self.instructions(rt) == before


class TestASwap:
    def test_checkpoints_and_swaps_go_on_beside_one_another(self, shared: Start) -> None:
        rt = shared(owner(checkpoint={"keep": 100}))
        made: list[dx.CheckpointInfo] = []
        ended = threading.Event()

        def save() -> None:
            while not ended.is_set():
                made.append(rt.checkpoint("qa"))

        with Load(rt.module("qa"), threads=2):
            saving = Running(save)
            for to in ("NewPair", "Pair", "NewPair"):
                rt.swap("qa", f"{PROGRAMS}:{to}")
                rt.swap("qa/part", f"{PROGRAMS}:Tally")
            ended.set()
            saving.done()
        assert made
        for info in made:
            assert saved(rt, "qa", info.number) == saved(rt, "qa/part", info.parts["qa/part"])

    def test_a_part_that_comes_back_is_what_it_was(self, shared: Start) -> None:
        rt = shared(owner())
        rt.module("qa")()
        before = rt.checkpoint("qa")
        rt.swap("qa", f"{PROGRAMS}:NewPair")
        assert rt.module("qa")().more == 1
        both = rt.checkpoint("qa")
        assert both.parts.keys() == {"qa/part", "qa/more"}
        rt.rollback("qa")
        wait_until(lambda: "qa/more" not in {info.id for info in rt.modules()}, what="the part is gone")
        assert rt.checkpoint("qa").parts.keys() == {"qa/part"}
        rt.restore("qa", both)  # what is not there any more is left out
        assert counts(rt, "qa", "qa/part") == [[2, 2], [2, 2]]
        rt.restore("qa", before)
        assert counts(rt, "qa", "qa/part") == [[1, 1], [1, 1]]
        rt.swap("qa", f"{PROGRAMS}:NewPair")
        assert rt.ref("qa/more").params["count"] == 1

    def test_the_image_before_and_after_it_is_the_owners_own(self, shared: Start) -> None:
        rt = shared(owner())
        rt.swap("qa", f"{PROGRAMS}:Alone")
        wait_until(lambda: {info.kind for info in rt.checkpoints("qa")} == {"before_swap", "swapped"}, what="both are saved")
        assert [info.parts for info in rt.checkpoints("qa")] == [{}, {}]
        wait_until(lambda: "qa/part" not in {info.id for info in rt.modules()}, what="the part is gone")
        assert rt.checkpoint("qa").parts == {}
