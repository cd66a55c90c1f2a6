"""Objects of dspy from what a configuration says; a mistake is a failed start that never shows an argument."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import dspy
import pytest
from dspy.utils import DummyLM
from dspy.utils.callback import BaseCallback

from dspex_runtime.errors import StartError
from dspex_runtime.modules.making import make_adapter, make_callbacks, make_factory, make_lm, make_rm
from dspex_runtime.modules.runtime_env import restored


def test_an_lm_by_model_takes_the_options_that_say_something() -> None:
    lm = make_lm(
        {"model": "openai/some-model", "temperature": 0.0, "max_tokens": 99, "api_base": "", "api_key": None, "cache": False}
    )
    assert type(lm) is dspy.LM
    assert (lm.model, lm.cache, lm.kwargs["temperature"], lm.kwargs["max_tokens"]) == ("openai/some-model", False, 0.0, 99)
    assert "api_base" not in lm.kwargs
    assert "api_key" not in lm.kwargs


OWN_LM = """
import dspy
from dspy.utils import DummyLM

class Fixed(DummyLM):
    def __init__(self, answer="42", times=1):
        super().__init__([{"answer": answer}] * times)
        self.made_with = answer, times

READY = Fixed("ready")

def made(answer="made"):
    return Fixed(answer)

def nothing():
    return 7

class Silent(dspy.utils.callback.BaseCallback):
    def __init__(self, name="silent"):
        self.name = name

SPEAKING = Silent("speaking")

def autolog():
    dspy.configure(callbacks=[*dspy.settings.callbacks, Silent("its own")])

def passages(query, k=3):
    return [query] * k

class Outer:
    class Inner(Fixed):
        pass
"""

LMS = {
    "no arguments": ({}, "Fixed", ("42", 1)),
    "a map": ({"args": {"answer": "a", "times": 2}}, "Fixed", ("a", 2)),
    "a list": ({"args": ["b"]}, "Fixed", ("b", 1)),
    "none": ({"args": None}, "Fixed", ("42", 1)),
    "an instance": ({}, "READY", ("ready", 1)),
    "a dotted name": ({}, "Outer.Inner", ("42", 1)),
    "a function": ({}, "made", ("made", 1)),
    "a function with arguments": ({"args": ["b"]}, "made", ("b", 1)),
}


@pytest.fixture
def own_lm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = tmp_path / "making_own_lm.py"
    path.write_text(OWN_LM)
    yield str(path)
    sys.modules.pop("making_own_lm", None)


@pytest.mark.parametrize(("options", "name", "made_with"), LMS.values(), ids=LMS.keys())
def test_an_lm_by_class_is_built_with_its_arguments(own_lm: str, options: dict[str, Any], name: str, made_with: Any) -> None:
    assert make_lm({"class": f"{own_lm}:{name}", **options}).made_with == made_with


BAD_LMS = {
    "nothing": ({}, r"a model or a class, got the keys \[\]"),
    "no model": ({"temperature": 1}, r"a model or a class, got the keys \['temperature'\]"),
    "a model that is no text": ({"model": 4}, "a model or a class"),
    "no such class": ({"class": "dspy.utils:NoLM"}, "has no 'NoLM'"),
    "no such class of dspy": ({"class": "NoLM"}, "^lm: 'dspy' has no 'NoLM'; "),
    "nearly a class of dspy": ({"class": "LMM"}, "^lm: 'dspy' has no 'LMM'; did you mean 'LM'[?]$"),
    "wrong arguments": (
        {"class": "dspy.utils:DummyLM", "args": {"colour": 1}},
        r"lm: dspy.utils:DummyLM cannot be built with \(colour=...\)",
    ),
}


@pytest.mark.parametrize(("spec", "words"), BAD_LMS.values(), ids=BAD_LMS.keys())
def test_an_lm_that_cannot_be_made_is_a_failed_start_that_says_why(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(StartError, match=words):
        make_lm(spec)


def test_an_lm_of_a_client_is_unpickled(own_lm: str) -> None:
    spec = {"class": "for:people", "pickled": cloudpickle.dumps(DummyLM([{"answer": "sent"}]))}
    assert type(make_lm(spec)) is DummyLM


def test_an_lm_by_model_may_have_callbacks_of_its_own(own_lm: str) -> None:
    lm = make_lm({"model": "openai/m", "callbacks": [{"class": f"{own_lm}:Silent", "args": ["mine"]}]})
    assert [callback.name for callback in lm.callbacks] == ["mine"]


def test_callbacks_are_classes_objects_and_functions_that_install_their_own(own_lm: str) -> None:
    with restored():
        dspy.configure(callbacks=[BaseCallback()])
        names = ("Silent", "SPEAKING", "autolog")
        make_callbacks([*(f"{own_lm}:{name}" for name in names), {"class": f"{own_lm}:Silent", "args": {"name": "last"}}])
        assert [callback.name for callback in dspy.settings.callbacks] == ["silent", "speaking", "its own", "last"]


def test_a_retrieval_model_is_a_function_or_an_object_that_can_be_called(own_lm: str) -> None:
    assert make_rm(f"{own_lm}:passages")("x", k=2) == ["x", "x"]
    assert type(make_rm({"class": "dspy:ColBERTv2", "args": {"url": "http://127.0.0.1:1"}})) is dspy.ColBERTv2


def test_an_interpreter_factory_is_not_called(own_lm: str) -> None:
    assert make_factory("dspy:PythonInterpreter") is dspy.PythonInterpreter
    assert make_factory({"class": f"{own_lm}:passages", "args": {"query": "x", "k": 1}})() == ["x"]


WRONG = {
    "an adapter that is none": (
        make_adapter,
        "dspy:Predict",
        {"signature": "a -> b"},
        "dspy.adapter: dspy:Predict gives a Predict; expected",
    ),
    "a name that is not there": (
        make_lm,
        "{own}:absent",
        {},
        "^lm: making_own_lm.py has no 'absent'; its names that fit: Fixed, READY, autolog, made, nothing, passages$",
    ),
    "a function that makes none": (make_lm, "{own}:nothing", {}, "nothing gives a int; expected a dspy BaseLM"),
    "arguments for an object": (make_lm, "{own}:READY", {"k": "sk-secret"}, "READY is an object already and takes no args"),
    "a class that takes no such argument": (make_lm, "{own}:Fixed", {"key": "sk-secret"}, r"cannot be built with \(key=...\)"),
    "positional ones": (make_lm, "{own}:Fixed", ["sk-secret", 2, 3], r"cannot be built with \(..., ..., ...\)"),
    "a factory that cannot be called": (make_factory, "{own}:READY.model", {}, "is a str; expected what can be called"),
    "a retrieval model that cannot be called": (make_rm, "{own}:READY.model", {}, "gives a str; expected what can be called"),
}


@pytest.mark.parametrize(("make", "target", "args", "words"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_a_failed_start_that_shows_no_argument(own_lm: str, make: Any, target: str, args: Any, words: str) -> None:
    with pytest.raises(StartError, match=words) as caught:
        make({"class": target.format(own=own_lm), "args": args})
    assert "sk-secret" not in str(caught.value)


def test_a_callback_that_is_none_is_a_failed_start(own_lm: str) -> None:
    with restored(), pytest.raises(StartError, match=r"dspy.callbacks: .*READY gives a Fixed; expected a dspy BaseCallback"):
        make_callbacks([f"{own_lm}:READY"])
