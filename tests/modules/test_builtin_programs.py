"""Every module that comes with dspy, hosted: it starts, and answers what it answers in this process."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import dspy
import pytest
from dspy.evaluate import CompleteAndGrounded, SemanticF1
from dspy.propose.grounded_proposer import GenerateModuleInstruction
from dspy.teleprompt.ensemble import Ensemble
from dspy.teleprompt.gepa.instruction_proposal import SingleComponentMultiModalProposer
from dspy.teleprompt.infer_rules import RulesInductionProgram
from dspy.utils import DummyLM

import dspex_runtime as dx
from helpers.runtimes import Standing

pytestmark = [
    pytest.mark.process,
    pytest.mark.filterwarnings("ignore"),  # dspy's own: experimental, deprecated
]

QA = "question -> answer"
ASKED = {"question": "what?"}
CODE = "```python\nprint(6 * 7)\n```"
DONE = "```python\nSUBMIT(answer='42')\n```"


def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


def reward(args: dict[str, Any], prediction: Any) -> float:
    return float(prediction.answer == "good")


@dataclasses.dataclass(frozen=True)
class Row:
    """A module of dspy: how it is made, what the LM says, and what it is called with."""

    make: Callable[[], Any]
    answers: list[dict[str, Any]]
    inputs: dict[str, Any] = dataclasses.field(default_factory=lambda: ASKED)


GRADED = {
    "example": dspy.Example(question="q", response="r"),
    "pred": dspy.Prediction(response="r", context="c"),
}
ROWS = {
    "Predict": Row(lambda: dspy.Predict(QA), [{"answer": "42"}]),
    "ChainOfThought": Row(lambda: dspy.ChainOfThought(QA), [{"reasoning": "r", "answer": "42"}]),
    "ReAct": Row(
        lambda: dspy.ReAct(QA, tools=[multiply, lambda: "never"]),
        [
            {"next_thought": "count", "next_tool_name": "multiply", "next_tool_args": {"a": 6, "b": 7}},
            {"next_thought": "done", "next_tool_name": "finish", "next_tool_args": {}},
            {"reasoning": "r", "answer": "42"},
        ],
    ),
    "ReActV2": Row(
        lambda: dspy.ReActV2(QA, tools=[multiply]),
        [
            {"next_thought": "count", "tool_calls": '{"tool_calls": [{"name": "multiply", "args": {"a": 6, "b": 7}}]}'},
            {"next_thought": "done", "tool_calls": '{"tool_calls": [{"name": "submit", "args": {"answer": "42"}}]}'},
        ],
    ),
    "BestOfN": Row(
        lambda: dspy.BestOfN(dspy.Predict(QA), N=3, reward_fn=reward, threshold=1.0), [{"answer": "bad"}, {"answer": "good"}] * 3
    ),
    "Refine": Row(
        lambda: dspy.Refine(dspy.Predict(QA), N=2, reward_fn=lambda args, prediction: 1.0, threshold=1.0), [{"answer": "good"}] * 3
    ),
    "MultiChainComparison": Row(
        lambda: dspy.MultiChainComparison(QA, M=2),
        [{"rationale": "r", "answer": "42"}],
        {"completions": [{"rationale": "x", "answer": "1"}, {"rationale": "y", "answer": "2"}], **ASKED},
    ),
    "ProgramOfThought": Row(
        lambda: dspy.ProgramOfThought(QA, interpreter_factory=dspy.LocalInterpreter),
        [{"reasoning": "r", "generated_code": CODE}, {"reasoning": "r", "answer": "42"}],
    ),
    "CodeAct": Row(
        lambda: dspy.CodeAct(QA, tools=[multiply], max_iters=1, interpreter_factory=dspy.LocalInterpreter),
        [{"generated_code": CODE, "finished": "True"}, {"reasoning": "r", "answer": "42"}],
    ),
    "RLM": Row(
        lambda: dspy.RLM(QA, max_iters=2, interpreter_factory=dspy.LocalInterpreter), [{"reasoning": "r", "code": DONE}] * 3
    ),
    "Flex": Row(lambda: dspy.Flex(QA, interpreter_factory=dspy.LocalInterpreter), [{"answer": "42"}] * 3),
    "SemanticF1": Row(SemanticF1, [{"reasoning": "r", "recall": "0.5", "precision": "1.0"}], GRADED),
    "CompleteAndGrounded": Row(
        CompleteAndGrounded,
        [
            {"reasoning": "r", "ground_truth_key_ideas": "k", "system_response_key_ideas": "s", "discussion": "d"}
            | {"system_response_claims": "c", "completeness": "0.5", "groundedness": "1.0"}
        ]
        * 2,
        GRADED,
    ),
    "GenerateModuleInstruction": Row(
        lambda: GenerateModuleInstruction(use_dataset_summary=False, use_task_demos=False, use_tip=False),
        [{"proposed_instruction": "Answer."}],
        {"demo_candidates": None, "pred_i": 0, "demo_set_i": 0, "program": dspy.Predict(QA), "previous_instructions": "none"}
        | {"data_summary": "none"},
    ),
    "RulesInductionProgram": Row(
        lambda: RulesInductionProgram(3), [{"reasoning": "r", "natural_language_rules": " be brief "}], {"examples_text": "x"}
    ),
    "SingleComponentMultiModalProposer": Row(
        SingleComponentMultiModalProposer,
        [{"improved_instruction": "Better."}],
        {"current_instruction": "Answer.", "reflective_dataset": [{"Inputs": {"q": "x"}, "Feedback": "no"}]},
    ),
    "EnsembledProgram": Row(
        lambda: Ensemble(reduce_fn=dspy.majority).compile([dspy.Predict(QA) for _ in range(3)]),
        [{"answer": "7"}, {"answer": "42"}, {"answer": "42"}],
    ),
}
# In the installed dspy it cannot be built at all: it asks for a dspy.TypedPredictor, which is gone.
BROKEN = {"Avatar"}


@pytest.fixture(scope="module")
def shared_runtime(standing: Standing) -> dx.Runtime:
    return standing("builtin")


@pytest.fixture
def rt(shared_runtime: dx.Runtime) -> dx.Runtime:
    return shared_runtime


def shown(value: Any) -> Any:
    """A value without what is drawn anew at every call: the ids of tool calls."""
    return {key: field for key, field in value.items() if key != "history"} if isinstance(value, dspy.Example) else value


@pytest.mark.parametrize("name", ROWS)
def test_a_module_of_dspy_answers_as_in_this_process(rt: dx.Runtime, name: str) -> None:
    row = ROWS[name]
    program = row.make()
    assert type(program).__name__ == name
    rt.start(program, id=name, lm={"class": "dspy.utils:DummyLM", "args": [row.answers]})
    hosted = rt.ref(name).call(**row.inputs)
    with dspy.context(lm=DummyLM(row.answers)):
        here = row.make()(**row.inputs)
    assert shown(hosted) == shown(here)
    rt.delete(name)


def test_the_table_has_every_module_of_the_installed_dspy() -> None:
    found: set[Any] = set()
    rest = [dspy.Module]
    while rest:
        found |= (new := set(rest.pop().__subclasses__()) - found)
        rest += new
    names = {cls.__name__ for cls in found if cls.__module__.partition(".")[0] == "dspy"}
    assert names | {"EnsembledProgram"} <= ROWS.keys() | BROKEN
