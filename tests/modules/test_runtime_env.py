"""dspy in a forked process: nothing of the zygote's is left, and what the spec says holds for every thread."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.clients.base_lm import GLOBAL_HISTORY
from dspy.utils import DummyLM

from dspex_runtime.errors import StartError
from dspex_runtime.modules.runtime_env import MAX_HISTORY, MAX_TRACE, make_lm, prepare

settings_module: Any = importlib.import_module("dspy.dsp.utils.settings")


@pytest.fixture(autouse=True)
def dspy_as_it_was() -> Iterator[None]:
    """Undo what `prepare` configures in this process."""
    config, history = dict(settings_module.main_thread_config), list(GLOBAL_HISTORY)
    owner = settings_module.config_owner_thread_id, settings_module.config_owner_async_task
    yield
    settings_module.main_thread_config.clear()
    settings_module.main_thread_config.update(config)
    settings_module.config_owner_thread_id, settings_module.config_owner_async_task = owner
    GLOBAL_HISTORY[:] = history


def in_thread(function: Callable[[], Any]) -> Any:
    """Return what a function returns or raises on a thread of its own."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(function())
        except Exception as exc:
            results.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    return results[0]


def test_whoever_configured_before_the_fork_does_not_own_dspy_any_more() -> None:
    settings_module.config_owner_thread_id = -1
    settings_module.config_owner_async_task = object()
    prepare(None, {"num_threads": 3})
    assert dspy.settings.num_threads == 3


def test_the_owner_is_the_thread_that_builds_the_module_and_call_threads_see_what_it_configured() -> None:
    settings_module.config_owner_thread_id = None
    prepare({"class": "dspy.utils:DummyLM", "args": [[{"answer": "a"}]]}, {"track_usage": True})
    dspy.configure(max_errors=4)  # a constructor may go on
    assert in_thread(lambda: (type(dspy.settings.lm), dspy.settings.track_usage, dspy.settings.max_errors)) == (DummyLM, True, 4)
    refused = in_thread(lambda: dspy.configure(max_errors=5))
    assert "only be changed by the thread" in str(refused)


def test_a_call_thread_may_use_a_context() -> None:
    prepare(None, None)

    def within() -> Any:
        with dspy.context(num_threads=1):
            return dspy.settings.num_threads

    assert in_thread(within) == 1


def test_history_and_trace_of_the_zygote_are_forgotten() -> None:
    GLOBAL_HISTORY.append({"prompt": "the zygote's"})
    settings_module.main_thread_config["trace"] = ["the zygote's"]
    prepare(None, None)
    assert (GLOBAL_HISTORY, dspy.settings.trace) == ([], [])


def test_history_is_bounded_lower_than_dspys_unless_the_spec_says_otherwise() -> None:
    prepare(None, None)
    assert (dspy.settings.max_history_size, dspy.settings.max_trace_size) == (MAX_HISTORY, MAX_TRACE)
    prepare(None, {"max_history_size": 7})
    assert (dspy.settings.max_history_size, dspy.settings.max_trace_size) == (7, MAX_TRACE)


def test_without_an_lm_in_the_spec_the_one_the_users_file_configured_stays() -> None:
    mine = DummyLM([{"answer": "mine"}])
    dspy.configure(lm=mine)
    prepare(None, None)
    assert dspy.settings.lm is mine


def test_the_spec_has_the_last_word_over_what_the_users_file_configured() -> None:
    dspy.configure(lm=DummyLM([{"answer": "the file's"}]))
    prepare({"class": "dspy.utils:DummyLM", "args": {"answers": [{"answer": "the spec's"}]}}, None)
    assert dspy.Predict("question -> answer")(question="q").answer == "the spec's"


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
}


@pytest.fixture
def own_lm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    import sys

    monkeypatch.setattr(sys, "path", list(sys.path))
    path = tmp_path / "runtime_env_own_lm.py"
    path.write_text(OWN_LM)
    yield str(path)
    sys.modules.pop("runtime_env_own_lm", None)


@pytest.mark.parametrize(("options", "name", "made_with"), LMS.values(), ids=LMS.keys())
def test_an_lm_by_class_is_built_with_its_arguments(own_lm: str, options: dict[str, Any], name: str, made_with: Any) -> None:
    assert make_lm({"class": f"{own_lm}:{name}", **options}).made_with == made_with


BAD_LMS = {
    "nothing": ({}, r"a model or a class, got the keys \[\]"),
    "no model": ({"temperature": 1}, r"a model or a class, got the keys \['temperature'\]"),
    "a model that is no text": ({"model": 4}, "a model or a class"),
    "no such class": ({"class": "dspy.utils:NoLM"}, "has no 'NoLM'"),
    "no such class of dspy": ({"class": "NoLM"}, "'dspy' has no 'NoLM'"),
    "wrong arguments": (
        {"class": "dspy.utils:DummyLM", "args": {"colour": 1}},
        "lm.class: dspy.utils:DummyLM cannot be built with",
    ),
}


@pytest.mark.parametrize(("spec", "words"), BAD_LMS.values(), ids=BAD_LMS.keys())
def test_an_lm_that_cannot_be_made_is_a_failed_start_that_says_why(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(StartError, match=words):
        prepare(spec, None)


@pytest.mark.parametrize("name", ["JSONAdapter", "dspy:JSONAdapter", "dspy.adapters:JSONAdapter"])
def test_an_adapter_may_be_named(name: str) -> None:
    prepare(None, {"adapter": name})
    assert type(dspy.settings.adapter) is dspy.JSONAdapter


def test_an_adapter_may_be_an_object() -> None:
    adapter = dspy.ChatAdapter()
    prepare(None, {"adapter": adapter})
    assert dspy.settings.adapter is adapter


def test_an_adapter_that_does_not_exist_is_a_failed_start() -> None:
    with pytest.raises(StartError, match="has no 'MorseAdapter'"):
        prepare(None, {"adapter": "MorseAdapter"})
