"""The second versions of the quickstart: what they do better, and what they make of a state; without a runtime."""

from __future__ import annotations

import pytest
from dspy import Prediction
from quickstart.answering_v2 import Answerer, parts_of
from quickstart.counter_v2 import Counter
from quickstart.verifying import KNOWN, cites


@pytest.mark.parametrize(
    ("question", "parts"),
    [
        ("How do I zip a file, and how do I send it?", ["How do I zip a file", "how do I send it"]),
        ("How do I zip a file? How do I send it?", ["How do I zip a file", "How do I send it"]),
        ("How do I redirect stdin and stdout?", ["How do I redirect stdin and stdout?"]),
        ("What is a list?", ["What is a list"]),
    ],
)
def test_a_question_is_taken_apart_where_each_part_is_one(question: str, parts: list[str]) -> None:
    assert parts_of(question) == parts


class Looked:
    """Answers what it knows, as the first version would."""

    def __init__(self, known: dict[str, str]) -> None:
        self.known, self.asked = known, []

    def looked_up(self, question: str) -> Prediction:
        self.asked.append(question)
        name = self.known.get(question)
        return Prediction(answer=f"[{name}]" if name else "none", citations=[name] if name else [], passages=[name or "x"])


@pytest.fixture
def answerer(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Answerer:
    looked = Looked(request.param)
    monkeypatch.setattr("quickstart.answering.Answerer.looked_up", lambda _self, question: looked.looked_up(question))
    return Answerer()


BOTH = {"How do I zip a file": "zipfile.ZipFile", "how do I send it": "smtplib.SMTP"}


@pytest.mark.parametrize("answerer", [BOTH], indirect=True)
def test_a_question_without_an_answer_gets_that_of_its_parts(answerer: Answerer) -> None:
    result = answerer.looked_up("How do I zip a file, and how do I send it?")
    assert (result.answer, result.citations) == ("[zipfile.ZipFile] [smtplib.SMTP]", ["zipfile.ZipFile", "smtplib.SMTP"])


@pytest.mark.parametrize("answerer", [{}], indirect=True)
def test_one_whose_parts_have_none_either_has_none(answerer: Answerer) -> None:
    assert answerer.looked_up("How do I zip a file, and how do I send it?").answer == "none"


def test_a_version_is_fit_when_it_cites_what_is_known() -> None:
    assert cites(Looked({question: f"{module}.x" for question, module in KNOWN.items()}))
    with pytest.raises(ValueError, match="is answered by itertools; cited was nothing"):
        cites(Looked({}))


def test_the_count_moves_up_and_down() -> None:
    counter = Counter()
    state = counter.code_change("1", 7, None)
    state = counter.handle_cast("asked", state).state
    state = counter.handle_cast(("cited", ["itertools.groupby", "itertools.count", "os.walk"]), state).state
    assert state == {"count": 8, "cited": {"itertools": 1, "os": 1}}
    assert counter.code_change("2", state, None) == state
    assert counter.code_change(("down", "1"), state, None) == 8
