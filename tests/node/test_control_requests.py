"""Each question to a module's control thread is answered exactly once, whoever answers it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dspex_runtime.node.control_requests import ControlRequests
from helpers.fake_tree import ManualLoop


class Questions:
    """Notes the answers; a fault is its error's text."""

    def __init__(self) -> None:
        self.loop = ManualLoop()
        self.requests = ControlRequests(self.loop, "qa", lambda error: {"message": str(error)})
        self.answers: list[tuple[Any, Any]] = []

    def ask(self, op: str = "ping", timeout_s: float | None = None) -> int:
        return self.requests.add(op, timeout_s, self.note)

    def note(self, value: Any, fault: dict[str, Any] | None) -> None:
        self.answers.append((value, fault and fault["message"]))


@pytest.fixture
def questions() -> Iterator[Questions]:
    made = Questions()
    yield made
    made.loop.close()


def test_an_answer_is_for_the_question_with_its_number(questions: Questions) -> None:
    first, second = questions.ask(), questions.ask()
    questions.requests.answered(second, 2, None)
    questions.requests.answered(first, None, {"message": "no"})
    assert (first, second, questions.answers) == (1, 2, [(2, None), (None, "no")])


def test_one_that_is_not_answered_in_time_ends_as_busy_and_what_comes_then_is_dropped(questions: Questions) -> None:
    number = questions.ask("metrics", timeout_s=2.0)
    questions.loop.advance(2.0)
    ((value, text),) = questions.answers
    assert value is None
    assert "'qa' did not answer 'metrics' within 2 s" in text
    questions.requests.answered(number, "late", None)
    assert len(questions.answers) == 1


def test_one_that_is_answered_in_time_has_no_time_out(questions: Questions) -> None:
    questions.requests.answered(questions.ask(timeout_s=2.0), "pong", None)
    questions.loop.advance(100.0)
    assert questions.answers == [("pong", None)]


def test_those_that_are_open_at_the_end_are_answered_and_only_once(questions: Questions) -> None:
    questions.ask(timeout_s=2.0)
    questions.ask()
    questions.requests.close()
    questions.requests.close()
    questions.loop.advance(100.0)
    assert ["ended before it answered" in text for _, text in questions.answers] == [True, True]


def test_what_cannot_be_asked_is_busy(questions: Questions) -> None:
    questions.requests.refuse("has no control pipe", questions.note)
    ((_, text),) = questions.answers
    assert "'qa' has no control pipe" in text


def test_what_is_open_and_when_that_changes(questions: Questions) -> None:
    changes: list[list[str]] = []
    questions.requests.on_settled = lambda: changes.append(questions.requests.ops)
    first, _ = questions.ask("ping"), questions.ask("metrics", timeout_s=2.0)
    questions.ask("status")
    assert questions.requests.ops == ["ping", "metrics", "status"]
    questions.requests.answered(first, None, None)
    questions.loop.advance(2.0)
    questions.requests.close()
    assert changes == [["metrics", "status"], ["status"], []]
