"""Copies, states and files of a program, and how often they can be made (dspy's BaseModule, and the trap of repetition)."""

from __future__ import annotations

import copy
import inspect
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cloudpickle
import dspy
import pytest
from dspy_compat import programs
from dspy_compat.ways import Way

DEMO = {"question": "q", "query": "found"}


def edited(program: Any) -> Any:
    program.one.demos = [dspy.Example(**DEMO).with_inputs("question")]
    program.one.signature = program.one.signature.with_instructions("Look.")
    return program


def demos(program: Any) -> list[Any]:
    return [dict(demo) for demo in program.one.demos]


def test_a_deepcopy_is_independent_and_keeps_what_dspy_keeps(way: Way) -> None:
    program = edited(way(programs.hops))
    program.two.predict.config["n"] = 2
    program._compiled = True
    program.callbacks, program.history = [programs.Noting()], [{}]
    program.one.lm = programs.answering()
    for twin in (program.deepcopy(), copy.deepcopy(program)):
        assert type(twin) is type(program)
        assert (twin._compiled, twin.callbacks, twin.history) == (True, [], [])
        assert (demos(twin), twin.one.signature.instructions) == ([DEMO], "Look.")
        assert (twin.two.predict.config, twin.one.stage) == ({"n": 2}, program.one.stage)
        assert twin.one is not program.one
        assert twin.one.lm is not program.one.lm
        twin.one.demos.append({})
        twin.one.signature = twin.one.signature.with_instructions("Other.")
        assert (len(program.one.demos), program.one.signature.instructions) == (1, "Look.")


def test_an_edited_copy_answers_for_itself(way: Way) -> None:
    program = way(programs.hops)
    twin = edited(program.deepcopy())
    lm = programs.answering()
    with dspy.context(lm=lm, trace=[]):
        assert twin(question="?").answer == program(question="?").answer == "yes"
        asked = [predictor for predictor, _, _ in dspy.settings.trace]
    assert asked == [twin.one, twin.two.predict, program.one, program.two.predict]
    prompts = [str(entry["messages"]) for entry in lm.history]
    assert ["Look." in prompts[0], "found" in prompts[0]] == [True, True]
    assert ["Look." in prompts[2], "found" in prompts[2]] == [False, False]


def test_a_reset_copy_has_its_signatures_and_config_only(way: Way) -> None:
    program = edited(way(programs.hops))
    program.one.lm, program.one.traces, program.one.train = programs.answering(), [1], [2]
    program.one.config["n"] = 2
    fresh = program.reset_copy()
    assert (fresh.one.lm, fresh.one.traces, fresh.one.train, fresh.one.demos) == (None, [], [], [])
    assert (fresh.one.signature.instructions, fresh.one.config) == ("Look.", {"n": 2})
    assert demos(program) == [DEMO]


