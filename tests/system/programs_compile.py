"""What the tests of compile optimise: a program of two hops, an LM that answers from its prompt alone, metrics, optimizers."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from typing import Any
from zlib import crc32

import dspy
from dspy.teleprompt import BootstrapFewShotWithOptuna
from dspy.teleprompt.teleprompt import Teleprompter
from dspy.utils import DummyLM
from gates import until_exists

import dspex_runtime as dx

TRAINSET = [{"question": f"What is {n} and {n}?", "answer": str(2 * n)} for n in range(8)]


class Stateless(DummyLM):  # type: ignore[misc]
    """Gives each field that is asked for a value that follows from the messages: wrong in one of three, and never by chance."""

    def __init__(self) -> None:
        super().__init__([], follow_examples=True)

    def _use_example(self, messages: list[dict[str, Any]]) -> str:
        last = str(messages[-1]["content"])
        number = crc32("".join(str(message["content"]) for message in messages).encode())
        wanted = re.findall(r"\[\[ ## (\w+) ## \]\]", last.rpartition("Respond with")[2])
        if not wanted:  # GEPA asks without a signature
            return f"```\nInstruction {number % 1000}\n```"
        told = "\n\n".join(f"[[ ## {name} ## ]]\n{self._value(name, last, number)}" for name in wanted if name != "completed")
        return f"{told}\n\n[[ ## completed ## ]]"

    def _value(self, name: str, last: str, number: int) -> str:
        if name == "answer":
            asked = re.search(r"What is (\d+)", last)
            return str(2 * int(asked[1])) if asked and number % 3 else "no idea"
        return '{"hop.predict": "Be brief.", "judge": "Be strict."}' if name == "module_advice" else f"{name} {number % 1000}"


class TwoHops(dspy.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.hop = dspy.ChainOfThought("question -> answer")
        self.judge = dspy.Predict("question, answer -> verdict")
        self.judge.config["temperature"] = 0.5

    def forward(self, question: str) -> dspy.Prediction:
        answer = self.hop(question=question).answer
        return dspy.Prediction(answer=answer, verdict=self.judge(question=question, answer=answer).verdict)

    def pid(self) -> int:
        return os.getpid()

    def flags(self) -> list[Any]:
        return [self._compiled, self.judge.config, len(self.hop.predict.demos), self.hop.predict.signature.instructions]


class Declared(dx.Module):
    """A program with a parameter of ours beside its predictor."""

    temperature = dx.Parameter(float, default=0.2)

    def __init__(self) -> None:
        self.answer = dspy.ChainOfThought("question -> answer")

    def forward(self, question: str) -> Any:
        return self.answer(question=question)


def exact(example: Any, prediction: Any, trace: Any = None) -> bool:
    return bool(example.answer == prediction.answer)


def with_feedback(example: Any, prediction: Any, trace: Any = None, name: Any = None, pred_trace: Any = None) -> Any:
    """What GEPA wants."""
    return dspy.Prediction(score=float(exact(example, prediction)), feedback=f"The answer is {example.answer}.")


def raises(example: Any, prediction: Any, trace: Any = None) -> bool:
    raise LookupError("no such gold answer")


class Slow(Teleprompter):  # type: ignore[misc]
    """Waits at a gate, then gives every predictor an instruction. `size` MB are taken on the way."""

    def __init__(self, gate: str | None = None, instruction: str = "Compiled.", size: int = 0) -> None:
        self.gate, self.instruction, self.size = gate, instruction, size
        self.lock = threading.Lock()

    def compile(self, student: Any, *, trainset: list[Any]) -> Any:
        if self.gate is not None:
            Path(self.gate + ".begun").write_text(str(os.getpid()))
            taken = bytearray(self.size << 20)
            until_exists(self.gate)
            del taken
        for predictor in student.predictors():
            predictor.signature = predictor.signature.with_instructions(self.instruction)
        student._compiled = True
        student.judge.config["temperature"] = 0.9
        return student


class SeededOptuna(BootstrapFewShotWithOptuna):  # type: ignore[misc]
    """The one of dspy takes no seed."""

    def compile(self, student: Any, **options: Any) -> Any:
        import optuna

        create = optuna.create_study
        optuna.create_study = lambda **kwargs: create(**kwargs, sampler=optuna.samplers.TPESampler(seed=0))
        try:
            return super().compile(student, **options)
        finally:
            optuna.create_study = create


class Unpicklable(Slow):
    """Holds what no pickle can carry, and can be built again."""

    def __init__(self, instruction: str = "Built again.") -> None:
        super().__init__(instruction=instruction)
        self.thread = threading.Thread()


class Wraps(Teleprompter):  # type: ignore[misc]
    """Makes another program."""

    def compile(self, student: Any, *, trainset: list[Any]) -> Any:
        class Wrapper(dspy.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.inner = student

        return Wrapper()
