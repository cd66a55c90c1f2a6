"""Programs that the tests of mirrors host, and the same things done to them here and behind a proxy."""

from __future__ import annotations

import threading
from typing import Any
from zlib import crc32

import dspy
from dspy.utils import DummyLM

import dspex_runtime as dx


class Sub(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.p = dspy.Predict("q -> a")

    def forward(self, q: str) -> Any:
        return self.p(q=q)


class Nested(dx.Module):
    """Everything that dspy gives a name to: lists, dicts, tuples, shared and frozen parts, dx.Parameters."""

    temperature = dx.Parameter(float, default=0.2, min=0, max=2)
    tags = dx.Parameter(list, default=["a"])

    def __init__(self) -> None:
        super().__init__()
        self.a = [dspy.Predict("x -> y"), Sub(), [dspy.Predict("n -> m")], {"k": dspy.Predict("d -> e")}, 7]
        self.t = (dspy.Predict("v -> w"),)
        self.d = {"k": dspy.Predict("x -> y"), 3: dspy.Predict("x -> y"), "sub": Sub(), "l": [dspy.Predict("x -> y")], "n": None}
        self.sub = Sub()
        self.dup = self.sub
        self.cot = dspy.ChainOfThought("question -> answer")
        self.frozen = Sub()
        self.frozen._compiled = True
        self.corpus = ["a passage", "another"]

    def forward(self, question: str) -> Any:
        return self.cot(question=question)


class TwoHops(dspy.Module):
    """What optimizers are tried on."""

    def __init__(self) -> None:
        super().__init__()
        self.rephrase = dspy.Predict("question -> query")
        self.answer = dspy.ChainOfThought("question, query -> answer")

    def forward(self, question: str) -> Any:
        query = self.rephrase(question=question).query
        return self.answer(question=question, query=query)


class Remembering(dspy.Module):
    """Has plain attributes, one of which its calls change, and methods."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = dspy.Predict("question -> answer")
        self.memory: list[str] = []
        self.lock = threading.Lock()

    def forward(self, question: str) -> Any:
        self.memory.append(question)
        return dspy.Prediction(answer=",".join(self.memory))

    def grow(self, n: int) -> int:
        self.extra = [dspy.Predict("x -> y") for _ in range(n)]
        return len(self.extra)

    def learn(self, question: str, answer: str) -> None:
        self.answer.demos = [*self.answer.demos, dspy.Example(question=question, answer=answer)]


TRAINSET = [dspy.Example(question=f"what is {n}?", answer=f"it is {n}").with_inputs("question") for n in range(8)]


def metric(example: Any, prediction: Any, trace: Any = None) -> bool:
    """Every other answer is right."""
    return str(prediction.answer).endswith(("0", "2", "4", "6"))


class PromptedLM(DummyLM):
    """Its answers are made of the whole prompt: another demo, another instruction, and it answers something else."""

    WORDS = ("query", "reasoning", "discussion", "natural_language_rules", "proposed_instruction", "summary", "observations",
             "proposed_prefix_for_output_field", "program_description", "module_description")  # fmt: skip

    def __init__(self) -> None:
        super().__init__({}, follow_examples=True)

    def _use_example(self, messages: list[dict[str, Any]]) -> str:
        number = crc32("".join(str(message["content"]) for message in messages).encode())
        fields = {word: f"{word} {number % 97}" for word in self.WORDS} | {"answer": f"it is {number % 8}", "score": "1.5"}
        fields["advice"] = fields["module_advice"] = f'{{"answer.predict": "think {number % 7}", "rephrase": "think"}}'
        text: str = self._format_answer_fields(fields)
        return text


def learned(program: Any) -> list[Any]:
    """What an optimizer made of a program, as plain data."""
    return [
        (name, p.signature.instructions, [dict(demo) for demo in p.demos], p._compiled) for name, p in program.named_predictors()
    ] + [bool(program._compiled)]
