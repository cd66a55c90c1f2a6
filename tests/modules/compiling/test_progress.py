"""How a compile goes is told while it runs: evaluations with their scores, calls not too often, errors with their reasons."""

from __future__ import annotations

import logging
from typing import Any

import dspy
import pytest
from dspy.utils import DummyLM

from dspex_runtime.modules.compiling import progress as compiling_progress
from dspex_runtime.modules.compiling.progress import ERRORS_TOLD, Progress

DEVSET = [dspy.Example(question=str(n), answer="4").with_inputs("question") for n in range(4)]


def right(example: Any, prediction: Any, trace: Any = None) -> bool:
    return int(example.question) > 0


def fails(example: Any, prediction: Any, trace: Any = None) -> bool:
    raise LookupError("no gold answer")


def evaluate(metric: Any, devset: list[Any], **options: Any) -> None:
    program = dspy.Predict("question -> answer")
    dspy.Evaluate(devset=devset, metric=metric, num_threads=1, display_progress=False, **options)(program)


@pytest.fixture
def told() -> list[dict[str, Any]]:
    return []


def test_evaluations_are_told_and_the_best_of_the_largest_counts(told: list[dict[str, Any]]) -> None:
    with dspy.context(lm=DummyLM({"": {"answer": "4"}})), Progress(told.append) as progress:
        evaluate(right, DEVSET)
        evaluate(right, DEVSET[1:])  # 100, of fewer
    begun = [event for event in told if event["type"] == "evaluating"]
    assert begun == [{"type": "evaluating", "number": n, "examples": size} for n, size in ((1, 4), (2, 3))]
    assert [(event["number"], event["score"]) for event in told if event["type"] == "evaluated"] == [(1, 75.0), (2, 100.0)]
    assert (progress.best(), progress.evaluations, progress.lm_calls) == (75.0, 2, 7)


def test_calls_are_told_now_and_then(told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(compiling_progress.time, "monotonic", lambda: now[0])
    progress = Progress(told.append)
    for step in (0.0, 0.1, 0.1, 0.4):
        now[0] += step
        progress.on_lm_end("c", None)
    assert told == [{"type": "calls", "lm_calls": 1}, {"type": "calls", "lm_calls": 4}]


def test_failed_examples_are_told_with_their_traceback_the_first_of_them(told: list[dict[str, Any]]) -> None:
    with dspy.context(lm=DummyLM({"": {"answer": "4"}})), Progress(told.append) as progress:
        evaluate(fails, DEVSET * 2, max_errors=100)
    errors = [event["message"] for event in told if event["type"] == "error"]
    assert (len(errors), progress.errors) == (ERRORS_TOLD, 8)
    assert "LookupError: no gold answer" in errors[0]
    assert "in fails" in progress.last_error()
    assert progress.best() == 0.0


def test_nothing_is_left_in_dspy(told: list[dict[str, Any]]) -> None:
    handlers, callbacks = list(logging.getLogger("dspy").handlers), list(dspy.settings.callbacks)
    with Progress(told.append):
        assert len(logging.getLogger("dspy").handlers) == len(handlers) + 1
    assert (logging.getLogger("dspy").handlers, dspy.settings.callbacks) == (handlers, callbacks)
