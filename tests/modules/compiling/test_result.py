"""A result is another state of the same program, or it is refused; its score is the optimizer's own where there is one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import dspy
import pytest

import dspex_runtime as dx
from dspex_runtime.errors import CompileError
from dspex_runtime.modules.compiling.result import check, difference, score_of
from dspex_runtime.modules.tree import named_parameters


class Part(dspy.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.inner = dspy.Predict("a -> b")

    def forward(self, a: str) -> Any: ...


class Program(dx.Module):
    k = dx.Parameter(int, default=1)

    def __init__(self) -> None:
        self.answer = dspy.Predict("question -> answer")
        self.part = Part()
        self.parts = [Part()]

    def forward(self, question: str) -> Any: ...


def compared(root: Any, result: Any) -> Any:
    return difference(root, result, [name for name, _ in named_parameters(root)])


def test_nothing_that_changed_is_no_difference() -> None:
    root = Program()
    assert compared(root, root.reset_copy()) == ({}, {"compiled": []})


def test_states_flags_and_configs_are_the_difference() -> None:
    root, result = Program(), Program()
    result.answer.demos = [dspy.Example(question="q", answer="a")]
    result.part.inner.signature = result.part.inner.signature.with_instructions("Be brief.")
    result.parts[0].inner.config["temperature"] = 0.3
    result._compiled = result.part._compiled = True
    states, rest = compared(root, result)
    assert states["answer"]["demos"] == [{"question": "q", "answer": "a"}]
    assert states["part.inner"]["signature"]["instructions"] == "Be brief."
    assert states.keys() == {"answer", "part.inner"}
    assert rest == {"compiled": ["", "part"], "config": {"parts[0].inner": {"temperature": 0.3}}}


def test_parameters_of_ours_are_no_optimizers() -> None:
    root = Program()
    result = root.deepcopy()
    result.k = 7
    assert compared(root, result)[0] == {}


def test_what_is_in_a_frozen_child_is_part_of_the_rest() -> None:
    root, result = Program(), Program()
    for program in (root, result):
        program.part._compiled = True
    result.part.inner.demos = [{"a": "x", "b": "y"}]
    states, rest = difference(root, result, ["answer", "parts[0].inner"])
    assert states == {}
    assert rest["frozen"]["part.inner"]["demos"] == [{"a": "x", "b": "y"}]


def another_class() -> Any:
    return Part()


def more_parts() -> Any:
    program = Program()
    program.parts.append(Part())
    return program


def another_predictor() -> Any:
    program = Program()
    program.answer = dspy.ChainOfThought("question -> answer")
    return program


def another_forward() -> Any:
    program = Program()
    program.forward = lambda question: None
    return program


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (
            another_class,
            "COPRO made another program of 'qa', not another state of it: Part with inner instead of Program with k, answer",
        ),
        (more_parts, r"COPRO made another program of 'qa'"),
        (another_predictor, r"COPRO made another program of 'qa'"),
        (another_forward, r"COPRO replaced forward\(\) of 'qa': that is code"),
        (lambda: None, "COPRO returned NoneType, not a program"),
    ],
)
def test_another_program_is_refused(make: Any, why: str) -> None:
    with pytest.raises(CompileError, match=why):
        check(Program(), make(), "COPRO", "qa")


@pytest.mark.parametrize(
    ("said", "score"),
    [
        ({}, 50.0),
        ({"score": 80.0}, 80.0),
        ({"score": None, "candidate_programs": [{"score": 70.0}, {"score": 75.0}, ("odd",)]}, 75.0),
        ({"detailed_results": SimpleNamespace(val_aggregate_scores=[0.5, 0.75])}, 0.75),
        ({"score": True}, 50.0),
    ],
)
def test_the_score_is_the_optimizers_own_else_the_best_that_was_seen(said: dict[str, Any], score: float) -> None:
    result = Program()
    vars(result).update(said)
    assert score_of(Program(), result, 50.0) == score


def test_an_attribute_of_the_programs_own_is_no_score() -> None:
    root = Program()
    vars(root)["score"] = 3
    assert score_of(root, root.deepcopy(), None) is None