def test_a_program_with_a_lock_is_copied(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    program = way(programs.holding)
    program.predict.demos = [{"question": "q", "answer": "a"}]
    twin = program.deepcopy()
    with dspy.context(lm=programs.answering()):
        assert twin(question="?").answer == "yes"
    assert twin.predict.demos == program.predict.demos
    assert twin.predict is not program.predict
    assert bool(caplog.records) is not way.differs("attributes")


def test_pickling_drops_history_and_callbacks(way: Way) -> None:
    program = edited(way(programs.hops))
    program.callbacks, program.history = [programs.Noting()], [{}]
    twin = cloudpickle.loads(cloudpickle.dumps(program))
    assert (twin.callbacks, twin.history, demos(twin)) == ([], [], [DEMO])
    with dspy.context(lm=programs.answering()):
        assert twin(question="?").answer == "yes"


def test_a_state_is_dspys(way: Way) -> None:
    assert edited(way(programs.hops)).dump_state() == {
        "one": {
            "traces": [],
            "train": [],
            "demos": [DEMO],
            "signature": {
                "instructions": "Look.",
                "fields": [{"prefix": "Question:", "description": "${question}"}, {"prefix": "Query:", "description": "${query}"}],
            },
            "lm": None,
        },
        "two.predict": {
            "traces": [],
            "train": [],
            "demos": [],
            "signature": {
                "instructions": "Given the fields `query`, produce the fields `answer`.",
                "fields": [
                    {"prefix": "Query:", "description": "${query}"},
                    {"prefix": "Reasoning:", "description": "${reasoning}"},
                    {"prefix": "Answer:", "description": "${answer}"},
                ],
            },
            "lm": None,
        },
    }


def test_a_state_loads_into_another_and_is_used(way: Way) -> None:
    program, other, lm = edited(way(programs.hops)), way(programs.hops), programs.answering()
    assert other.load_state({**program.dump_state(), "metadata": {}, "unknown": {}}) is None
    assert other.dump_state() == program.dump_state()
    assert type(other.one.demos[0]) is dict, "as dspy's do, from JSON"
    with dspy.context(lm=lm):
        other(question="?")
    assert "Look." in str(lm.history[0]["messages"])


def test_a_state_out_of_json_mode_keeps_examples(way: Way) -> None:
    program, other = edited(way(programs.hops)), way(programs.hops)
    other.load_state(program.dump_state(json_mode=False))
    assert type(other.one.demos[0]) is dspy.Example
    assert list(other.one.demos[0].inputs().keys()) == ["question"]


def test_a_state_loads_whole_or_not_at_all(way: Way) -> None:
    program = edited(way(programs.hops))
    before = program.dump_state()
    state = way(programs.hops).dump_state()
    with pytest.raises(KeyError, match=r"two\.predict"):
        program.load_state({"one": state["one"]})
    bad = {**state, "two.predict": {**state["two.predict"], "lm": {"_dspy_lm_class": "nowhere.At", "model": "x"}}}
    with pytest.raises(ValueError, match="allow_unsafe_lm_state"):
        program.load_state(bad)
    assert program.dump_state() == before


def test_the_state_of_a_frozen_child_is_missed_by_an_unfrozen_one(way: Way) -> None:
    program, other = way(programs.outer), way(programs.outer)
    program.hops._compiled = True
    state = program.dump_state()
    with pytest.raises(KeyError, match=r"hops\.one"):
        other.load_state(state)
    other.hops._compiled = True
    other.load_state(state)


@pytest.mark.parametrize("suffix", [".json", ".pkl"])
def test_a_state_is_saved_and_loaded(way: Way, suffix: str, tmp_path: Path) -> None:
    program, other = edited(way(programs.hops)), way(programs.hops)
    path = tmp_path / f"state{suffix}"
    program.save(path)
    if suffix == ".pkl":
        with pytest.raises(ValueError, match="allow_pickle"):
            other.load(path)
    else:
        saved = json.loads(path.read_text())
        assert sorted(saved["metadata"]["dependency_versions"]) == ["cloudpickle", "dspy", "python"]
    other.load(path, allow_pickle=True)
    assert other.dump_state() == program.dump_state()


def test_a_whole_program_is_saved_and_loaded(way: Way, tmp_path: Path) -> None:
    program = edited(way(programs.hops))
    if way.differs("save_program"):
        with pytest.raises(Exception, match="program"):
            program.save(tmp_path / "program", save_program=True)
        return
    program.save(tmp_path / "program", save_program=True)
    assert sorted(path.name for path in (tmp_path / "program").iterdir()) == ["metadata.json", "program.pkl"]
    loaded = dspy.load(tmp_path / "program", allow_pickle=True)
    assert loaded.dump_state() == program.dump_state()
    with pytest.raises(ValueError, match="allow_pickle"):
        dspy.load(tmp_path / "program")


def test_a_path_that_does_not_fit_is_refused(way: Way, tmp_path: Path) -> None:
    program = way(programs.hops)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"must end with `\.json` or `\.pkl`"):
        program.save(tmp_path / "state.txt")
    with pytest.raises(ValueError, match=r"must end with `\.json` or `\.pkl`"):
        program.load(tmp_path / "state.txt")
    if not way.differs("save_program"):
        with pytest.raises(ValueError, match="without a suffix"):
            program.save(tmp_path / "state.json", save_program=True)
        with pytest.raises(NotADirectoryError):
            program.save(tmp_path / "file", save_program=True)


def test_another_version_of_dspy_is_a_warning(way: Way, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    program, path = way(programs.hops), tmp_path / "state.json"
    program.save(path)
    state = json.loads(path.read_text())
    state["metadata"]["dependency_versions"]["dspy"] = "0.1"
    path.write_text(json.dumps(state))
    with caplog.at_level(logging.WARNING):
        program.load(path)
    assert ["mismatch of dspy version" in record.getMessage() for record in caplog.records] == [True]


LOADS = 150
ROOM = 250  # frames left; with Python's usual limit dspy's own load_state dies at the 141st, and takes seconds for it


@contextmanager
def little_room() -> Iterator[None]:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + ROOM)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def load_often(program: Any, state: Any) -> None:
    with little_room():
        for _ in range(LOADS):
            program.load_state(state)


def test_a_state_can_be_loaded_again_and_again(way: Way) -> None:
    program = edited(way(programs.hops))
    state = program.dump_state()
    if way.name == "plain":
        with pytest.raises(RecursionError):
            load_often(program, state)
        return
    load_often(program, state)
    assert program.dump_state() == state
    with dspy.context(lm=programs.answering()):
        assert program(question="?").answer == "yes"


def test_instructions_can_be_changed_again_and_again(way: Way) -> None:
    program = way(programs.hops)
    for number in range(LOADS):
        program.one.signature = program.one.signature.with_instructions(f"Look {number}.")
    lm = programs.answering()
    with dspy.context(lm=lm):
        program(question="?")
    assert f"Look {LOADS - 1}." in str(lm.history[0]["messages"])
