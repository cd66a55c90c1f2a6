"""The list of differences is what the tests assert and what the README shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from dspy_compat.differences import BY_NAME, DIFFERENCES, UPSTREAM, table
from dspy_compat.ways import met

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.usefixtures("all_others_ran")
def test_every_difference_is_met_by_a_test() -> None:
    assert met == BY_NAME.keys()


def test_every_difference_has_a_name_of_its_own() -> None:
    assert len(BY_NAME) == len(DIFFERENCES)
    assert set(UPSTREAM.values()) <= BY_NAME.keys()


def test_the_readme_shows_the_list() -> None:
    assert table() in README.read_text(), "python -m tests.dspy_compat.differences prints what belongs there"
