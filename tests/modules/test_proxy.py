"""A proxy is an empty dspy.Module whose calls run elsewhere."""

from __future__ import annotations

import asyncio
import copy
import inspect
import pickle
from typing import Any

import dspy
import pytest

from dspex_runtime.modules.proxy import ModuleProxy


class FakeRef:
    id = "sup/qa"

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def call(self, method: str, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        self.calls.append((method, args, kwargs))
        return dspy.Prediction(answer="here")

    async def acall(self, method: str, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        return self.call(method, *args, **kwargs)


def test_a_call_goes_to_the_process() -> None:
    ref = FakeRef()
    proxy = ModuleProxy(ref)
    assert proxy(question="q").answer == "here"
    assert asyncio.run(proxy.acall(question="r")).answer == "here"
    assert ref.calls == [("__call__", (), {"question": "q"}), ("__call__", (), {"question": "r"})]


def test_it_is_an_empty_dspy_module() -> None:
    proxy = ModuleProxy(FakeRef())
    assert isinstance(proxy, dspy.Module)
    assert proxy.named_parameters() == []
    assert proxy.named_predictors() == []
    with pytest.raises(ValueError, match="LM"):
        proxy.get_lm()


def test_it_fits_into_another_program() -> None:
    class Outer(dspy.Module):
        def __init__(self, inner: dspy.Module) -> None:
            super().__init__()
            self.inner = inner
            self.own = dspy.Predict("q -> a")

        def forward(self, question: str) -> Any:
            return self.inner(question=question)

    outer = Outer(ModuleProxy(FakeRef()))
    assert outer(question="q").answer == "here"
    assert [name for name, _ in outer.named_parameters()] == ["own"]
    assert outer.deepcopy().inner.dx is outer.inner.dx


def test_dspy_warns_who_calls_forward_and_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    class Ordinary(dspy.Module):
        def forward(self, **_: Any) -> Any:
            return dspy.Prediction(answer="here")

    proxy = ModuleProxy(FakeRef())
    assert proxy(question="q").answer == "here"
    assert caplog.messages == []
    assert proxy.forward(question="q").answer == Ordinary().forward(question="q").answer
    ours, dspys = caplog.records
    assert (ours.name, ours.levelno) == (dspys.name, dspys.levelno)
    assert ours.getMessage() == dspys.getMessage().replace("Ordinary", "ModuleProxy")


def test_its_attributes_are_found_without_a_python_function() -> None:
    assert ModuleProxy.__getattribute__ is object.__getattribute__
    assert list(inspect.signature(ModuleProxy.forward).parameters) == ["self", "args", "kwargs"]


def test_copies_share_the_process() -> None:
    proxy = ModuleProxy(FakeRef())
    for other in (copy.deepcopy(proxy), copy.copy(proxy), proxy.deepcopy(), proxy.reset_copy()):
        assert other is not proxy
        assert other.dx is proxy.dx


def test_it_cannot_be_pickled_and_says_what_to_do() -> None:
    with pytest.raises(TypeError, match="sup/qa"):
        pickle.dumps(ModuleProxy(FakeRef()))


def test_its_repr_names_the_process() -> None:
    assert repr(ModuleProxy(FakeRef())) == "<ModuleProxy 'sup/qa'>"
