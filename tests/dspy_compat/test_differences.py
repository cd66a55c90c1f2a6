"""The list of differences is what the tests assert and what the README shows."""

from __future__ import annotations

import re
from pathlib import Path

from dspy_compat.differences import BY_NAME, DIFFERENCES, UPSTREAM, table

HERE = Path(__file__).parent
README = HERE.parents[1] / "README.md"


def test_every_difference_is_asserted_by_a_test() -> None:
    asserted = {name for path in HERE.glob("test_*.py") for name in re.findall(r'way\.differs\("([^"]+)"\)', path.read_text())}
    assert asserted == {difference.name for difference in DIFFERENCES}
    assert len(BY_NAME) == len(DIFFERENCES)
    assert set(UPSTREAM.values()) <= BY_NAME.keys()


def test_the_readme_shows_the_list() -> None:
    assert table() in README.read_text(), "python -m tests.dspy_compat.differences prints what belongs there"
