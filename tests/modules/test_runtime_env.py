"""dspy in a forked process: nothing of the zygote's is left, and what the spec says holds for every thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.clients.base_lm import GLOBAL_HISTORY
from dspy.utils import DummyLM
from dspy.utils.callback import BaseCallback

from dspex_runtime.config.dspy_schema import DSPY
from dspex_runtime.modules.dspy_settings import module as settings_module
from dspex_runtime.modules.lm_cache import LazyCache
from dspex_runtime.modules.runtime_env import MAX_HISTORY, MAX_TRACE, prepare

# Of one running call: where it came from, where its events go.
CALLS_OWN = {
    *("lm", "branch_idx", "trace", "send_stream", "usage_tracker", "caller_predict", "caller_modules", "stream_listeners"),
}


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


def test_every_setting_of_the_schema_is_one_of_dspys() -> None:
    theirs = settings_module.DEFAULT_CONFIG.keys()
    ours = {key.name for key in DSPY.keys} - {"cache"}  # dspy.configure_cache
    assert ours <= theirs
    assert theirs - ours == CALLS_OWN


def test_scalar_settings_are_configured_as_they_are() -> None:
    said = {"num_threads": 3, "disable_history": True, "max_errors": 4, "provide_traceback": True, "track_usage": True}
    prepare(None, said)
    assert {name: dspy.settings[name] for name in said} == said


def test_objects_are_made_and_the_rest_stays() -> None:
    dspy.configure(adapter=dspy.JSONAdapter())
    prepare(None, {"adapter": {"class": "dspy:ChatAdapter", "args": {"use_json_adapter_fallback": False}}, "rm": "dspy:ColBERTv2"})
    assert (type(dspy.settings.adapter), type(dspy.settings.rm)) == (dspy.ChatAdapter, dspy.ColBERTv2)
    assert not dspy.settings.adapter.use_json_adapter_fallback
    prepare(None, {"interpreter_factory": "dspy:PythonInterpreter"})
    assert dspy.settings.interpreter_factory is dspy.PythonInterpreter
    assert type(dspy.settings.adapter) is dspy.ChatAdapter


def test_callbacks_replace_those_of_the_users_file_and_no_cache_is_touched() -> None:
    dspy.configure(callbacks=["the file's"])
    prepare(None, {"callbacks": ["dspy.utils.callback:BaseCallback"]})
    assert [type(callback) for callback in dspy.settings.callbacks] == [BaseCallback]
    assert "cache" not in vars(dspy) or not isinstance(dspy.cache, LazyCache)


def test_a_cache_of_the_spec_is_put_in_place_unopened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dspy, "cache", None, raising=False)
    prepare(None, {"cache": {"dir": str(tmp_path / "answers")}})
    assert isinstance(dspy.cache, LazyCache)
    assert not (tmp_path / "answers").exists()
