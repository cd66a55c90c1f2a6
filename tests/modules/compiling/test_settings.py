"""The caller's context goes before the module's own settings, and these before what the caller has configured."""

from __future__ import annotations

import pickle
from typing import Any

import dspy
import pytest
from dspy.utils import DummyLM

from dspex_runtime.modules import dspy_settings
from dspex_runtime.modules.compiling.settings import applied, of_caller
from dspex_runtime.modules.runtime_env import restored

CONTEXT, OWN, CONFIGURED = (DummyLM({"": {"answer": name}}) for name in ("context", "own", "configured"))


@pytest.mark.parametrize(
    ("context", "configured", "own", "expected"),
    [
        (CONTEXT, CONFIGURED, OWN, CONTEXT),
        (None, CONFIGURED, OWN, OWN),
        (None, CONFIGURED, None, CONFIGURED),
        (None, None, OWN, OWN),
        (None, None, None, None),
    ],
)
def test_who_goes_first(context: Any, configured: Any, own: Any, expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"context": {"lm": context} if context else {}, "configured": {"lm": configured} if configured else {}}
    monkeypatch.setitem(dspy_settings.configured, "lm", own)
    with applied(said):
        assert dspy.settings.lm is expected
    with applied({}):
        assert dspy.settings.lm is own


def test_only_what_was_said_is_taken_and_no_history(monkeypatch: pytest.MonkeyPatch) -> None:
    assert of_caller() == {"context": {}, "configured": {}}
    lm = DummyLM({"": {"answer": "4"}})
    with dspy.context(lm=lm, track_usage=True):
        dspy.Predict("question -> answer")(question="q")
        taken = of_caller()
    assert taken["configured"] == {}
    assert taken["context"].keys() == {"lm"}
    assert (len(lm.history), taken["context"]["lm"].history) == (1, [])
    assert pickle.loads(pickle.dumps(taken))["context"]["lm"].answers == lm.answers


def test_what_was_configured_is_told_apart_from_a_context() -> None:
    lm = DummyLM({"": {"answer": "4"}})
    with restored():
        dspy_settings.configured["lm"] = lm
        with dspy.context(num_threads=3):
            taken = of_caller()
    assert taken["context"] == {"num_threads": 3}
    assert taken["configured"].keys() == {"lm"}
