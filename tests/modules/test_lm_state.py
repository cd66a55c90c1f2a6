"""What is written of an LM, and how it comes back."""

from __future__ import annotations

import threading
from typing import Any

import dspy
import pytest
from dspy.utils import DummyLM

from dspex_runtime.modules import lm_state

KEY = "sk-very-secret"


def lm(**options: Any) -> dspy.LM:
    return dspy.LM("openai/some", **{"api_key": KEY, "api_base": "http://127.0.0.1:9/v1", "cache": False, **options})


SECRETS: list[dict[str, Any]] = [
    {"api_key": KEY},
    {"extra_headers": {"Authorization": KEY, "X-Api-Key": KEY, "Cookie": KEY}},
    {"azure_ad_token": KEY},
    {"aws_secret_access_key": KEY, "aws_access_key_id": KEY},
    {"extra_body": {"nested": [{"password": KEY}]}},
    {"api_base": f"http://user:{KEY}@127.0.0.1/v1"},
]


@pytest.mark.parametrize("options", SECRETS, ids=lambda options: next(iter(options)))
def test_no_secret_is_in_a_state(options: dict[str, Any]) -> None:
    assert KEY not in repr(lm_state.dump(lm(**options)))


def test_what_only_sounds_like_a_secret_is_kept() -> None:
    state = lm_state.dump(lm(max_tokens=7, temperature=0.5, seed=3))
    assert state is not None
    assert (state["max_tokens"], state["temperature"], state["seed"]) == (7, 0.5, 3)


def test_without_secrets_it_is_dspys_state() -> None:
    model = lm(temperature=0.5)
    assert lm_state.dump(model) == model.dump_state()
    assert lm_state.dump(None) is None


def test_an_lm_that_gives_no_state_leaves_class_and_model() -> None:
    class Engine:
        def complete(self, request: Any) -> Any: ...

    model = dspy.LM("local/x", engine=Engine(), cache=False)
    with pytest.raises(TypeError):
        model.dump_state()
    assert lm_state.dump(model) == {"_dspy_lm_class": "dspy.clients.lm.LM", "model": "local/x"}
    assert lm_state.restore(lm_state.dump(model), model) is model


def test_the_lm_that_is_there_stays_when_it_is_the_one() -> None:
    model = lm()
    assert lm_state.restore(lm_state.dump(model), model) is model
    dummy = DummyLM([{"answer": "x"}])
    assert lm_state.restore(lm_state.dump(dummy), dummy) is dummy
    assert lm_state.restore(None, model) is None


def test_other_options_come_with_the_key_of_the_lm_that_is_there() -> None:
    model = lm(temperature=0.1, seed=1)
    state = lm_state.dump(lm(temperature=0.9))
    restored = lm_state.restore(state, model)
    assert restored is not model
    assert restored.kwargs["api_key"] == KEY
    assert restored.kwargs["temperature"] == 0.9
    assert "seed" not in restored.kwargs
    assert lm_state.dump(restored) == state
    assert model.kwargs["temperature"] == 0.1


def test_the_configured_lm_gives_its_key_too() -> None:
    with dspy.context(lm=lm()):
        assert lm_state.restore(lm_state.dump(lm(temperature=0.9)), None).kwargs["api_key"] == KEY


@pytest.mark.parametrize("other", [{"api_base": "http://elsewhere.example/v1"}, {"model": "openai/other"}])
def test_a_key_goes_nowhere_else(other: dict[str, Any]) -> None:
    model = lm()
    state = {**(lm_state.dump(model) or {}), **other}
    with dspy.context(lm=model):
        restored = lm_state.restore(state, model)
    assert "api_key" not in restored.kwargs
    assert restored.model == state["model"]
    assert restored.kwargs["api_base"] == state["api_base"]


def test_an_lm_that_cannot_be_built_is_an_error() -> None:
    with pytest.raises(TypeError):
        lm_state.restore(lm_state.dump(DummyLM([{"answer": "x"}])), None)


def test_an_option_that_is_no_plain_data_is_left_out_and_comes_back_from_the_lm_that_is_there() -> None:
    model = lm(http_client=threading.Lock(), stop=("a", "b"), nested={"tool": print, "n": 1}, tools=[print])
    state = lm_state.dump(model)
    assert state is not None
    assert (state["stop"], state["nested"]) == (["a", "b"], {"n": 1})
    assert not {"http_client", "tools"} & state.keys()
    assert lm_state.restore(state, model) is model
