"""A program is compiled in a process of its own as the same optimizer compiles it here; it serves on, whoever is killed."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dspy
import psutil
import pytest

import dspex_runtime as dx
from helpers.runtimes import Standing
from helpers.swapping import Gate, Running
from helpers.system import FOLDER
from helpers.waiting import wait_until

sys.path.insert(0, str(FOLDER))
import programs_compile as programs

pytestmark = pytest.mark.process

PROGRAMS = FOLDER / "programs_compile.py"
TRAINSET = programs.TRAINSET
EXAMPLES = [dspy.Example(**each).with_inputs("question") for each in TRAINSET]
METRIC = f"{PROGRAMS}:exact"


@pytest.fixture(scope="module")
def shared_runtime(standing: Standing) -> dx.Runtime:
    children = [
        {"id": "qa", "module": f"{PROGRAMS}:TwoHops", "backoff": "none", "concurrency": 2},
        {"id": "declared", "module": f"{PROGRAMS}:Declared"},
    ]
    return standing(
        "compile",
        runtime={"spares": 2},
        lm={"class": f"{PROGRAMS}:Stateless", "args": {}},
        tree={"max_restarts": 1000, "children": children},
    )


@pytest.fixture
def rt(shared_runtime: dx.Runtime) -> dx.Runtime:
    return shared_runtime


@pytest.fixture
def qa(rt: dx.Runtime) -> Iterator[dx.ModuleRef]:
    """The module, as it is configured; it is put back to that."""
    pristine = rt.checkpoint("qa")
    yield rt.ref("qa")
    rt.restore("qa", pristine)
    assert [info.id for info in rt.modules()] == ["qa", "declared"], "a compile is left over"


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


def slowly(rt: dx.Runtime, gate: Gate, **options: Any) -> Running:
    running = Running(lambda: rt.compile("qa", f"{PROGRAMS}:Slow", trainset=TRAINSET, gate=gate.path, **options))
    try:
        gate.reached()
    except BaseException:
        gate.open()
        raise
    return running


def states(program: dspy.Module) -> dict[str, Any]:
    return {name: (state["demos"], state["signature"]["instructions"]) for name, state in program.dump_state().items()}


def hosted_states(ref: dx.ModuleRef) -> dict[str, Any]:
    return {name: (ref.params[name]["demos"], ref.params[name]["signature"]["instructions"]) for name in ("hop.predict", "judge")}


# -- as in-process

OPTIMIZERS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "LabeledFewShot": (lambda: dspy.LabeledFewShot(k=3), {}),
    "BootstrapFewShot": (lambda: dspy.BootstrapFewShot(metric=programs.exact, max_bootstrapped_demos=2), {}),
    "BootstrapFewShotWithRandomSearch": (
        lambda: dspy.BootstrapFewShotWithRandomSearch(metric=programs.exact, num_candidate_programs=2, max_bootstrapped_demos=2),
        {"valset": EXAMPLES[4:]},
    ),
    "BootstrapFewShotWithOptuna": (
        lambda: programs.SeededOptuna(metric=programs.exact, num_candidate_programs=2),
        {"max_demos": 2, "valset": EXAMPLES[4:]},
    ),
    "COPRO": (
        lambda: dspy.COPRO(metric=programs.exact, breadth=2, depth=1),
        {"eval_kwargs": {"num_threads": 2, "display_progress": False}},
    ),
    "MIPROv2": (
        lambda: dspy.MIPROv2(metric=programs.exact, auto=None, num_candidates=2, **models()),
        {"num_trials": 2, "minibatch": False, "valset": EXAMPLES[4:]},
    ),
    "SIMBA": (
        lambda: dspy.SIMBA(
            metric=programs.exact, bsize=4, num_candidates=2, max_steps=1, max_demos=2, prompt_model=programs.Stateless()
        ),
        {"seed": 3},
    ),
    "GEPA": (
        lambda: dspy.GEPA(metric=programs.with_feedback, max_metric_calls=20, reflection_lm=programs.Stateless()),
        {"valset": EXAMPLES[4:]},
    ),
    "InferRules": (
        lambda: dspy.InferRules(metric=programs.exact, num_candidates=2, num_rules=2, max_bootstrapped_demos=2),
        {"valset": EXAMPLES[4:]},
    ),
}
NEEDS = {"BootstrapFewShotWithOptuna": "optuna", "MIPROv2": "optuna", "GEPA": "gepa"}


def models() -> dict[str, Any]:
    return {"prompt_model": programs.Stateless(), "task_model": programs.Stateless()}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_gives_what_the_optimizer_gives_in_process(rt: dx.Runtime, qa: dx.ModuleRef, name: str) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    make, options = OPTIMIZERS[name]
    program = programs.TwoHops()
    before = states(program)
    with dspy.context(lm=programs.Stateless()):
        expected = make().compile(program, trainset=EXAMPLES, **options)
    assert hosted_states(qa) == before
    result = rt.compile("qa", make(), trainset=EXAMPLES, **options)
    assert hosted_states(qa) == states(expected)
    assert qa.call("flags")[0] == expected._compiled
    assert set(result.changes) == {name for name, state in states(expected).items() if state != before[name]}
    result.revert()
    assert hosted_states(qa) == before
    assert qa.call("flags")[0] is False


def test_it_gives_the_same_by_its_name_with_options(rt: dx.Runtime, qa: dx.ModuleRef) -> None:
    with dspy.context(lm=programs.Stateless()):
        optimizer = dspy.BootstrapFewShot(metric=programs.exact, max_bootstrapped_demos=3)
        expected = optimizer.compile(programs.TwoHops(), trainset=EXAMPLES, teacher=programs.TwoHops())
    # Maps: which keys are inputs follows from the program's forward.
    options = {"max_bootstrapped_demos": 3, "teacher": programs.TwoHops()}
    rt.compile("qa", "BootstrapFewShot", trainset=TRAINSET, metric=METRIC, **options)
    assert hosted_states(qa) == states(expected)


def test_an_optimizer_that_cannot_travel_is_built_again(rt: dx.Runtime, qa: dx.ModuleRef) -> None:
    rt.compile("qa", programs.Unpicklable("Made here."), trainset=TRAINSET)
    assert qa.params["judge"]["signature"]["instructions"] == "Made here."


def test_the_lm_is_the_callers_where_it_says_so_and_else_the_modules(rt: dx.Runtime, qa: dx.ModuleRef) -> None:
    right = dspy.utils.DummyLM(
        [{"reasoning": "r", "answer": each["answer"], "verdict": "v"} for each in TRAINSET for _ in range(2)]
    )
    options = {"metric": METRIC, "max_bootstrapped_demos": 8, "max_labeled_demos": 0}
    with dspy.context(lm=right):
        rt.compile("qa", "BootstrapFewShot", trainset=TRAINSET, **options)
    assert len(qa.params["hop.predict"]["demos"]) == 8
    rt.compile("qa", "BootstrapFewShot", trainset=TRAINSET, **options)
    assert len(qa.params["hop.predict"]["demos"]) < 8  # the module's is wrong in one of three


# -- the result


def test_the_result_is_a_version_that_is_listed_compared_and_put_back(rt: dx.Runtime, qa: dx.ModuleRef) -> None:
    told: list[dict[str, Any]] = []
    result = rt.compile(
        "qa", "BootstrapFewShotWithRandomSearch", trainset=TRAINSET, metric=programs.exact, on_progress=told.append,
        num_candidate_programs=1,
    )  # fmt: skip
    newest, before, *_ = rt.checkpoints("qa")
    assert (newest.number, newest.kind, before.number, before.kind) == (result.version, "compiled", result.before, "before_compile")
    assert newest.note == f"BootstrapFewShotWithRandomSearch, score {result.score:g}"
    facts = rt.inspect_checkpoint("qa", newest)["facts"]["compile"]
    shown = {"optimizer": "BootstrapFewShotWithRandomSearch", "options": {"num_candidate_programs": 1}, "score": result.score}
    assert facts | shown | {"who": f"client#{os.getpid()}"} == facts
    assert [each["name"] for each in result.diff()] == sorted(result.changes)
    assert result.score == max(event["score"] for event in told if event["type"] == "evaluated")
    assert [event["type"] for event in told[:2]] == ["started", "evaluating"]
    assert told[-1]["type"] == "committing"
    assert "compiled" in {event["type"] for event in rt.events(since=0, follow=False)}
    result.revert()
    rt.restore("qa", result.version)
    assert result.diff() == rt.diff_checkpoints("qa", result.before)


def test_flags_and_configs_are_part_of_it_and_outlive_a_kill(rt: dx.Runtime, qa: dx.ModuleRef) -> None:
    result = rt.compile("qa", f"{PROGRAMS}:Slow", trainset=TRAINSET)
    compiled = [True, {"temperature": 0.9}, 0, "Compiled."]
    assert qa.call("flags") == compiled
    kill(rt)
    assert qa.call("flags") == compiled
    result.revert()
    assert qa.call("flags")[:2] == [False, {"temperature": 0.5}]
    kill(rt)
    assert qa.call("flags")[:2] == [False, {"temperature": 0.5}]


def test_a_valset_gives_a_score_where_the_optimizer_has_none(rt: dx.Runtime, qa: dx.ModuleRef) -> None:
    assert rt.compile("qa", "LabeledFewShot", trainset=TRAINSET, metric=METRIC).score is None
    result = qa.compile("LabeledFewShot", trainset=TRAINSET, valset=TRAINSET[:3], metric=METRIC)
    assert result.score is not None
    assert result.evaluations == 1


def test_what_was_set_meanwhile_stays(rt: dx.Runtime, tmp_path: Path) -> None:
    declared = rt.ref("declared")
    declared.params["temperature"] = 0.7
    result = rt.compile("declared", "LabeledFewShot", trainset=TRAINSET, k=2)
    assert list(result.changes) == ["answer.predict"]
    assert declared.params["temperature"] == 0.7


def test_awaited_it_is_the_same(rt: dx.Runtime, qa: dx.ModuleRef) -> None:
    async def compile() -> Any:
        runtime = await dx.aio.connect(rt.socket)
        try:
            result = await runtime.compile("qa", "LabeledFewShot", trainset=TRAINSET, k=2)
            assert [each["name"] for each in await result.diff()] == ["hop.predict", "judge"]
            await result.revert()
            return result
        finally:
            await runtime.close()

    assert asyncio.run(compile()).changes.keys() == {"hop.predict", "judge"}
    assert qa.params["judge"]["demos"] == []


# -- while it runs


def test_the_module_serves_on_and_the_compile_shows(rt: dx.Runtime, qa: dx.ModuleRef, gate: Gate) -> None:
    running = slowly(rt, gate)
    info = rt.info("qa$compile")
    assert info.metadata == {"compiles": "qa"}
    assert qa.call(question="What is 1 and 1?").verdict.startswith("verdict")
    assert psutil.Process(info.pid).nice() == 5
    with pytest.raises(dx.BusyError, match="'qa' is being compiled already"):
        rt.compile("qa", "LabeledFewShot", trainset=TRAINSET)
    with pytest.raises(dx.CompileError, match="is the compile of another module"):
        rt.compile("qa$compile", "LabeledFewShot", trainset=TRAINSET)
    gate.open()
    assert running.done().changes.keys() == {"hop.predict", "judge"}


def test_a_killed_compile_is_an_error_and_no_restart(rt: dx.Runtime, qa: dx.ModuleRef, gate: Gate) -> None:
    before = rt.info("qa")
    running = slowly(rt, gate)
    rt.kill("qa$compile")
    with pytest.raises(dx.CompileError, match="ended before it was done: killed") as caught:
        running.done()
    assert caught.value.reason == "killed"
    assert (rt.info("qa").restarts, rt.info("qa").pid) == (before.restarts, before.pid)
    assert not qa.params["judge"]["demos"]


def test_a_killed_module_has_the_result_in_its_next_incarnation(rt: dx.Runtime, qa: dx.ModuleRef, gate: Gate) -> None:
    running = slowly(rt, gate)
    kill(rt)
    gate.open()
    assert running.done().changes.keys() == {"hop.predict", "judge"}
    assert qa.call("flags")[3] == "Compiled."


def test_the_result_waits_for_a_module_that_was_stopped(rt: dx.Runtime, qa: dx.ModuleRef, gate: Gate) -> None:
    waiting = threading.Event()
    running = slowly(rt, gate, on_progress=lambda event: waiting.set() if event["type"] == "waiting" else None)
    rt.stop("qa")
    gate.open()
    assert waiting.wait(10)
    rt.start("qa")
    running.done()
    assert qa.call("flags")[3] == "Compiled."


def test_a_module_that_is_deleted_meanwhile_is_an_error(rt: dx.Runtime, gate: Gate) -> None:
    rt.start(f"{PROGRAMS}:TwoHops", id="other")
    running = Running(lambda: rt.compile("other", f"{PROGRAMS}:Slow", trainset=TRAINSET, gate=gate.path))
    gate.reached()
    rt.delete("other")
    gate.open()
    with pytest.raises(dx.CompileError, match="'other' was deleted while it was compiled"):
        running.done()


def test_it_ends_in_time(rt: dx.Runtime, qa: dx.ModuleRef, gate: Gate) -> None:
    with pytest.raises(dx.CallTimeoutError, match=r"'qa' is not compiled after 0\.5 s"):
        rt.compile("qa", f"{PROGRAMS}:Slow", trainset=TRAINSET, gate=gate.path, timeout=0.5)
    rt.compile("qa", "LabeledFewShot", trainset=TRAINSET)  # at once


def test_a_client_that_gives_up_or_goes_ends_it(rt: dx.Runtime, qa: dx.ModuleRef, gate: Gate) -> None:
    async def cancelled() -> None:
        runtime = await dx.aio.connect(rt.socket)
        task = asyncio.ensure_future(runtime.compile("qa", f"{PROGRAMS}:Slow", trainset=TRAINSET, gate=gate.path))
        pid = await asyncio.to_thread(gate.reached)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(gone, pid)
        await runtime.close()

    asyncio.run(cancelled())
    os.unlink(gate.path + ".begun")
    other = dx.connect(rt.socket)
    running = Running(lambda: other.compile("qa", f"{PROGRAMS}:Slow", trainset=TRAINSET, gate=gate.path))
    pid = gate.reached()
    other.close()
    gone(pid)
    with pytest.raises(dx.RuntimeUnreachableError):
        running.done()


def test_the_modules_memory_limit_holds(rt: dx.Runtime, gate: Gate) -> None:
    rt.start(f"{PROGRAMS}:TwoHops", id="small", limits={"memory": "100MiB"})
    try:
        with pytest.raises(dx.CompileError, match="100 MiB allowed") as caught:
            rt.compile("small", f"{PROGRAMS}:Slow", trainset=TRAINSET, gate=gate.path, size=200)
        assert caught.value.reason[:2] == ("limit", "memory")
        assert rt.info("small").restarts == 0
    finally:
        rt.delete("small")


# -- what is wrong


@pytest.mark.parametrize(
    ("optimizer", "options", "text"),
    [
        ("BootstrapFewshot", {}, "dspy has no optimizer 'BootstrapFewshot'"),
        ("LabeledFewShot", {"kk": 2}, "LabeledFewShot has no option 'kk'"),
        ("Ensemble", {}, "Ensemble makes another program, not another state of this one: its compile takes programs"),
        (f"{PROGRAMS}:Wraps", {}, r"Wraps made another program of 'qa', .*: Wrapper with inner\.hop\.predict, inner\.judge"),
        ("MIPROv2", {}, "MIPROv2 needs a metric"),
        ("LabeledFewShot", {"trainset": []}, "trainset is empty"),
        ("LabeledFewShot", {"trainset": [{"qestion": "q", "answer": "a"}]}, r"trainset\[0\] has no 'question'"),
        ("LabeledFewShot", {"metric": "nowhere.py:f"}, r"nowhere\.py"),
        ("LabeledFewShot", {"trainset": "nowhere.jsonl"}, r"trainset cannot be read: .* 'nowhere\.jsonl'"),
    ],
)  # fmt: skip
def test_what_cannot_be_compiled_says_why(
    rt: dx.Runtime, qa: dx.ModuleRef, optimizer: str, options: dict[str, Any], text: str
) -> None:
    with pytest.raises((dx.CompileError, dx.ConfigError), match=text):
        rt.compile("qa", optimizer, **{"trainset": TRAINSET, **options})


def test_what_is_refused_shows_the_hint_and_no_frame_of_the_process(rt: dx.Runtime, qa: dx.ModuleRef) -> None:
    with pytest.raises(dx.CompileError, match="dspy has no optimizer") as caught:
        rt.compile("qa", "BootstrapFewshot", trainset=TRAINSET)
    assert caught.value.__cause__ is None
    assert caught.value.remote_traceback is None
    assert caught.value.__notes__ == ["hint: did you mean 'BootstrapFewShot'?"]


def test_a_metric_that_raises_is_shown_with_its_traceback(rt: dx.Runtime, qa: dx.ModuleRef) -> None:
    with pytest.raises(dx.CompileError, match="BootstrapFewShot failed on 'qa': LookupError: no such gold answer") as caught:
        rt.compile("qa", "BootstrapFewShot", trainset=TRAINSET, metric=programs.raises, max_errors=1)
    assert "in raises" in (caught.value.remote_traceback or "")
    with pytest.raises(dx.CompileError, match="Execution cancelled") as caught:
        rt.compile("qa", "COPRO", trainset=TRAINSET * 2, metric=programs.raises, breadth=2, depth=1, eval_kwargs={})
    assert "no such gold answer" in (caught.value.remote_traceback or "")


def test_only_a_program_that_runs_can_be_compiled(rt: dx.Runtime) -> None:
    rt.start(f"{PROGRAMS}:TwoHops", id="idle")
    rt.stop("idle")
    with pytest.raises(dx.CompileError, match="'idle' is STOPPED: only a running module can be compiled"):
        rt.compile("idle", "LabeledFewShot", trainset=TRAINSET)
    rt.delete("idle")


def kill(rt: dx.Runtime) -> None:
    pid = rt.info("qa").pid
    rt.kill("qa")
    wait_until(lambda: rt.info("qa").pid not in (None, pid) and rt.info("qa").state == "READY", what="the next incarnation")


def gone(pid: int) -> None:
    wait_until(lambda: not psutil.pid_exists(pid), what="the end of the compile process")
