"""LMs, adapters and predictors travel without their calls and callbacks, and stay unharmed here."""

from __future__ import annotations

from typing import Any

import dspy
import pytest
from dspy.utils import DummyLM
from dspy.utils.callback import BaseCallback

from dspex_runtime.modules.relay import pickles as relay_pickles


def used(thing: Any) -> Any:
    thing.callbacks = [BaseCallback()]
    if hasattr(thing, "history"):
        thing.history = [{"prompt": "p"}]
    return thing


@pytest.mark.parametrize(
    "make",
    [lambda: DummyLM([{"a": "b"}]), lambda: dspy.LM("openai/x", api_key="k"), dspy.JSONAdapter],
    ids=["DummyLM", "LM", "adapter"],
)
def test_calls_and_callbacks_stay_here(make: Any) -> None:
    thing = used(make())
    found = relay_pickles.loads(relay_pickles.dumps(thing))
    assert (found.callbacks, getattr(found, "history", [])) == ([], [])
    assert len(thing.callbacks) == 1
    assert type(found) is type(thing)


def test_the_lm_inside_a_predictor_too() -> None:
    predictor = dspy.Predict("a -> b")
    predictor.lm = used(DummyLM([{"b": "c"}]))
    found = relay_pickles.loads(relay_pickles.dumps(predictor))
    assert (found.lm.history, found.lm.callbacks, list(found.signature.fields)) == ([], [], ["a", "b"])


def test_a_cursor_goes_from_where_it_is() -> None:
    lm = DummyLM([{"a": "0"}, {"a": "1"}])
    next(lm.answers)
    assert next(relay_pickles.loads(relay_pickles.dumps(lm)).answers) == {"a": "1"}


def test_lists_of_the_users_own_stay_what_they_are() -> None:
    lm = DummyLM([{"a": "b"}])
    lm.notes = lm.history
    lm.own = ["x"]
    found = relay_pickles.loads(relay_pickles.dumps(lm))
    assert found.own == ["x"]
