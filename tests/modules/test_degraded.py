"""A program called while something is down: the same object in everything but what answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import dspy
import pytest

import dspex_runtime as dx
from dspex_runtime.host import sub_modules
from dspex_runtime.host.context import current_request
from dspex_runtime.host.mailbox import Request
from dspex_runtime.modules import degraded
from dspex_runtime.modules.degraded import degrades, is_async, view
from dspex_runtime.modules.hosting import ModuleHost
from dspex_runtime.modules.relay.protocol import METHODS


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


@pytest.mark.parametrize(("program", "name"), [(Both, "forward"), (Ours, "aforward")])
def test_what_is_set_while_it_is_degraded_is_the_programs_own_afterwards(program: type[Any], name: str) -> None:
    made, function = program(), lambda question: "mine"
    setattr(view(made, None), name, function)
    assert {key: value for key, value in vars(made).items() if key in ("forward", "aforward")} == {name: function}


class FakeModule:
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return "spare", args, kwargs

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        return "awaited", args, kwargs


@pytest.fixture
def looked_for(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of modules that were looked for, which blocks; "spare" is one."""
    names: list[str] = []

    def reference(id: str) -> Any:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        names.append(id)
        return {"spare": FakeModule()}[id]

    monkeypatch.setattr(sub_modules, "reference", reference)
    caches = sub_modules.fallback, degraded._class_for
    for cache in caches:
        cache.cache_clear()
    yield names
    for cache in caches:
        cache.cache_clear()


@pytest.mark.usefixtures("looked_for")
@pytest.mark.parametrize("program", [Plain, OwnCall])
def test_another_module_answers_where_the_class_has_nothing(program: type[Any]) -> None:
    assert not degrades(program)
    assert view(program(), "spare")(question="q") == ("spare", (), {"question": "q"})


@pytest.mark.usefixtures("looked_for")
def test_it_is_awaited_where_the_caller_awaits() -> None:
    assert asyncio.run(view(Plain(), "spare").acall(question="q")) == ("awaited", (), {"question": "q"})


def test_the_other_module_is_looked_for_once_and_not_while_anybody_awaits(looked_for: list[str]) -> None:
    for program in (Plain(), OwnCall(), Plain()):
        seen = view(program, "spare")
        for _ in range(2):
            assert seen(question="q")[0] == "spare"
            assert asyncio.run(seen.acall(question="q"))[0] == "awaited"
    assert looked_for == ["spare"]


@pytest.mark.parametrize("method", ["__call__", *METHODS])
def test_what_answers_a_call_is_known_before_it_may_be_awaited(looked_for: list[str], method: str) -> None:
    hosted = ModuleHost(Plain)
    hosted.build((), {})
    request = Request(None, 1, method, [], {})
    token = current_request.set(request)
    try:
        with pytest.raises(KeyError):
            hosted.find_degraded(method, "none")
        assert request.degraded
        assert hosted.find_degraded(method, "spare") is not None
    finally:
        current_request.reset(token)
    assert looked_for == ["none", "spare"]


def test_methods_are_run_as_ever(looked_for: list[str]) -> None:
    hosted = ModuleHost(Plain)
    hosted.build((), {})
    assert hosted.find_degraded("$predict", "spare") is None
    assert looked_for == []


@pytest.mark.usefixtures("looked_for")
def test_the_class_goes_before_the_other_module() -> None:
    assert view(Both(), "spare")(question="q") == "degraded q"
