"""What travels of a caller's settings, by which word, and what becomes of it in the host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dspy
import pytest
from dspy.utils import DummyLM

from dspex_runtime.modules.relay.context import context_of, kept_of_call, settings_now
from dspex_runtime.modules.relay.protocol import HISTORY, TRACE, USAGE
from dspex_runtime.modules.relayed import context as relayed_context
from dspex_runtime.modules.relayed.objects import guests
from dspex_runtime.modules.runtime_env import restored


@pytest.fixture(autouse=True)
def own_settings() -> Iterator[None]:
    with restored():
        yield


def told(kwargs: dict[str, Any] | None = None) -> Any:
    context = context_of(settings_now(), kwargs if kwargs is not None else {}, "ref")
    return None if context is None else context.message()


def test_settings_that_nobody_changed_say_nothing() -> None:
    assert told() is None
    with dspy.context():
        assert told() is None
    with dspy.context(trace=[], track_usage=True, callbacks=[1], max_history_size=3):
        assert told() is None


def test_what_a_context_sets_and_what_is_configured_go_apart() -> None:
    dspy.configure(num_threads=3, max_errors=7)
    with dspy.context(num_threads=4, mine="x"):
        found = told()
    assert (found["set"], found["configured"]) == ({"num_threads": 4, "mine": "x"}, {"max_errors": 7})


def test_a_context_may_set_a_default_against_what_is_configured() -> None:
    dspy.configure(lm=DummyLM([]), num_threads=3)
    with dspy.context(lm=None, num_threads=8):
        found = told()
    assert (found["set"], found["configured"]) == ({"lm": None, "num_threads": 8}, {})


def test_objects_go_by_token_and_what_cannot_be_watched_with_every_call() -> None:
    lm = DummyLM([])
    with dspy.context(lm=lm, rm=lm, mine=[1]):
        found = told()
    assert found["set"]["lm"] == found["set"]["rm"] == {"$": found["objects"][0][0]}
    assert found["set"]["mine"] == {"=": [1]}
    assert len(found["objects"]) == 1


def test_an_lm_among_the_arguments_goes_by_token() -> None:
    lm, kwargs = DummyLM([]), {"lm": None, "question": "q"}
    kwargs["lm"] = lm  # type: ignore[assignment]
    found = told(kwargs)
    assert kwargs == {"question": "q"}
    assert found["given"] == {"lm": found["objects"][0][0]}


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, TRACE | HISTORY),
        ({"trace": None}, HISTORY),
        ({"max_trace_size": 0}, HISTORY),
        ({"disable_history": True}, TRACE),
        ({"usage_tracker": object()}, TRACE | HISTORY | USAGE),
    ],
    ids=str,
)
def test_what_the_caller_keeps(settings: dict[str, Any], wanted: int) -> None:
    with dspy.context(**settings):
        assert kept_of_call(settings_now()) == wanted


class FakeRecord:
    def __init__(self) -> None:
        self.configured: dict[str, Any] = {}
        self.trace = self.usage = None


def applied(context: Any) -> tuple[Any, FakeRecord]:
    guests.take(context["objects"])
    relayed = FakeRecord()
    return relayed_context.settings_of(context, relayed), relayed


def test_the_modules_own_config_goes_before_what_the_caller_configured_only() -> None:
    dspy.configure(num_threads=3, max_errors=7)
    with dspy.context(provide_traceback=True):
        message = told()
    dspy.configure(num_threads=5, max_errors=10, provide_traceback=None)  # as the host's own would be
    settings, relayed = applied(message)
    assert "num_threads" not in settings
    assert (settings["max_errors"], settings["provide_traceback"]) == (7, True)
    assert relayed.configured == {"max_errors": 7}
    assert settings["max_trace_size"] == 10000


def test_what_came_from_a_configuration_goes_on_as_configured() -> None:
    dspy.configure(max_errors=7)
    message = told()
    dspy.configure(max_errors=10)
    settings, _ = applied(message)
    token = relayed_context.overrides.set(settings)
    try:
        with dspy.context(num_threads=2):
            found = told()
    finally:
        relayed_context.overrides.reset(token)
    assert (found["set"], found["configured"]) == ({"num_threads": 2}, {"max_errors": 7})
