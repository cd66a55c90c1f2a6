from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.owners import Keeper
from helpers.param_tables import Tables, tables


@pytest.fixture
def world() -> Iterator[Tables]:
    """Tables and views with their keeper played; all closed at the end."""
    with tables() as made:
        yield made


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    """What stays of a module when its process ends; killed with its runtime at the end."""
    keeper = Keeper(tmp_path)
    yield keeper
    keeper.kill_runtime()
