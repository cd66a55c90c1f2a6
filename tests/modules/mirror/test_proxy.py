"""A proxy is a dspy.Module whose calls run elsewhere; over a program hosted in this process. With processes: test_mirror."""

from __future__ import annotations

import asyncio
import copy
import inspect
from typing import Any

import dspy
import pytest
from dspy.utils import DummyLM
from dspy.utils.callback import BaseCallback

from dspex_runtime.errors import NoProcessError
from dspex_runtime.modules.mirror import step
from dspex_runtime.modules.mirror.following import unfollowed
from dspex_runtime.modules.mirror.proxy import ModuleProxy
from dspex_runtime.modules.relay.context import settings_now
from dspex_runtime.modules.relay.events import live_of
from dspex_runtime.modules.tree import TreeWatch
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


def test_what_a_call_is_told_of_is_found_without_another_look(ref: LocalRef, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = ModuleProxy(ref)
    proxy.predict.callbacks = [BaseCallback()]
    ref.push_edits()
    (mirror,) = ref._mirrors
    monkeypatch.setattr(TreeWatch, "differs", lambda _: pytest.fail("looked again"))
    live = live_of(settings_now(), mirror, None)
    assert live is not None
    assert live["parts"] == ["predict"]
    proxy.predict.callbacks.clear()
    assert live_of(settings_now(), mirror, None) is None


def test_a_call_knows_the_parts_that_there_are(ref: LocalRef) -> None:
    proxy = ModuleProxy(ref)
    first = proxy.predict
    (mirror,) = ref._mirrors
    assert mirror.parts() == (("predict", first, vars(first)),)
    assert mirror.parts() is mirror.parts()
    proxy.predict = second = dspy.Predict("question -> answer")
    ref.push_edits()
    assert [(name, part is second, own is vars(second)) for name, part, own in mirror.parts()] == [("predict", True, True)]
    copied = proxy.deepcopy()
    with dspy.context(lm=DummyLM([{"answer": "there"}] * 2)):
        copied(question="q")
        copied.predict = third = dspy.Predict("question -> answer")
        copied(question="q")
    assert [part is third for _, part, _ in copied._learn().parts()] == [True]


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


# -- another program behind the same reference


class Renamed(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hop = dspy.Predict("question -> query")
        self.predict = dspy.ChainOfThought("query -> answer")

    def forward(self, question: str) -> Any:
        return self.predict(query=self.hop(question=question).query)


def _mirror(proxy: Any) -> Any:
    return vars(dspy.BaseModule)["__dict__"].__get__(proxy)["$mirror"]


def test_after_a_swap_it_shows_the_other_program(ref: LocalRef) -> None:
    proxy = ModuleProxy(ref)
    kept = proxy.predict
    assert inspect.getsource(type(proxy)) == inspect.getsource(Answering)
    ref.swapped(Renamed())
    assert proxy.predict is kept, "as long as nobody says so"
    _mirror(proxy).outdated()
    assert [name for name, _ in proxy.named_predictors()] == ["hop", "predict.predict"]
    assert (type(proxy).__name__, isinstance(proxy.predict, dspy.ChainOfThought)) == ("Renamed", True)
    assert inspect.getsource(type(proxy)) == inspect.getsource(Renamed)
    proxy.hop.demos = [{"question": "q", "query": "r"}]
    _mirror(proxy).push()
    assert ref.host._module.hop.demos == proxy.hop.demos


def test_the_source_of_a_class_of_the_same_name_is_that_of_the_other_one(ref: LocalRef) -> None:
    proxy = ModuleProxy(ref)
    assert proxy.named_predictors()
    cls = type(proxy)
    assert inspect.getsource(cls) == inspect.getsource(Answering)

    def another() -> type:
        class Answering(Renamed):
            """Another one."""

            def forward(self, question: str) -> Any:
                return super().forward(question)

        return Answering

    ref.swapped(another()())
    _mirror(proxy).outdated()
    assert proxy.named_predictors()
    assert type(proxy) is cls
    assert "Another one" in inspect.getsource(cls)


def test_a_program_becomes_a_predict_and_back(ref: LocalRef) -> None:
    proxy = ModuleProxy(ref)
    assert not isinstance(proxy, dspy.Predict)
    for program, is_predict in ((dspy.Predict("q -> a"), True), (Answering(), False)):
        ref.swapped(program)
        _mirror(proxy).outdated()
        assert [name for name, _ in proxy.named_predictors()] == ["self" if is_predict else "predict"]
        assert isinstance(proxy, dspy.Predict) is is_predict


def test_one_without_a_table_is_asked_about_after_a_while(ref: LocalRef, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(step, "monotonic", lambda: now)
    proxy = ModuleProxy(ref)
    assert [name for name, _ in proxy.named_predictors()] == ["predict"]
    now += step.NO_TABLE_FOR_S + 0.1
    assert proxy.named_predictors()
    assert ref.calls.count("$mirror") == 1, "it is in the same process"
    ref.swapped(Renamed())
    assert "hop" not in proxy.__dict__
    now += step.NO_TABLE_FOR_S + 0.1
    assert "hop" in proxy.__dict__


def test_what_was_edited_meanwhile_stays_an_edit(ref: LocalRef) -> None:
    proxy = ModuleProxy(ref)
    demos = [{"question": "q", "answer": "a"}]
    proxy.predict.demos = demos
    ref.swapped(Answering())
    _mirror(proxy).outdated()
    assert proxy.predict.demos == demos
    _mirror(proxy).push()
    assert ref.host._module.predict.demos == demos
