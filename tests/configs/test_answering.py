"""What the quickstart answers while nothing can be looked up; without a runtime."""

from __future__ import annotations

import pytest
from quickstart import answering
from quickstart.answering_v2 import Answerer as Second


@pytest.mark.parametrize("cls", [answering.Answerer, Second])
def test_without_its_retriever_it_says_so_and_cites_nothing(cls: type, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[bool] = []
    monkeypatch.setattr("quickstart.answering.count", lambda: counted.append(True))
    result = cls().forward_degraded(question="How do I zip a file?")
    assert "The retriever is down" in result.answer
    assert (result.citations, result.passages, counted) == ([], [], [True])
