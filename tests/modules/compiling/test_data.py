"""Which fields are inputs, and that an example which lacks one is named before an optimizer spends anything."""

from __future__ import annotations

from typing import Any

import dspy
import pytest

from dspex_runtime.errors import CompileError
from dspex_runtime.modules.compiling.data import datasets, expected_inputs


class Named(dspy.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.answer = dspy.Predict("question, context -> answer")

    def forward(self, question: str, k: int = 3) -> Any: ...


class Any_(dspy.Module):  # type: ignore[misc]  # noqa: N801
    def __init__(self) -> None:
        super().__init__()
        self.first = dspy.Predict("question -> query")
        self.second = dspy.Predict("question, query -> answer")

    def forward(self, **kwargs: Any) -> Any: ...


class Awaited(dspy.Module):  # type: ignore[misc]
    async def aforward(self, text: str) -> Any: ...


def inputs(root: dspy.Module, *examples: Any, inputs: Any = None) -> list[Any]:
    found, _ = datasets(root, list(examples), None, inputs)
    return [sorted(example._input_keys) for example in found]


@pytest.mark.parametrize(
    ("root", "taken", "required"),
    [
        (Named(), ["question", "k"], ["question"]),
        (Any_(), ["question", "query"], []),
        (Awaited(), ["text"], ["text"]),
        (dspy.Predict("a, b -> c"), ["a", "b"], ["a", "b"]),
        (dspy.ChainOfThought("a -> c"), ["a"], ["a"]),
        (dspy.ReAct("a -> c", tools=[]), ["a"], ["a"]),
    ],
)
def test_what_a_program_takes_is_its_forwards_else_its_signatures(root: Any, taken: list[str], required: list[str]) -> None:
    assert expected_inputs(root) == (taken, required)


def test_inputs_are_what_is_said_else_what_the_example_says_else_what_the_program_takes() -> None:
    fields = {"question": "q", "context": "c", "answer": "a"}
    said = dspy.Example(**fields).with_inputs("question", "context")
    assert inputs(Named(), fields, said, dspy.Example(**fields)) == [["question"], ["context", "question"], ["question"]]
    assert inputs(Named(), fields, said, inputs=["context"]) == [["context"], ["context"]]


@pytest.mark.parametrize(
    ("root", "trainset", "options", "text", "hint"),
    [
        (Named(), [], {}, "trainset is empty", None),
        (Named(), [{"question": 1}, {"qestion": 1}], {}, r"trainset\[1\] has no 'question', which the program takes",
         "'qestion' is one of its keys"),
        (Named(), [{"question": 1}], {"inputs": ["context"]}, r"trainset\[0\] has no 'context', which `inputs` names", None),
        (Any_(), [{"other": 1}], {}, r"trainset\[0\] has no inputs: .* the program takes question, query", "inputs="),
        (Named(), ["text"], {}, r"trainset\[0\] is an Example or a map of fields; got 'text'", None),
    ],
)  # fmt: skip
def test_an_example_that_does_not_fit_is_named(root: Any, trainset: Any, options: Any, text: str, hint: str | None) -> None:
    with pytest.raises(CompileError, match=text) as caught:
        datasets(root, trainset, None, options.get("inputs"))
    assert (hint or "") in (caught.value.hint or "")


def test_the_valset_is_named_too() -> None:
    with pytest.raises(CompileError, match="valset is empty"):
        datasets(Named(), [{"question": 1}], [], None)
