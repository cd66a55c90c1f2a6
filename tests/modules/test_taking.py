"""What a call of a program takes, as far as its code says so."""

from __future__ import annotations

from typing import Any

import dspy
import pytest

import dspex_runtime as dx
from dspex_runtime.modules.taking import is_awaited, takes


class Plain(dspy.Module):
    def forward(self, question: str, k: int = 3, *, deep: bool = False) -> Any: ...


class Declared(dx.Module):
    answer = dx.predictor("question, passages -> answer")

    def forward(self, question: str) -> Any: ...


class Anything(dspy.Module):
    def forward(self, question: str, **more: Any) -> Any: ...


class Positions(dspy.Module):
    def forward(self, *args: Any) -> Any: ...


class Awaited(dspy.Module):
    async def aforward(self, question: str) -> Any: ...


class AsyncForward(dspy.Module):
    async def forward(self, question: str) -> Any: ...


class OwnCall(dspy.Module):
    def __call__(self, question: str) -> Any: ...


def put_into_the_instance() -> Any:
    module = Plain()
    vars(module)["forward"] = lambda text: text
    return module


PROGRAMS: list[tuple[Any, list[str] | None, bool]] = [
    (Plain(), ["question", "k", "deep"], False),
    (Declared(), ["question"], False),
    (Anything(), None, False),
    (Positions(), [], False),
    (Awaited(), ["question"], True),
    (AsyncForward(), ["question"], True),
    (OwnCall(), None, False),
    (put_into_the_instance(), ["text"], False),
    (dspy.Predict("question, passages -> answer"), ["question", "passages"], False),
    (dspy.ChainOfThought("question -> answer"), ["question"], False),
    (dspy.ReAct("question, hint -> answer", tools=[]), ["question", "hint"], False),
]


@pytest.mark.parametrize(("module", "names", "awaited"), PROGRAMS, ids=[type(program[0]).__name__ for program in PROGRAMS])
def test_what_a_call_takes(module: Any, names: list[str] | None, awaited: bool) -> None:
    assert takes(module) == names
    assert is_awaited(module) is awaited
