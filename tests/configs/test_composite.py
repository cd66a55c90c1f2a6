"""The modules of the composite, each by itself: what is a process in its runtime is a plain object here."""

from __future__ import annotations

import pytest
from composite.advising import Adviser
from composite.catalogue import Catalogue, Index
from composite.rating import Rater
from composite.reading import Reader, words

REPORT = """\
Production is down.
  File "/srv/app/main.py", line 12, in <module>
  File "/srv/app/upload.py", line 40, in save
OSError: [Errno 28] No space left on device
"""


def test_a_report_is_read() -> None:
    facts = Reader()(report=REPORT)
    assert (facts.error, facts.place) == ("OSError [Errno 28] No space left on device", "/srv/app/upload.py:40")
    assert facts.words[:3] == ["production", "is", "down"]


def test_one_without_an_error_has_none() -> None:
    facts = Reader()(report="The icon is too small")
    assert (facts.error, facts.place, facts.words) == ("", "", ["the", "icon", "is", "too", "small"])


@pytest.mark.parametrize(
    ("report", "title"),
    [
        (REPORT, "The disk is full"),
        ("ModuleNotFoundError: No module named 'numpy'", "A module is missing in the image"),
        ("UnicodeDecodeError: 'utf-8' codec can't decode byte 0xe4", "A text is not UTF-8"),
    ],
)
def test_known_problems_are_found(report: str, title: str) -> None:
    facts = Reader()(report=report)
    assert Catalogue()(error=facts.error, words=facts.words).problems[0]["title"] == title


def test_what_fits_too_little_is_none() -> None:
    assert Catalogue()(error="ZeroDivisionError division by zero", words=words("statistics of an empty list")).problems == []


def test_the_index_returns_as_many_as_it_is_to() -> None:
    index = Index()
    assert len(index(words=["oserror"]).problems) == 3
    index.k = 1
    assert len(index(words=["oserror"]).problems) == 1


@pytest.mark.parametrize(
    ("error", "text", "urgency"),
    [
        ("", "payment fails", "high"),
        ("", "a typo in the label", "low"),
        ("KeyError", "a typo", "normal"),
        ("", "it is slow", "normal"),
    ],
)
def test_urgency(error: str, text: str, urgency: str) -> None:
    assert Rater()(error=error, words=words(text)).urgency == urgency


def test_without_its_catalogue_the_adviser_says_so() -> None:
    result = Adviser().forward_degraded(error="KeyError", words=[])
    assert result.problem == ""
    assert "catalogue of known problems is down" in result.advice
