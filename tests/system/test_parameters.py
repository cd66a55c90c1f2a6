"""Parameters of real modules: set from anywhere at any moment, there again after a kill, saved and given back as one."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dspex_runtime as dx
from helpers.runtimes import kill_module
from helpers.system import FOLDER, Start
from helpers.waiting import wait_until

pytestmark = pytest.mark.process

PROGRAMS = FOLDER / "programs_parameters.py"
DEMO = {"question": "2+2", "answer": "four"}


def thermostat(**keys: Any) -> dict[str, Any]:
    return {"id": "it", "server": f"{PROGRAMS}:Thermostat", "backoff": "none", **keys}


def answerer(**keys: Any) -> dict[str, Any]:
    return {"id": "qa", "module": f"{PROGRAMS}:Answerer", "backoff": "none", **keys}


def test_inside_and_outside_set_the_same_parameter(shared: Start) -> None:
    it = shared(thermostat()).server("it")
    assert it.params["target"] == 20.0
    it.params["target"] = 21.5
    assert it.call("get") == 21.5
    it.call(["set", "target", 22.5])
    assert (it.params["target"], it.params.version("target")) == (22.5, 3)


def test_what_was_set_is_there_after_kill_9(shared: Start) -> None:
    rt = shared(thermostat())
    it = rt.server("it")
    it.params["target"] = 21.5
    it.call(["set", "odd", 7])
    kill_module(rt, "it")
    assert (it.call("get"), it.params["target"], it.params["odd"]) == (21.5, 21.5, 7)
    it.params["target"] = 22.0
    assert [line["version"] for line in it.params.history("target")][:2] == [3, 2]


def test_a_write_that_waits_for_the_disk_is_answered_though_its_process_is_restarted(shared: Start) -> None:
    # None of them is in doubt: one that had begun is answered by the old process, any other one is sent to the next.
    rt = shared(answerer(durability="fsync"))
    qa, before, restarted = rt.ref("qa"), rt.info("qa").incarnation, threading.Event()

    def write() -> int:
        writes = 0
        while not restarted.is_set():
            qa.params["temperature"] = 1.0
            writes += 1
        return writes

    with ThreadPoolExecutor(8) as pool:
        writers = [pool.submit(write) for _ in range(8)]
        try:
            wait_until(lambda: qa.params.version("temperature") > 8, what="writers at work")
            rt.restart("qa")
            wait_until(lambda: rt.info("qa").incarnation > before, what="the next incarnation")
        finally:
            restarted.set()
    assert qa.params.version("temperature") == 1 + sum(writer.result() for writer in writers)


def test_a_reader_sees_the_next_incarnations_writes_without_asking_again(shared: Start) -> None:
    rt = shared(thermostat())
    it = rt.server("it")
    params = it.params
    assert params["target"] == 20.0
    for target in (21.0, 22.0, 23.0):
        kill_module(rt, "it")
        it.call(["set", "target", target])
        assert params["target"] == target


REFUSED = [("target", 31.0, "max"), ("target", "warm", "type"), ("odd", 4, "check")]


@pytest.mark.parametrize(("name", "value", "constraint"), REFUSED)
def test_a_refused_value_changes_nothing_and_says_why(shared: Start, name: str, value: Any, constraint: str) -> None:
    rt = shared(thermostat())
    it = rt.server("it")
    pid, before = rt.info("it").pid, it.params.version(name)
    with pytest.raises(dx.ConstraintViolationError) as refused:
        it.params[name] = value
    assert (refused.value.name, refused.value.constraint, refused.value.id) == (name, constraint, rt.info("it").id)
    assert (it.params.version(name), rt.info("it").pid) == (before, pid)
    with pytest.raises(dx.ParameterNotFoundError, match="tarket"):
        it.params["tarket"] = 20.0


def test_it_is_set_while_the_module_is_busy_and_while_it_is_suspended(shared: Start, tmp_path: Path) -> None:
    rt = shared(thermostat(), answerer())
    it, qa, gate = rt.server("it"), rt.ref("qa"), tmp_path / "gate"
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(it.call, ["wait", str(gate)], timeout=30), pool.submit(qa.call, "wait", str(gate))
        wait_until(lambda: rt.info("it").metrics["running"] == rt.info("qa").metrics["running"] == 1, what="both are busy")
        it.params["target"] = 25.0
        qa.params["temperature"] = 1.5
        assert (it.params["target"], qa.params["temperature"]) == (25.0, 1.5)
        gate.touch()
        assert [each.result() for each in waiting] == [25.0, 1.5]
    it.suspend()
    it.params["target"] = 26.0
    assert it.params["target"] == 26.0
    it.resume()
    assert it.call("get") == 26.0


def test_a_large_array_is_a_view_that_outlives_its_successor_and_its_module(shared: Start) -> None:
    rt = shared(thermostat())
    it, array = rt.server("it"), np.arange(131072.0)
    it.params["curve"] = array
    held = it.params["curve"]
    assert held.nbytes >= 2**20
    assert not held.flags.writeable
    it.params["curve"] = array + 1.0
    kill_module(rt, "it")
    assert np.array_equal(it.params["curve"], array + 1.0)
    assert np.array_equal(held, array)


def test_gradients_count_one_by_one(shared: Start) -> None:
    it = shared(thermostat()).server("it")
    it.params.apply_gradient("weights", [1.0, 2.0])
    it.params.apply_gradient("weights", [1.0, 0.0])
    assert it.params["weights"].tolist() == [-1.0, -1.0]
    with pytest.raises(dx.GradientNotRequiredError):
        it.params.apply_gradient("target", 1.0)


def test_demos_set_outside_are_what_forward_uses(shared: Start) -> None:
    rt = shared(answerer())
    qa, params = rt.module("qa"), rt.ref("qa").params
    state = params["answer"]
    assert state["demos"] == []
    params["answer"] = {**state, "demos": [DEMO]}
    assert qa(question="x").demos == [DEMO]
    kill_module(rt, "qa")
    assert qa(question="x").demos == [DEMO]
    params.rollback("answer", 1)
    assert qa(question="x").demos == []


@pytest.mark.parametrize("method", ["learn", "fail_after_learning"])
def test_what_a_call_does_to_a_predictor_is_published_when_it_ends(shared: Start, method: str) -> None:
    rt = shared(answerer())
    qa = rt.ref("qa")
    assert qa.params["answer"]["demos"] == []
    try:
        qa.call(method, "four")
    except LookupError:
        assert method == "fail_after_learning"
    assert [demo["answer"] for demo in qa.params["answer"]["demos"]] == ["four"]
    kill_module(rt, "qa")
    answer = rt.module("qa")(question="x")
    assert (answer.demos[0]["answer"], answer.instructions) == ("four", "Say four.")


def test_predictors_that_setup_makes_are_parameters_too(shared: Start) -> None:
    rt = shared({"id": "late", "module": f"{PROGRAMS}:Late", "backoff": "none"})
    params = rt.ref("late").params
    params["answer"] = {**params["answer"], "demos": [DEMO]}
    kill_module(rt, "late")
    assert rt.module("late")(question="x").demos == 1


def test_the_configuration_gives_values_and_what_was_set_since_counts_more(shared: Start) -> None:
    rt = shared(thermostat(params={"target": 18.0}))
    it = rt.server("it")
    assert it.call("get") == 18.0
    it.params["target"] = 19.0
    kill_module(rt, "it")
    assert it.call("get") == 19.0
    it.params.reset("target")
    assert it.call("get") == 20.0


def test_a_checkpoint_is_parameters_predictors_and_state_as_one(shared: Start) -> None:
    rt = shared(answerer())
    qa = rt.ref("qa")
    qa.call("learn", "four")
    qa.params["temperature"] = 1.0
    saved = rt.checkpoint("qa")
    qa.call("learn", "five")
    qa.params["temperature"] = 2.0
    rt.restore("qa", saved)
    answer = rt.module("qa")(question="x")
    assert ([demo["answer"] for demo in answer.demos], answer.temperature, answer.notes) == (["four"], 1.0, ["four"])
    assert qa.params["temperature"] == 1.0
    assert qa.params["answer"]["signature"]["instructions"] == "Say four."


def test_a_killed_module_comes_back_with_the_newest_writes_and_the_state_of_its_checkpoint(shared: Start) -> None:
    rt = shared(thermostat())
    it = rt.server("it")
    it.call("read")
    it.call("read")
    rt.checkpoint("it")
    it.call("read")
    it.params["target"] = 21.0
    kill_module(rt, "it")
    assert (it.call("get"), it.get_state()) == (21.0, 2)


def test_mode_and_sums_are_kept_over_a_kill(shared: Start) -> None:
    rt = shared(answerer())
    qa = rt.ref("qa")
    qa.call("train")
    for _ in range(3):
        qa.call("__call__", question="x")
    count = qa.metrics()["count"]
    assert count >= 4
    kill_module(rt, "qa")
    assert rt.module("qa")(question="x").training is True
    assert qa.metrics()["count"] >= count + 1


def test_a_shared_parameter_is_read_by_modules_and_written_by_the_runtime(tmp_path: Path) -> None:
    shared = {"style": {"type": "str", "default": "brief", "choices": ["brief", "full"]}}
    tree = {"children": [{"id": "s", "server": f"{PROGRAMS}:Styled"}]}
    with dx.Runtime({"version": 1, "name": "shared", "shared": shared, "tree": tree}, state_dir=str(tmp_path / "state")) as rt:
        s = rt.server("s")
        assert s.call("read") == "brief"
        rt.params["style"] = "full"
        assert s.call("read") == "full"
        with pytest.raises(dx.ConstraintViolationError):
            rt.params["style"] = "loud"
        assert s.call("read") == "full"
