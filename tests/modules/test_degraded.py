"""A program called while something is down: the same object in everything but what answers."""

from __future__ import annotations

import asyncio
from typing import Any

import dspy
import pytest

import dspex_runtime as dx
from dspex_runtime.modules import degraded
from dspex_runtime.modules.degraded import degrades, is_async, view


class Both(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.answer = dspy.Predict("question -> answer")
        self.called = 0

    def forward(self, question: str) -> str:
        return f"forward {question}"

    def forward_degraded(self, question: str) -> str:
        self.called += 1
        return f"degraded {question}"


class Ours(dx.Module):
    level = dx.Parameter(int, default=1)

    def forward(self, question: str) -> str:
        return "forward"

    async def forward_degraded(self, question: str) -> str:
        return f"degraded {question} {self.level}"


class Plain(dspy.Module):
    def forward(self, question: str) -> str:
        return "forward"


class OwnCall(dspy.Module):
    def __call__(self, question: str) -> str:
        return "own"


def test_it_is_the_same_program_in_everything_else() -> None:
    program = Both()
    seen = view(program, None)
    assert seen(question="q") == "degraded q"
    assert program.called == seen.called == 1
    assert seen.answer is program.answer
    seen.note = "kept"
    assert program.note == "kept"
    assert isinstance(seen, Both)
    assert (type(seen).__qualname__, type(seen).__module__) == (Both.__qualname__, Both.__module__)
    assert program(question="q") == "forward q"
    assert [name for name, _ in seen.named_predictors()] == ["answer"]


def test_it_is_called_as_dspy_calls_a_program() -> None:
    heard: list[Any] = []

    class Callback(dspy.utils.BaseCallback):  # type: ignore[misc]
        def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
            heard.append((isinstance(instance, Both), inputs["kwargs"]))

    with dspy.context(callbacks=[Callback()]):
        view(Both(), None)(question="q")
    assert heard == [(True, {"question": "q"})]


def test_an_async_one_is_awaited_and_has_the_parameters() -> None:
    program = Ours()
    program.level = 7
    assert is_async(program, None)
    assert asyncio.run(view(program, None).acall(question="q")) == "degraded q 7"
    assert not is_async(Both(), None)


def test_a_forward_on_the_instance_is_the_programs_own() -> None:
    program = Both()
    program.forward = lambda question: "mine"
    assert view(program, None)(question="q") == "degraded q"
    assert program(question="q") == "mine"


class FakeModule:
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return "spare", args, kwargs

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        return "awaited", args, kwargs


@pytest.fixture
def spare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(degraded, "reference", {"spare": FakeModule()}.__getitem__)


@pytest.mark.usefixtures("spare")
@pytest.mark.parametrize("program", [Plain, OwnCall])
def test_another_module_answers_where_the_class_has_nothing(program: type[Any]) -> None:
    assert not degrades(program)
    assert view(program(), "spare")(question="q") == ("spare", (), {"question": "q"})


@pytest.mark.usefixtures("spare")
def test_it_is_awaited_where_the_caller_awaits() -> None:
    assert asyncio.run(view(Plain(), "spare").acall(question="q")) == ("awaited", (), {"question": "q"})


@pytest.mark.usefixtures("spare")
def test_the_class_goes_before_the_other_module() -> None:
    assert view(Both(), "spare")(question="q") == "degraded q"
