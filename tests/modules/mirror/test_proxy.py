"""A proxy is a dspy.Module whose calls run elsewhere; over a program hosted in this process. With processes: test_mirror."""

from __future__ import annotations

import asyncio
import copy
import inspect
from typing import Any

import dspy
import pytest
from dspy.utils import DummyLM

from dspex_runtime.errors import NoProcessError
from dspex_runtime.modules.mirror.following import unfollowed
from dspex_runtime.modules.mirror.proxy import ModuleProxy
from helpers.local_ref import LocalRef


class Plain(dspy.Module):
    def forward(self, question: str) -> Any:
        return dspy.Prediction(answer="here")


class Answering(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.predict = dspy.Predict("question -> answer")

    def forward(self, question: str) -> Any:
        return self.predict(question=question)


@pytest.fixture
def ref() -> LocalRef:
    return LocalRef(Answering())


def test_a_call_goes_to_the_process() -> None:
    ref = LocalRef(Plain())
    proxy = ModuleProxy(ref)
    assert proxy(question="q").answer == "here"
    assert asyncio.run(proxy.acall(question="r")).answer == "here"
    assert ref.calls == ["$dspy", "$dspy.async"], "and nothing else does"


def test_it_is_a_module_without_a_word_to_the_process(ref: LocalRef) -> None:
    proxy = ModuleProxy(ref)
    assert isinstance(proxy, dspy.Module)
    assert (proxy.callbacks, proxy.history, proxy.dx) == ([], [], ref)
    proxy.history.append({})
    assert ref.calls == []
    assert not isinstance(proxy, dspy.Predict)
    assert ref.calls == ["$mirror"]


def test_a_predict_is_one_whatever_is_asked_first() -> None:
    for ask in (
        lambda p: isinstance(p, dspy.Predict),
        lambda p: p.signature,
        lambda p: p.dump_state(),
        lambda p: p.reset() or isinstance(p, dspy.Predict),
        lambda p: setattr(p, "demos", [{"question": "q"}]) or p.demos,
        repr,
        copy.deepcopy,
    ):
        here, there = dspy.Predict("question -> answer"), ModuleProxy(LocalRef(dspy.Predict("question -> answer")))
        assert str(ask(there)) == str(ask(here))
        assert there.predictors() == [there]
        assert type(there).__name__ == "Predict"


def test_dspy_warns_who_calls_forward_and_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    proxy = ModuleProxy(LocalRef(Plain()))
    assert proxy(question="q").answer == "here"
    assert caplog.messages == []
    assert proxy.named_parameters() == []
    assert proxy.forward(question="q").answer == Plain().forward(question="q").answer
    ours, dspys = caplog.records
    assert (ours.name, ours.levelno, ours.getMessage()) == (dspys.name, dspys.levelno, dspys.getMessage())


def test_a_forward_that_is_put_in_its_place_is_called(ref: LocalRef) -> None:
    proxy = ModuleProxy(ref)
    proxy.forward = lambda **_: dspy.Prediction(answer="patched")
    assert (proxy(question="q").answer, proxy.deepcopy()(question="q").answer) == ("patched", "patched")
    del proxy.forward
    with dspy.context(lm=DummyLM([{"answer": "there"}])):
        assert proxy(question="q").answer == "there"


def test_its_attributes_are_found_without_a_python_function() -> None:
    assert ModuleProxy.__getattribute__ is object.__getattribute__
    assert list(inspect.signature(ModuleProxy.forward).parameters) == ["self", "args", "kwargs"]


def test_what_is_ours_cannot_be_set(ref: LocalRef) -> None:
    with pytest.raises(AttributeError, match="'dx' is the proxy's own"):
        ModuleProxy(ref).dx = None


def test_a_process_that_is_down_is_an_error_only_of_what_needs_it(ref: LocalRef) -> None:
    proxy = ModuleProxy(ref)
    ref.down = NoProcessError(id="sup/qa")
    assert isinstance(proxy, dspy.Module)
    assert not isinstance(proxy, dspy.Predict)
    assert repr(proxy) == "<ModuleProxy 'sup/qa'>"
    for use in (lambda: proxy.predict, proxy.named_parameters, proxy.deepcopy, proxy.dump_state, lambda: proxy(question="q")):
        with pytest.raises(NoProcessError):
            use()
    ref.down = None
    assert [name for name, _ in proxy.named_parameters()] == ["predict"]


def test_special_names_are_not_asked_for(ref: LocalRef) -> None:
    proxy = ModuleProxy(ref)
    assert not hasattr(proxy, "__array__")
    assert ref.calls == []


def test_where_a_program_is_hosted_a_proxy_inside_it_is_not_looked_into(ref: LocalRef) -> None:
    proxy = ModuleProxy(ref)
    with unfollowed():
        assert (proxy.named_parameters(), isinstance(proxy, dspy.Predict)) == ([], False)
    assert ref.calls == []
    assert proxy.named_parameters() != []
    with unfollowed():
        assert proxy.named_parameters() == []


def test_two_threads_of_control_have_two_proxies(ref: LocalRef) -> None:
    one = ModuleProxy(ref)
    two = copy.copy(one)
    one.predict.demos = [{"question": "q", "answer": "a"}]
    with dspy.context(lm=DummyLM([{"answer": "there"}])):
        one(question="q")
    assert ref.host._module.predict.demos == [{"question": "q", "answer": "a"}]
    assert two.predict is not one.predict
    assert two.dx is one.dx
    copied = copy.copy(one.deepcopy())
    copied.predict.demos = []
    assert one.predict.demos != []


def test_its_names_are_listed(ref: LocalRef) -> None:
    proxy = ModuleProxy(ref)
    assert "dx" in dir(proxy)
    assert proxy.predict is not None
    assert "predict" in dir(proxy)
