from __future__ import annotations

from collections.abc import Iterator

import pytest

from helpers.param_tables import Tables, tables


@pytest.fixture
def world() -> Iterator[Tables]:
    """Tables and views with their keeper played; all closed at the end."""
    with tables() as made:
        yield made
